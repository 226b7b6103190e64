"""The flags of the networks."""

from utils.flag import Flag
from utils.flag_values import choice, whole

MOST_LEVELS = 6
DEEPEST_BLOCK = 16

NETWORK = (
    Flag(
        "downscale_blocks",
        whole(1, DEEPEST_BLOCK),
        [3, 3, 3],
        "convolutions in the residual block of each level down, one entry per level",
        (1, MOST_LEVELS),
    ),
    Flag(
        "upscale_blocks",
        whole(1, DEEPEST_BLOCK),
        [3, 3],
        "convolutions in the residual block of each level up, deepest first: one entry fewer than "
        "--downscale_blocks, or as many to join the finest skip connection too",
        (1, MOST_LEVELS),
    ),
    Flag("convolution_size", choice(3, 5), 3, "side of the cubic convolution kernels, in voxels"),
    Flag("activation", choice("relu", "prelu"), "relu", "activation after each convolution"),
    Flag("normalization_layer", choice("batchnorm", "none"), "batchnorm", "normalisation after each convolution"),
    Flag(
        "pooling",
        choice("conv_pool", "max_pool"),
        "conv_pool",
        "how a level halves the resolution: stride-2 convolution or max pooling",
    ),
    Flag("upsampling", choice("transposed_conv"), "transposed_conv", "how a level doubles the resolution"),
)

"""The flags of the networks, and which of all flags belong to one of them alone."""

from utils.config.flag import Flag
from utils.config.flag_values import choice, real, whole

MOST_LEVELS = 6
DEEPEST_BLOCK = 16
MOST_FILTERS = 256
VNET, UNET = "vnet", "unet"

NETWORK = (
    Flag(
        "model",
        choice(VNET, UNET),
        VNET,
        "network: V-Net for volumes, or the 2-D U-Net, which sees one slice at a time. Either has flags of its own",
    ),
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
    Flag("levels", whole(1, MOST_LEVELS), 4, "how often --model unet halves the resolution"),
    Flag(
        "filters",
        whole(1, MOST_FILTERS),
        64,
        "channels of the first level of --model unet, twice as many in each next one",
    ),
    Flag(
        "padding",
        choice("valid", "same"),
        "valid",
        "borders of the convolutions of --model unet: unpadded, with the image's own borders mirrored around it, or "
        "padded with zeros, which takes less time",
    ),
    Flag(
        "dropout",
        real(lambda value: 0 <= value < 1, "from 0 to below 1"),
        0.5,
        "share of the values that training drops at the end of the way down of --model unet",
    ),
)

# Flags that say nothing about the other network.
OWN_FLAGS = {
    VNET: (
        "downscale_blocks",
        "upscale_blocks",
        "convolution_size",
        "activation",
        "pooling",
        "upsampling",
        "deep_supervision",
    ),
    UNET: ("slice_axis", "empty_slices", "levels", "filters", "padding", "dropout"),
}

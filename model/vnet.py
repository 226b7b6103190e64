"""V-Net assembled from its blocks (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, figure 2).

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes.
With the default settings and one input channel (L levels = 3, 32x32x32 voxels):

    input     [N, 32, 32, 32,   1] -> [N, 32, 32, 32,  16]
    down_1                         -> [N, 16, 16, 16,  32]
    down_2                         -> [N,  8,  8,  8,  64]
    down_3                         -> [N,  4,  4,  4, 128]
    up_1      joins down_2         -> [N,  8,  8,  8, 128]
    up_2      joins down_1         -> [N, 16, 16, 16,  64]
    up_3                           -> [N, 32, 32, 32,  16]
    output                         -> [N, 32, 32, 32,   K]
"""

from typing import NamedTuple, Tuple

from model import layers
from model.vnet_filters import BASE_FILTERS
from utils.tf_runtime import tf


class VNetSettings(NamedTuple):
    """What decides the variables and the arithmetic of a V-Net."""

    classes: int
    downscale_blocks: Tuple[int, ...]
    upscale_blocks: Tuple[int, ...]
    convolution_size: int
    activation: str
    normalization_layer: str
    pooling: str

    # The same in every V-Net.
    padding = "same"
    initial_weights = "glorot_uniform"


def vnet(volume, settings, training, scope=tf.variable_scope):
    """Logits [N, X, Y, Z, K] of images [N, X, Y, Z, C]; X, Y and Z are multiples of 2**L.

    ``scope`` makes the outermost variable scope. Variables are made on the first call in a graph and
    shared by later ones. ``training`` chooses between batch statistics and moving ones.
    """
    with scope("vnet", reuse=tf.AUTO_REUSE):
        return layers.output_block(_decoded(volume, settings, training)[-1], settings)


def supervised_vnet(volume, settings, scope=tf.variable_scope):
    """Logits of ``vnet`` in training, followed by those of each coarser grid of the decoder, finer ones first.

    A list of L float32 [N, X / 2**l, Y / 2**l, Z / 2**l, K], l from 0. The coarser logits have variables of their
    own, which nothing else needs.
    """
    with scope("vnet", reuse=tf.AUTO_REUSE):
        volumes = _decoded(volume, settings, training=True)
        logits = [layers.output_block(volumes.pop(), settings)]
        while volumes:
            with tf.variable_scope("up_{}".format(len(volumes))):
                logits.append(layers.supervised_block(volumes.pop(), settings.classes))
    return logits


def _decoded(volume, settings, training):
    """The volumes that the L levels of the decoder give, the coarsest first."""
    volume = layers.input_block(volume, BASE_FILTERS, settings, training)
    skips, decoded = [], []
    for level, depth in enumerate(settings.downscale_blocks, 1):
        skips.append(volume)
        with tf.variable_scope("down_{}".format(level)):
            volume = layers.down_block(volume, depth, settings, training)
    for level, depth in enumerate(settings.upscale_blocks, 1):
        with tf.variable_scope("up_{}".format(level)):
            volume = layers.up_block(volume, skips.pop(), depth, settings, training)
        decoded.append(volume)
    if skips:
        # One entry fewer than down blocks: the finest skip connection is left out.
        with tf.variable_scope("up_{}".format(len(settings.downscale_blocks))):
            decoded.append(layers.upsample(volume, BASE_FILTERS, settings, training))
    return decoded

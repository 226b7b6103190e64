"""U-Net assembled from its layers (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597, figure 1).

Dimensions: N images in a batch; X, Y pixels along the image's axes; C input channels; K classes.
With 64 filters, 4 levels and unpadded convolutions (572x572 pixels), each arrow two 3x3 convolutions and ReLU:

    down_1    [N, 572, 572,    1] -> [N, 568, 568,   64]
    down_2    [N, 284, 284,   64] -> [N, 280, 280,  128]    after 2x2 max pooling, as below
    down_3    [N, 140, 140,  128] -> [N, 136, 136,  256]
    down_4    [N,  68,  68,  256] -> [N,  64,  64,  512]
    bottom    [N,  32,  32,  512] -> [N,  28,  28, 1024]
    up_1      [N,  56,  56, 1024] -> [N,  52,  52,  512]    after the up-convolution, cropped down_4 joined
    up_2      [N, 104, 104,  512] -> [N, 100, 100,  256]    down_3 joined
    up_3      [N, 200, 200,  256] -> [N, 196, 196,  128]    down_2 joined
    up_4      [N, 392, 392,  128] -> [N, 388, 388,   64]    down_1 joined
    output    [N, 388, 388,   64] -> [N, 388, 388,    K]    1x1 convolution

``model/mirroring.py`` knows the sizes that go in and come out.
"""

from typing import NamedTuple

from model import layers
from model.mirroring import framing
from utils.tf_runtime import tf

CONVOLUTION_SIZE = 3
# The blocks at the end of the contracting path, after which values are dropped: the bottom and the one above.
DROPPING_BLOCKS = 2


class UNetSettings(NamedTuple):
    """What decides the network's variables and arithmetic; the defaults are the paper's.

    classes: K; filters: those of down_1; levels: poolings; padding: of the 3x3 convolutions, "valid" or "same", which
    leaves images their size; normalization_layer: "none", or "batchnorm" after each convolution; dropout: the part of
    the values that is dropped in training at the end of the contracting path.
    """

    classes: int
    filters: int = 64
    levels: int = 4
    padding: str = "valid"
    normalization_layer: str = "none"
    dropout: float = 0.5

    # The same in every U-Net.
    activation = "relu"
    initial_weights = "he_normal"


def labelled(images, settings, training, scope=tf.variable_scope):
    """Logits [N, X, Y, K] of every pixel of images [N, X, Y, C] of any size, framed by their own mirrored borders.

    The arguments are those of ``unet``.
    """
    sides = images.shape.as_list()[1:3]
    frames = [framing(side, settings.levels, settings.padding) for side in sides]
    for axis, (pixels, _) in enumerate(frames, 1):
        if len(pixels) > sides[axis - 1]:
            images = tf.gather(images, pixels, axis=axis)
    logits = unet(images, settings, training, scope)
    (left, top), (width, height) = [first for _, first in frames], sides
    return logits[:, left : left + width, top : top + height]


def unet(images, settings, training, scope=tf.variable_scope):
    """Logits [N, X', Y', K] of images [N, X, Y, C]: X' = X with padding "same", and less with "valid".

    X and Y are such that every pooling halves an even number of pixels, and some are left in the end. ``scope`` makes
    the outermost variable scope. Variables are made on the first call in a graph and shared by later ones.
    ``training`` chooses between batch statistics and moving ones, and whether values are dropped.
    """
    with scope("unet", reuse=tf.AUTO_REUSE):
        skips, filters = [], settings.filters
        for level in range(1, settings.levels + 1):
            with tf.variable_scope("down_{}".format(level)):
                images = _two_convolutions(images, filters, settings, training)
                if level > settings.levels + 1 - DROPPING_BLOCKS:
                    images = _dropped(images, settings, training)
            skips.append(images)
            images = layers.max_pooling(images)
            filters *= 2
        with tf.variable_scope("bottom"):
            images = _dropped(_two_convolutions(images, filters, settings, training), settings, training)
        for level in range(1, settings.levels + 1):
            filters //= 2
            with tf.variable_scope("up_{}".format(level)):
                images = layers.upsample(images, filters, settings, training)
                images = tf.concat([_cropped(skips.pop(), images), images], axis=-1)
                images = _two_convolutions(images, filters, settings, training)
        with tf.variable_scope("output"):
            return layers.convolution(
                images, settings.classes, 1, layers.biased, initial_weights=settings.initial_weights
            )


def _two_convolutions(images, filters, settings, training):
    for number in (1, 2):
        with tf.variable_scope("convolution_{}".format(number)):
            images = layers.convolution_unit(images, filters, CONVOLUTION_SIZE, settings, training)
    return images


def _dropped(images, settings, training):
    return layers.dropout(images, settings.dropout) if training and settings.dropout else images


def _cropped(images, like):
    """The middle of [N, X, Y, C] with as many pixels as ``like``."""
    margins = [(size - kept) // 2 for size, kept in zip(images.shape[1:3].as_list(), like.shape[1:3].as_list())]
    if not any(margins):
        return images
    inside = [slice(margin, -margin or None) for margin in margins]
    return images[:, inside[0], inside[1]]

"""How large an image U-Net needs to label a given one, and the mirrored borders that it gets for that.

Unpadded convolutions take pixels off each side: the network labels the middle of what it sees. Around an image, its
own pixels stand in for those beyond its border, mirrored at its outermost ones (Ronneberger et al. 2015, figure 2).
X, Y are an image's own pixels; L the network's levels, each with a pooling that halves what must be even.
"""

import numpy as np

# What the two unpadded 3x3 convolutions of a block take off an axis.
TAKEN_BY_BLOCK = 4


def margin(levels, padding):
    """How many pixels the output of a network of ``levels`` is smaller along each axis, both sides together."""
    # Twice a block at each finer level, where a pixel is half as large, and one at the bottom.
    return TAKEN_BY_BLOCK * (3 * 2**levels - 2) if padding == "valid" else 0


def input_size(output_size, levels, padding):
    """The smallest number of pixels of which the network labels at least ``output_size`` (from 1) along an axis."""
    step, lowest = 2**levels, _smallest_output(levels, padding)
    return margin(levels, padding) + lowest + max(0, -(-(output_size - lowest) // step)) * step


def _smallest_output(levels, padding):
    # Unpadded: a multiple of the step at the bottom, of which each finer level doubles what is left and takes a block.
    return min(TAKEN_BY_BLOCK, 2**levels) if padding == "valid" else 2**levels


def mirrored_indices(size, start, stop):
    """The pixels of an axis of ``size`` that stand at ``start`` up to ``stop`` (exclusive): np.intp [stop - start].

    Beyond either end the axis is mirrored at its outermost pixel, which is not repeated, as often as it takes.
    """
    period = max(1, 2 * (size - 1))
    places = np.arange(start, stop) % period
    return np.minimum(places, period - places) if size > 1 else places


def framing(size, levels, padding):
    """How an axis of ``size`` pixels is brought to the smallest input of which the network labels all of them.

    Returns the pixels that stand there, np.intp [``input_size``], and the first of the network's outputs that is one
    of the axis.
    """
    around, lost = input_size(size, levels, padding), margin(levels, padding)
    before = (around - size) // 2
    return mirrored_indices(size, -before, around - before), before - lost // 2

"""How cases come to the network, and how its answers come together: a case at a time, or a slice at a time.

An item is what the network is fed with: the whole of a prepared case, or a part of it. Dimensions: X, Y, Z voxels of a
prepared case; U, V, W of an item, along the same axes; C input channels; K classes.
"""

import itertools

import numpy as np


def feeding_of(params):
    """What the params ask for: a ``Whole`` or ``Slices``."""
    if params["model"] == "unet":
        return Slices(params["input_shape"], "xyz".index(params["slice_axis"]))
    return Whole(params["input_shape"])


class Whole:
    """Every case is one item.

    Attributes:
        item_shape: (U, V, W).
        case_shape: (X, Y, Z) of all prepared cases; None along an axis where each keeps its own.
    """

    def __init__(self, shape):
        self.item_shape = self.case_shape = tuple(shape)

    def corners(self, shape):
        """The first voxel (x, y, z) of each item of a case of that shape, in the order in which they are predicted."""
        return [(0, 0, 0)]

    def cut(self, array, corner):
        """The item at a corner of a case [X, Y, Z, ...]: a view [U, V, W, ...]."""
        return array[tuple(slice(first, first + size) for first, size in zip(corner, self.item_shape))]

    def together(self, shape, parts):
        """Probabilities [X, Y, Z, K] of a case of that shape, of (corner, probabilities [U, V, W, K]) of its items."""
        return next(iter(parts))[1]


class Slices(Whole):
    """Every slice across one axis is an item: its shape has one voxel there.

    Args:
        shape: (U, V, W), 1 along ``axis``.
        axis: 0, 1 or 2.
    """

    def __init__(self, shape, axis):
        super().__init__(shape)
        self.axis = axis
        self.case_shape = tuple(None if number == axis else size for number, size in enumerate(self.item_shape))

    def corners(self, shape):
        return [tuple(place * (number == self.axis) for number in range(3)) for place in range(shape[self.axis])]

    def together(self, shape, parts):
        return np.concatenate([probabilities for _, probabilities in parts], axis=self.axis)


def items_of(image, feeding):
    """The items [U, V, W, C] of an image [X, Y, Z, C], one after another."""
    return (feeding.cut(image, corner) for corner in feeding.corners(image.shape[:3]))


def put_together(predictions, cases, feeding):
    """Yields (case, probabilities [X, Y, Z, K]) for each case whose items have been predicted.

    Args:
        predictions: an iterator over the probabilities [U, V, W, K] of all items, case by case.
        cases: function () -> the next case and the shape (X, Y, Z) of it, called once its first item has come.
        feeding: what the items were cut with.
    """
    for first in predictions:
        case, shape = cases()
        # The corners first: when they are at their end, no further item is taken.
        yield case, feeding.together(shape, zip(feeding.corners(shape), itertools.chain([first], predictions)))

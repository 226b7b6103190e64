"""How cases come to the network, and how its answers come together: a case at a time, or a slice or patch of it.

An item is what the network is fed with: the whole of a prepared case, or a part of it. Dimensions: X, Y, Z voxels of a
prepared case; U, V, W of an item, along the same axes; C input channels; K classes.
"""

import itertools

import numpy as np

from utils.config.network_flags import UNET
from utils.config.network_rules import PATCH, slice_axis
from utils.sampling import sliding_window

# Of a held-out case that is measured while patches are trained on, along each axis.
MEASURED_PATCHES = 2


def feeding_of(params):
    """What the params ask for: a ``Whole``, ``Slices`` or ``Patches``."""
    if params["model"] == UNET:
        return Slices(params["input_shape"], slice_axis(params))
    if params["sampling"] == PATCH:
        return Patches(params["input_shape"], params["patch_overlap"], params["cache_dir"])
    return Whole(params["input_shape"])


def fit_of(params):
    """How cases are prepared: the ``fit`` of ``utils.preprocessing.fitting``."""
    return "spacing" if params["sampling"] == PATCH else params["fit"]


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


class Patches(Whole):
    """Windows of one shape are the items, which overlap; where a case is the smaller one, there is one of them.

    Args:
        shape: (U, V, W).
        overlap: of two neighbours, as a share of the patch.
        folder: where the probabilities of a large case may wait on disk until all of its patches are predicted.

    Attributes:
        filling: the values of the channels, float32 [C] or one for all, around a case that is smaller than a patch.
    """

    def __init__(self, shape, overlap, folder):
        super().__init__(shape)
        self.case_shape = (None, None, None)
        self.filling = 0.0
        self._overlap, self._folder = overlap, folder

    def corners(self, shape):
        return sliding_window.windows(shape, self.item_shape, self._overlap)

    def cut(self, array, corner):
        """The item at a corner of an image [X, Y, Z, C], or of a label [X, Y, Z]: a new array [U, V, W, ...]."""
        return sliding_window.cut(array, corner, self.item_shape, self.filling if array.ndim > 3 else 0)

    def together(self, shape, parts):
        whole = None
        for corner, probabilities in parts:
            if whole is None:
                layout = shape, self.item_shape, self._overlap
                whole = sliding_window.Stitched(*layout, classes=probabilities.shape[-1], folder=self._folder)
            whole.put(corner, probabilities)
        return whole.result()


def items_of(image, feeding):
    """The items [U, V, W, C] of an image [X, Y, Z, C], one after another."""
    return (feeding.cut(image, corner) for corner in feeding.corners(image.shape[:3]))


def put_together(predictions, cases, feeding):
    """Yields (case, probabilities [X, Y, Z, K]) for each case all of whose items have been predicted.

    Args:
        predictions: an iterator over the probabilities [U, V, W, K] of all items, case by case.
        cases: function () -> the next case and the shape (X, Y, Z) of it, called once its first item has come.
        feeding: what the items were cut with.
    """
    for first in predictions:
        case, shape = cases()
        corners, taken = feeding.corners(shape), itertools.count()
        # The corners first: when they are at their end, no further item is taken.
        parts = zip(corners, itertools.chain([first], predictions), taken)
        whole = feeding.together(shape, ((corner, part) for corner, part, _ in parts))
        if next(taken) < len(corners):
            return
        yield case, whole

"""How a scan comes to the size the network sees, and what the network says comes back.

Dimensions: X, Y, Z voxels of the network's grid; X', Y', Z' of the scan's own; K classes.

With ``--fit resize`` the network's grid spans the scan's field of view. With ``--fit pad`` the scan is first brought
to a spacing, over the same field of view; what is then missing or too much is padded or cropped, on both sides alike.
Along an axis where ``input_shape`` is None the scan keeps its own slices: neither their distance nor their number
changes. Where patches are cut out of the scan, which is the ``fit`` "spacing", it is brought to the spacing alone.
"""

import math

import numpy as np

from utils.imaging import geometry
from utils.imaging.nifti import to_array

BACKGROUND = 0
# How many numbers a slab may hold; it has one slice at least.
VALUES_AT_ONCE = 1 << 22


def fit_image(image, settings, normalize, filling=0.0):
    """A channel on the network's grid: float32 [X, Y, Z], normalised by itself before it is padded.

    Args:
        image: 3-D SimpleITK image.
        settings: the settings of ``utils.preprocessing.pipeline``.
        normalize: a function from float32 [X', Y', Z'] to float32 of the same shape.
        filling: what it is padded with; by default the mean of one that was normalised by itself.
    """
    resampled = geometry.resample_image(image, resampled_shape(image, settings), settings["resize_interpolator"])
    return _padded(normalize(to_array(resampled)), settings, filling)


def fit_label(label, settings):
    """A label, a 3-D SimpleITK image, on the network's grid: uint8 [X, Y, Z]; background where it is padded."""
    resampled = geometry.resample_label(label, resampled_shape(label, settings), settings["classes"])
    return _padded(resampled, settings, BACKGROUND)


def _padded(array, settings, filling):
    shape = [own if size is None else size for own, size in zip(array.shape, settings["input_shape"])]
    return fit_array(array, shape, filling)


class Restored:
    """Probabilities [X, Y, Z, K] of the network on the grid of the scan ``like``, one slab of slices along z at a time.

    All of them at once would take hundreds of megabytes for each class of a large scan. What the network did not see
    is background.

    Args:
        probabilities: float32 [X, Y, Z, K].
        like: an image or a ``utils.imaging.scan_grid.ScanGrid``.
        settings: a dict with ``input_shape``, ``fit`` and ``spacing``.

    ``shape`` is (X', Y', Z'); ``slabs`` is the list of slabs, each a range of slices; the last one asked for is kept.
    """

    def __init__(self, probabilities, like, settings):
        self._probabilities = probabilities
        self._network_shape, self.shape = resampled_shape(like, settings), like.GetSize()
        self._background = np.eye(probabilities.shape[-1], dtype=np.float32)[BACKGROUND]
        width, height, depth = self.shape
        step = max(1, VALUES_AT_ONCE // (width * height * probabilities.shape[-1]))
        self.slabs = [range(first, min(first + step, depth)) for first in range(0, depth, step)]
        self._kept = None, None

    def slab(self, slices):
        """The probabilities on one of ``slabs``: float32 [X', Y', S, K], read-only by agreement."""
        if self._kept[0] != slices:
            self._kept = None, None
            below = geometry.slices_below(self._network_shape, self.shape, slices)
            seen = fit_array(self._probabilities, self._network_shape, self._background, below)
            self._kept = slices, geometry.restore_slab(seen, below.start, self._network_shape, self.shape, slices)
        return self._kept[1]


def resampled_shape(image, settings):
    """Voxels (X, Y, Z) of a scan before it is padded or cropped: the network's, or what ``spacing`` makes of it."""
    return shape_before_padding(image.GetSize(), image.GetSpacing(), settings)


def shape_before_padding(size, spacing, settings):
    """The same of a scan of that size (voxels) and spacing (mm)."""
    wanted = settings["input_shape"]
    if settings["fit"] != "resize":
        # A header's spacing has six digits or so: 0.99999 mm are one voxel of 1 mm.
        at_spacing = np.maximum(1, np.round(np.multiply(size, spacing) / settings["spacing"]))
        wanted = np.where(np.equal(wanted, None), None, at_spacing) if settings["fit"] == "pad" else at_spacing
    return tuple(int(own if voxels is None else voxels) for own, voxels in zip(size, wanted))


def seen(size, spacing, settings):
    """The slices of a scan of that size (voxels) and spacing (mm) that cropping leaves: a range along each axis."""
    parts = []
    for own, resampled, wanted in zip(size, shape_before_padding(size, spacing, settings), settings["input_shape"]):
        wanted = resampled if wanted is None else wanted
        left = _overlap(range(wanted), wanted, resampled)[1]
        # The centre of voxel i lies at (i + 0.5) resampled / own.
        parts.append(range(*(math.ceil(end * own / resampled - 0.5) for end in (left.start, left.stop))))
    return tuple(parts)


def fit_array(array, shape, filling, slices=None):
    """An array [X', Y', Z', ...] padded with ``filling`` or cropped about its centre to ``shape`` (X, Y, Z).

    Fitting the result to the first shape again puts every voxel back to where it was. Of the result, ``slices`` along
    Z are returned, a range, or all.
    """
    slices = range(shape[2]) if slices is None else slices
    if array.shape[:3] == tuple(shape):
        return array[:, :, slices.start : slices.stop]
    fitted = np.empty(tuple(shape[:2]) + (len(slices),) + array.shape[3:], array.dtype)
    fitted[...] = filling
    everywhere = [range(size) for size in shape[:2]] + [slices]
    inside, taken = zip(*map(_overlap, everywhere, shape, array.shape))
    fitted[inside] = array[taken]
    return fitted


def _overlap(wanted, new, old):
    """Where along an axis of ``new`` voxels, of which some are wanted, ``old`` ones about the same centre lie.

    A slice of the wanted ones, and the slice of the old ones that goes there.
    """
    shift = (old - min(new, old)) // 2 - (new - min(new, old)) // 2
    first, end = max(wanted.start, -shift, 0), min(wanted.stop, old - shift)
    end = max(first, end)
    return slice(first - wanted.start, end - wanted.start), slice(first + shift, end + shift)

"""How a scan comes to the size the network sees, and what the network says comes back.

Dimensions: X, Y, Z voxels of the network's grid; X', Y', Z' of the scan's own; K classes.

With ``--fit resize`` the network's grid spans the scan's field of view. With ``--fit pad`` the scan is first brought
to a spacing, over the same field of view; what is then missing or too much is padded or cropped, on both sides alike.
"""

import numpy as np

from utils import geometry
from utils.volumes import to_array

# Padding of images: the mean of a normalised one.
MEAN_INTENSITY = 0.0
BACKGROUND = 0


def fit_image(image, settings, normalize):
    """A channel on the network's grid: float32 [X, Y, Z], normalised by itself before it is padded.

    Args:
        image: 3-D SimpleITK image.
        settings: the settings of ``utils.preprocessing``.
        normalize: a function from float32 [X', Y', Z'] to float32 of the same shape.
    """
    resampled = geometry.resample_image(image, resampled_shape(image, settings), settings["resize_interpolator"])
    return fit_array(normalize(to_array(resampled)), settings["input_shape"], MEAN_INTENSITY)


def fit_label(label, settings):
    """A label, a 3-D SimpleITK image, on the network's grid: uint8 [X, Y, Z]; background where it is padded."""
    resampled = geometry.resample_label(label, resampled_shape(label, settings), settings["classes"])
    return fit_array(resampled, settings["input_shape"], BACKGROUND)


def restore_probabilities(probabilities, like, settings):
    """Probabilities [X, Y, Z, K] of the network as float32 [X', Y', Z', K] on the grid of the scan ``like``.

    What the network did not see is background.
    """
    background = np.eye(probabilities.shape[-1], dtype=np.float32)[BACKGROUND]
    unpadded = fit_array(probabilities, resampled_shape(like, settings), background)
    return geometry.restore_probabilities(unpadded, like)


def resampled_shape(image, settings):
    """Voxels (X, Y, Z) of a scan before it is padded or cropped: the network's, or what ``spacing`` makes of it."""
    return shape_before_padding(image.GetSize(), image.GetSpacing(), settings)


def shape_before_padding(size, spacing, settings):
    """The same of a scan of that size (voxels) and spacing (mm)."""
    if settings["fit"] == "resize":
        return tuple(settings["input_shape"])
    extents = np.multiply(size, spacing)
    # A header's spacing has six digits or so: 0.99999 mm are one voxel of 1 mm.
    return tuple(int(size) for size in np.maximum(1, np.round(extents / settings["spacing"])))


def fit_array(array, shape, filling):
    """An array [X', Y', Z', ...] padded with ``filling`` or cropped about its centre to ``shape`` (X, Y, Z).

    Fitting the result to the first shape again puts every voxel back to where it was.
    """
    if array.shape[:3] == tuple(shape):
        return array
    fitted = np.empty(tuple(shape) + array.shape[3:], array.dtype)
    fitted[...] = filling
    inside, taken = zip(*(_overlap(new, old) for new, old in zip(shape, array.shape)))
    fitted[inside] = array[taken]
    return fitted


def _overlap(new, old):
    """The part of an axis of ``new`` voxels that ``old`` ones about the same centre fill, and the part of those."""
    common = min(new, old)
    before_new, before_old = (new - common) // 2, (old - common) // 2
    return slice(before_new, before_new + common), slice(before_old, before_old + common)

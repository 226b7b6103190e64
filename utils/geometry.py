"""From a scan's own grid to the network's grid and back, over the same field of view.

A grid's field of view reaches from the outer border of its first voxel to the outer border of its last
one. Both grids share it, so that nothing shifts by half a voxel on the way.
"""

import numpy as np
import SimpleITK as sitk

from utils.volumes import to_array

INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest_neighbor": sitk.sitkNearestNeighbor}


def resample_image(image, shape, interpolator):
    """Return a 3-D image as SimpleITK float32 of `shape` (X, Y, Z) voxels over the same field of view.

    `interpolator` is "linear" or "nearest_neighbor". An image that has the shape already keeps its values.
    """
    spacing, origin = _grid(image, shape)
    voxels = sitk.Cast(image, sitk.sitkFloat32)
    return _resample(voxels, shape, spacing, origin, image.GetDirection(), INTERPOLATORS[interpolator])


def resample_label(label, shape, classes):
    """Return a label of values 0 to `classes` - 1 as np.uint8 [X, Y, Z] of `shape`, without inventing classes.

    Each class is resampled by itself, linearly, and each voxel gets the class with the largest share; of
    equal shares the lowest value wins, as it does where probabilities become a mask.
    """
    largest = np.full(shape, -1, np.float32)
    winner = np.zeros(shape, np.uint8)
    for value in range(classes):
        share = to_array(resample_image(sitk.Equal(label, value), shape, "linear"))
        np.copyto(winner, np.uint8(value), where=share > largest)
        np.maximum(largest, share, out=largest)
    return winner


def restore_probabilities(probabilities, like):
    """Return probabilities [X, Y, Z, K] on the network's grid as np.float32 [X', Y', Z', K] on the grid of `like`.

    Each class is resampled linearly; the K values of a voxel still add up to what they added up to.
    """
    shape = probabilities.shape[:3]
    image = sitk.GetImageFromArray(np.ascontiguousarray(probabilities.transpose(2, 1, 0, 3), np.float32), isVector=True)
    spacing, origin = _grid(like, shape)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(like.GetDirection())
    restored = _resample(
        image, like.GetSize(), like.GetSpacing(), like.GetOrigin(), like.GetDirection(), sitk.sitkLinear
    )
    return to_array(restored)


def _grid(image, shape):
    """Return spacing and origin (mm) of a grid of `shape` voxels over the field of view of `image`."""
    old_spacing = np.array(image.GetSpacing())
    spacing = old_spacing * image.GetSize() / np.array(shape)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(image.GetOrigin()) + direction.dot((spacing - old_spacing) / 2)
    return spacing.tolist(), origin.tolist()


def _resample(image, shape, spacing, origin, direction, interpolator):
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(size) for size in shape])
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetOutputDirection(direction)
    resampler.SetInterpolator(interpolator)
    # Every wanted voxel centre lies within the field of view; rounding must not push one out of it.
    resampler.UseNearestNeighborExtrapolatorOn()
    return resampler.Execute(image)

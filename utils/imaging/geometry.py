"""From a scan's own grid to the network's grid and back, over the same field of view.

A grid's field of view reaches from the outer border of its first voxel to the outer border of its last
one. Both grids share it, so that nothing shifts by half a voxel on the way.
"""

import numpy as np
import SimpleITK as sitk

from utils.imaging.nifti import to_array

INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest_neighbor": sitk.sitkNearestNeighbor}


def resample_image(image, shape, interpolator):
    """Return a 3-D image as SimpleITK float32 of `shape` (X, Y, Z) voxels over the same field of view.

    `interpolator` is "linear" or "nearest_neighbor". An image that has the shape already keeps its values.
    """
    voxels = image if image.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(image, sitk.sitkFloat32)
    if image.GetSize() == tuple(shape):
        # Of a whole scan, every copy counts.
        return voxels
    spacing, origin = _grid(image, shape)
    return _resample(voxels, shape, spacing, origin, image.GetDirection(), INTERPOLATORS[interpolator])


def resample_label(label, shape, classes):
    """Return a label of values 0 to `classes` - 1 as np.uint8 [X, Y, Z] of `shape`, without inventing classes.

    Each class is resampled by itself, linearly, and each voxel gets the class with the largest share; of
    equal shares the lowest value wins, as it does where probabilities become a mask.
    """
    if label.GetSize() == tuple(shape):
        return to_array(label if label.GetPixelID() == sitk.sitkUInt8 else sitk.Cast(label, sitk.sitkUInt8))
    largest = np.full(shape, -1, np.float32)
    winner = np.zeros(shape, np.uint8)
    for value in range(classes):
        share = to_array(resample_image(sitk.Equal(label, value), shape, "linear"))
        np.copyto(winner, np.uint8(value), where=share > largest)
        np.maximum(largest, share, out=largest)
    return winner


def restore_slab(probabilities, start, shape, like_shape, slices):
    """Return the network's probabilities on some slices of a scan's grid: np.float32 [X', Y', S, K].

    Each class is resampled linearly; the K values of a voxel still add up to what they added up to. A slab comes out
    as it would as part of the whole, to the last bit.

    Args:
        probabilities: [X, Y, Z, K], from the slice `start` on at least those `slices_below` tells of the network's.
        start: the slice of the network's grid that `probabilities` begins with.
        shape: (X, Y, Z) voxels of the whole of the network's grid.
        like_shape: (X', Y', Z') voxels of the scan's grid, over the same field of view.
        slices: range of slices [first, end) of the scan's grid, S of them.
    """
    along_memory = np.ascontiguousarray(probabilities.transpose(2, 1, 0, 3), np.float32)
    if tuple(shape) == tuple(like_shape):
        return along_memory[slices.start - start : slices.stop - start].transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(along_memory, isVector=True)
    image.SetOrigin([0.0, 0.0, float(start)])
    # Counted in voxels, from whole numbers to whole numbers, no rounding depends on which slices are asked for.
    scale = [size / like_size for size, like_size in zip(shape, like_shape)]
    resampler = _resampler(sitk.sitkLinear)
    resampler.SetSize([int(like_shape[0]), int(like_shape[1]), len(slices)])
    resampler.SetOutputOrigin([0.0, 0.0, float(slices.start)])
    resampler.SetTransform(sitk.AffineTransform(np.diag(scale).ravel().tolist(), [(step - 1) / 2 for step in scale]))
    return sitk.GetArrayFromImage(resampler.Execute(image)).transpose(2, 1, 0, 3)


def slices_below(shape, like_shape, slices):
    """Return the range of slices of the network's grid that `slices` of the scan's lie between."""
    scale = shape[2] / like_shape[2]
    first, last = ((place + 0.5) * scale - 0.5 for place in (slices[0], slices[-1]))
    # A little more on each side, so that rounding does not matter.
    return range(max(0, int(np.floor(first - 1e-6))), min(shape[2], int(np.floor(last + 1e-6)) + 2))


def _grid(image, shape):
    """Return spacing and origin (mm) of a grid of `shape` voxels over the field of view of `image`."""
    old_spacing = np.array(image.GetSpacing())
    spacing = old_spacing * image.GetSize() / np.array(shape)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(image.GetOrigin()) + direction.dot((spacing - old_spacing) / 2)
    return spacing.tolist(), origin.tolist()


def _resample(image, shape, spacing, origin, direction, interpolator):
    resampler = _resampler(interpolator)
    resampler.SetSize([int(size) for size in shape])
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetOutputDirection(direction)
    return resampler.Execute(image)


def _resampler(interpolator):
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(interpolator)
    # Every wanted voxel centre lies within the field of view; rounding must not push one out of it.
    resampler.UseNearestNeighborExtrapolatorOn()
    return resampler

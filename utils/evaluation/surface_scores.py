"""How far the surface of a structure lies from where it should be, in mm.

A surface voxel is one of the structure with a face on a voxel that is not; beyond the image's border nothing is.
On a grid of one slice, where all voxels would be surface, outlines take the place of surfaces.
Its distance to another surface is that between the centres of the two nearest voxels. The definitions are those of
Taha & Hanbury, "Metrics for evaluating 3D medical image segmentation", BMC Medical Imaging 15:29 (2015), and
Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 21:195-212 (2024).
"""

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from utils.imaging.bounding_box import bounding_box


class SurfaceScores(NamedTuple):
    """hausdorff_95: the larger of the two directed 95th percentiles of the surface voxels' distances, mm;
    average: the mean of the distances of all surface voxels of both (average symmetric surface distance), mm."""

    hausdorff_95: float
    average: float


def surface_scores(predicted, true, spacing):
    """Returns the ``SurfaceScores`` of one structure; both are NaN where it is missing from either.

    Args:
        predicted: bool [X, Y, Z], where the mask has the structure.
        true: bool [X, Y, Z], where it is.
        spacing: mm from voxel to voxel along each axis.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != true.shape:
        raise ValueError("surfaces on grids of the shapes {} and {}".format(predicted.shape, true.shape))
    across = [axis for axis, size in enumerate(predicted.shape) if size == 1]
    if len(across) == 1:
        predicted, true, spacing = predicted.squeeze(), true.squeeze(), np.delete(spacing, across)
    if not predicted.any() or not true.any():
        return SurfaceScores(np.nan, np.nan)
    # No nearest voxel lies outside the box around both, and scans are much larger than most structures.
    box = bounding_box(predicted | true)
    surfaces = [_surface(np.pad(structure[box], 1, "constant")) for structure in (predicted, true)]
    to_truth, to_mask = _distances(*surfaces, spacing=spacing), _distances(*surfaces[::-1], spacing=spacing)
    return SurfaceScores(
        hausdorff_95=max(np.percentile(to_truth, 95), np.percentile(to_mask, 95)),
        average=(to_truth.sum() + to_mask.sum()) / (to_truth.size + to_mask.size),
    )


def _surface(inside):
    """The surface voxels of a structure that does not touch the border of the array."""
    within = inside.copy()
    for axis in range(inside.ndim):
        here, other = np.swapaxes(within, 0, axis), np.swapaxes(inside, 0, axis)
        here[1:] &= other[:-1]
        here[:-1] &= other[1:]
    return np.logical_not(within, out=within) & inside


def _distances(surface, other, spacing):
    """The distance of each voxel of a surface to the nearest one of the other, float64 [voxels]."""
    # SimpleITK has the axes of the array reversed.
    image = sitk.GetImageFromArray(other.astype(np.uint8))
    image.SetSpacing([float(length) for length in spacing[::-1]])
    distances = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    found = np.abs(sitk.GetArrayViewFromImage(distances)[surface].astype(np.float64))
    # The filter's rounding leaves a millionth of a mm where there is no distance at all.
    found[other[surface]] = 0.0
    return found

"""Clearing a mask of stray parts."""

import numpy as np
import SimpleITK as sitk

from utils.imaging.bounding_box import bounding_box

BACKGROUND = 0
VOXELS_AT_ONCE = 1 << 22


def clear_smaller_parts(mask, classes):
    """Leave of each structure in a mask its largest connected part, the first of equal ones; the others become
    background.

    Args:
        mask: uint8 [X, Y, Z], values 0 (background) to ``classes`` - 1; it is changed.
        classes: number of classes, background included.

    Returns:
        bool [Z], the slices along z in which something has changed. Voxels that share a face, an edge or a corner are
        connected.
    """
    changed = np.zeros(mask.shape[2], bool)
    for value in range(1, classes):
        # Nothing is connected through what lies around the box.
        box = bounding_box(mask == value)
        if box is not None:
            changed[box[2]] |= _clear(mask[box], value)
    return changed


def _clear(mask, value):
    found = sitk.ConnectedComponent(sitk.GetImageFromArray(np.ascontiguousarray(mask == value).view(np.uint8)), True)
    # A view of numbers from 1, which the image must outlive.
    parts = sitk.GetArrayViewFromImage(found)
    largest, changed = _largest(parts), np.zeros(mask.shape[2], bool)
    for slices in _slabs(parts):
        stray = (parts[slices] != largest) & (parts[slices] != BACKGROUND)
        mask[slices][stray] = BACKGROUND
        changed |= stray.any(axis=(0, 1))
    return changed


def _largest(parts):
    """The number of the largest part, the first of equal ones."""
    sizes = np.zeros(parts.max() + 1, np.int64)
    for slices in _slabs(parts):
        sizes += np.bincount(parts[slices].ravel(), minlength=sizes.size)
    return 1 + sizes[1:].argmax()


def _slabs(parts):
    """Slices along the first axis, each of few voxels: what is made of them takes little memory."""
    step = max(1, VOXELS_AT_ONCE // parts[:1].size)
    return [slice(first, first + step) for first in range(0, len(parts), step)]

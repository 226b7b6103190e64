"""Clearing a mask of stray parts."""

import numpy as np
import SimpleITK as sitk


def largest_components(mask, classes):
    """A mask in which each structure is its largest connected part; the others become background.

    Args:
        mask: uint8 [X, Y, Z], values 0 (background) to ``classes`` - 1.
        classes: number of classes, background included.

    Returns:
        A new uint8 [X, Y, Z]. Voxels that share a face, an edge or a corner are connected.
    """
    kept = np.zeros_like(mask)
    for value in range(1, classes):
        found = sitk.GetImageFromArray((mask == value).astype(np.uint8))
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(found, True), sortByObjectSize=True)
        kept[sitk.GetArrayViewFromImage(parts) == 1] = value
    return kept

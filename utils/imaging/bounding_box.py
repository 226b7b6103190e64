"""The part of a volume where something is."""

import numpy as np


def bounding_box(inside):
    """The smallest box around the true voxels of bool [X, Y, Z]: a tuple of three slices, or None without any."""
    box = []
    for axis in range(inside.ndim):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        if not found.size:
            return None
        box.append(slice(found[0], found[-1] + 1))
    return tuple(box)

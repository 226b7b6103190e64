"""Where the pictures of a case cut it, how bright they draw it, and in which colours."""

import numpy as np

# (across, up, through): the axes of the image that each of three orthogonal slices shows, and the one it cuts.
PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
# Distinct for colour-blind eyes, and bright on grey.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7")
GREY_WINDOW_PERCENTILES = (0.5, 99.5)
VOXELS_FOR_WINDOW = 1e6


def colour_of(number):
    """The colour of structure 1, 2, ..."""
    return COLOURS[(number - 1) % len(COLOURS)]


def middle_of(shape, marked):
    """The voxel (x, y, z) at which slices show most: the nearest ones to the centre of ``marked`` that hold any.

    ``marked`` is bool [X, Y, Z]; the middle of ``shape`` where nothing is marked.
    """
    if not marked.any():
        return tuple(size // 2 for size in shape)
    return tuple(_middle_along(marked, axis) for axis in range(3))


def _middle_along(marked, axis):
    counts = marked.sum(axis=tuple(other for other in range(3) if other != axis))
    positions = np.flatnonzero(counts)
    centre = np.average(np.arange(counts.size), weights=counts)
    return int(positions[np.abs(positions - centre).argmin()])


def grey_window(image):
    """The intensities (low, high) to draw black and white, from all or a sample of the finite voxels."""
    step = max(1, int(np.ceil((image.size / VOXELS_FOR_WINDOW) ** (1.0 / 3.0))))
    sample = image[::step, ::step, ::step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, GREY_WINDOW_PERCENTILES) if sample.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def cut(volume, through, middle):
    """The slice of a volume [X, Y, Z] at ``middle`` across the axis ``through``: [across, up]."""
    # A view: ``take`` first copies a volume whose voxels do not lie in this order, as those of images do not.
    return np.moveaxis(volume, through, 0)[middle[through]]

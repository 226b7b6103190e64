"""How large what the network sees is to be: pure arithmetic over the sizes of scans at the spacing they come to."""

import numpy as np

# Images that have room along an axis. Scans reach beyond what is segmented in them: the largest may lose a border
# rather than have all others padded to their size.
PERCENT_WITH_ROOM = 75
# Voxels that must be left along each axis at the coarsest level.
FEWEST_AT_THE_BOTTOM = 3
MOST_LEVELS = 4


def levels_for(sizes, most=MOST_LEVELS):
    """How often sizes (voxels) are to be halved: once at least, then as long as three voxels are left of each."""
    levels = 1
    while levels < most and min(sizes) >= FEWEST_AT_THE_BOTTOM * 2 ** (levels + 1):
        levels += 1
    return levels


def levels_within(shape):
    """The same of a shape that is settled, where it can be halved without a rest."""
    return max(1, levels_for(shape, min([MOST_LEVELS] + [_halvings(size) for size in shape])))


def _halvings(size):
    # The lowest bit that is set.
    return (size & -size).bit_length() - 1


def whole(sizes, levels=None):
    """The shape with room for three in four scans of ``sizes`` (voxels [N, 3]) along each axis, as [X, Y, Z].

    It can be halved ``levels`` times, by default as often as suits it.
    """
    room = np.percentile(np.round(sizes), PERCENT_WITH_ROOM, axis=0)
    return multiples(room, 2 ** (levels or levels_for(room)))


def multiples(sizes, step):
    """The next whole multiples of ``step`` from ``sizes`` (voxels [3]) on, as [X, Y, Z]."""
    return [int(count) * step for count in np.maximum(1, np.ceil(np.asarray(sizes) / step))]


def patch(sizes, spacing, fits, levels=None):
    """The shape of a patch: that of the median scan, its longest side in mm cut until it fits: [X, Y, Z].

    Args:
        sizes: of the scans, voxels [N, 3].
        spacing: in mm, [3].
        fits: a function (shape) -> whether it is small enough.
        levels: how often it can be halved, by default as often as suits it.
    """
    median = np.median(np.round(sizes), axis=0)
    if levels:
        return _within(median, spacing, fits, 2**levels)
    # Rather of another form than halved but once.
    attempts = [(number, 1) for number in range(MOST_LEVELS, 1, -1)] + [(2, FEWEST_AT_THE_BOTTOM), (1, 1)]
    for number, fewest in attempts:
        shape = _within(median, spacing, fits, 2**number, fewest)
        if levels_for(shape) >= number:
            return shape


def _within(sizes, spacing, fits, step, fewest=1):
    whole_steps = [int(count) * step for count in np.maximum(1, sizes // step)]
    return cut(whole_steps, spacing, fits, step, fewest)


def cut(shape, spacing, fits, step, fewest=1):
    """A shape (voxels [3], multiples of ``step``) whose longest side in mm is cut by a step until it fits: [X, Y, Z].

    No side gets less than ``fewest`` steps.
    """
    steps = np.array(shape) // step
    while not fits([int(count) * step for count in steps]) and steps.max() > fewest:
        steps[np.argmax(np.where(steps > fewest, steps * spacing, 0))] -= 1
    return [int(count) * step for count in steps]

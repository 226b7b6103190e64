"""What a user should know before masks are trusted: which scans the network sees in part, or turned; a line for each.

Files that cannot be read are left out: whoever needs all of them tells what is wrong.
"""

import numpy as np

from utils import fitting, scans
from utils.errors import UserError, attempted
from utils.memory import by_axis

NAMED = 3


def axes_of(cases):
    """The axes of the scans among the cases, a sorted list such as ["LPS"]; None without any."""
    return sorted({scans.axes_of(grid) for case, grid in _grids(cases) if not scans.is_stack(case)}) or None


def of_scans(cases, axes, settings=None):
    """The lines that the images' headers give rise to.

    Args:
        cases: the ``utils.tasks.Case``s, all of scans or all of stacks.
        axes: what ``axes_of`` returned of the training cases.
        settings: those of ``utils.preprocessing``, where scans that are larger than the network's input are told too.
    """
    grids = _grids(cases)
    lines = [_other_axes(grids, axes, len(cases)), settings and _larger(grids, settings, len(cases))]
    return [line for line in lines if line]


def _grids(cases):
    """Pairs of a case and the grid that its header tells."""
    grids = ((case, attempted(scans.read_grid, case)) for case in cases)
    return [(case, grid) for case, grid in grids if not isinstance(grid, UserError)]


def _other_axes(grids, axes, count):
    found = [(case, scans.axes_of(grid)) for case, grid in grids if axes and not scans.is_stack(case)]
    others = ["{} ({})".format(case.name, own) for case, own in found if own not in axes]
    if not others:
        return None
    return (
        "axes other than those of the training scans ({}): {} of {} scans, which the network sees turned or mirrored: "
        "{}: reorient them first; a mask is on the grid of the scan that is given".format(
            ", ".join(axes), len(others), count, _few(others)
        )
    )


def _larger(grids, settings, count):
    shares = [(_seen_share(grid, settings), case, grid) for case, grid in grids]
    # Those first of which least is seen.
    cropped = sorted((one for one in shares if one[0] < 1), key=lambda one: one[0])
    if not cropped:
        return None
    told = ["{} ({})".format(case.name, _size(grid, settings)) for _, case, grid in cropped]
    return (
        "larger than the network's input of {}: {} of {} images, whose masks are background outside of it: {}: "
        "{} would see more".format(_input(cropped[0][1], settings), len(cropped), count, _few(told), _remedy(settings))
    )


def of_structures(shares, settings, count):
    """The line about cases of whose structures the network does not see all, in a list; an empty one without any.

    Args:
        shares: pairs of a ``utils.tasks.Case`` and the share of its structures' voxels that is cropped away.
        settings: those of ``utils.preprocessing``.
        count: how many cases were looked at.
    """
    cropped = sorted((one for one in shares if one[1] > 0), key=lambda one: -one[1])
    if not cropped:
        return []
    sizes = {case.name: _size(grid, settings) + ", " for case, grid in _grids([case for case, _ in cropped[:NAMED]])}
    told = ["{} ({}{:.3g} %)".format(case.name, sizes.get(case.name, ""), 100 * share) for case, share in cropped]
    return [
        "structures outside the network's input of {}: {} of {} cases lose voxels of them: {}: "
        "{} would see more".format(_input(cropped[0][0], settings), len(cropped), count, _few(told), _remedy(settings))
    ]


def of_rounded(cases, count):
    """The line about cases whose labels hold numbers that were rounded, in a list; an empty one without any."""
    if not cases:
        return []
    told = _few([case.name for case in cases])
    return ["labels whose values were rounded to whole numbers: {} of {} cases: {}".format(len(cases), count, told)]


def _seen_share(grid, settings):
    return np.prod([len(part) for part in fitting.seen(grid.size, grid.spacing, settings)]) / np.prod(grid.size)


def _fitted_axes(settings):
    """The axes along which scans are padded or cropped."""
    return [axis for axis, size in enumerate(settings["input_shape"]) if size is not None]


def _size(grid, settings):
    shape = fitting.shape_before_padding(grid.size, grid.spacing, settings)
    return by_axis(shape[axis] for axis in _fitted_axes(settings))


def _input(case, settings):
    axes = _fitted_axes(settings)
    told = by_axis(settings["input_shape"][axis] for axis in axes)
    if scans.is_stack(case):
        return told + " pixels"
    return "{} voxels of {} mm".format(told, by_axis("{:.4g}".format(settings["spacing"][axis]) for axis in axes))


def _remedy(settings):
    # The slices of U-Net are no patches.
    sliced = len(_fitted_axes(settings)) < len(settings["input_shape"])
    return "a model with a larger --input_shape" + ("" if sliced else " or with --sampling patch")


def _few(names):
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")

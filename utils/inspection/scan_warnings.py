"""What a user should know before masks are trusted, a line for each kind: scans seen in part or turned, odd voxels.

Files that cannot be read are left out: whoever needs all of them tells what is wrong.
"""

import numpy as np

from utils.imaging import case_files, image_facts
from utils.preprocessing import fitting
from utils.system.errors import UserError, attempted
from utils.system.memory import by_axis

NAMED = 3
# A little less than ten, as headers have six digits or so.
OTHER_UNIT = 9.99


def axes_of(cases):
    """The axes of the scans among the cases, a sorted list such as ["LPS"]; None without any."""
    return sorted({case_files.axes_of(grid) for case, grid in _grids(cases) if not case_files.is_stack(case)}) or None


def of_scans(cases, axes, settings=None):
    """The lines that the images' headers give rise to.

    Args:
        cases: the ``utils.imaging.tasks.Case``s, all of scans or all of stacks.
        axes: what ``axes_of`` returned of the training cases.
        settings: those of ``utils.preprocessing.pipeline``, where scans that are larger than the network's input are
            told too.
    """
    grids = _grids(cases)
    lines = [_other_axes(grids, axes, len(cases))]
    if settings:
        lines += [_other_units(grids, settings, len(cases)), _larger(grids, settings, len(cases))]
    return [line for line in lines if line]


def _grids(cases):
    """Pairs of a case and the grid that its header tells."""
    grids = ((case, attempted(case_files.read_grid, case)) for case in cases)
    return [(case, grid) for case, grid in grids if not isinstance(grid, UserError)]


def _other_axes(grids, axes, count):
    found = [(case, case_files.axes_of(grid)) for case, grid in grids if axes and not case_files.is_stack(case)]
    others = ["{} ({})".format(case.name, own) for case, own in found if own not in axes]
    if not others:
        return None
    return (
        "axes other than those of the training scans ({}): {} of {} scans, which the network sees turned or mirrored: "
        "{}: reorient them first; a mask is on the grid of the scan that is given".format(
            ", ".join(axes), len(others), count, _few(others)
        )
    )


def _other_units(grids, settings, count):
    """Scans whose voxels are another order of size than the network's along every axis, as no slices are thick."""
    if settings["fit"] == "resize" or settings["spacing"] is None:
        return None
    ratios = [(case, grid, np.divide(grid.spacing, settings["spacing"])) for case, grid in grids]
    others = [
        "{} ({})".format(case.name, by_axis("{:.3g}".format(step) for step in grid.spacing))
        for case, grid, ratio in ratios
        if not case_files.is_stack(case) and (ratio.min() >= OTHER_UNIT or ratio.max() <= 1 / OTHER_UNIT)
    ]
    if not others:
        return None
    return _line(
        "voxels ten times as large or as small as the network's",
        others,
        count,
        "correct the headers' spacing, which is in mm, if it has another unit",
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
        shares: pairs of a ``utils.imaging.tasks.Case`` and the share of its structures' voxels that is cropped away.
        settings: those of ``utils.preprocessing.pipeline``.
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


def of_voxels(facts, modalities, intensities):
    """The lines about images of one intensity, images of equal voxels and labels without a structure.

    Args:
        facts: pairs of a ``utils.imaging.tasks.Case`` and its ``utils.imaging.image_facts.Facts``.
        modalities: the names of the channels.
        intensities: by what ``utils.preprocessing.ct_intensities`` found the channels are normalised, or None.
    """
    count, lines = len(facts), []
    constant = [(case, image_facts.of_one_intensity(one, modalities)) for case, one in facts]
    told = ["{} ({})".format(case.name, ", ".join(texts)) for case, texts in constant if texts]
    if told:
        lines.append(_line(image_facts.ONE_INTENSITY, told, count, "no mask of them means anything: get them again"))
    beyond = [(case, _beyond(one, modalities, intensities)) for case, one in facts]
    told = ["{} ({})".format(case.name, ", ".join(texts)) for case, texts in beyond if texts]
    if told:
        kind = "an image without any intensity of those that the model knows"
        lines.append(_line(kind, told, count, "give it in the units of the training images, as CT in HU"))
    same = image_facts.alike([one.content for _, one in facts])
    told = ["{} ({})".format(case.name, facts[own[0]][0].name) for (case, _), own in zip(facts, same) if own]
    if told:
        lines.append(_line(image_facts.SAME_VOXELS, told, count, "leave out all but one of each"))
    # In stacks, pages without any are nothing unusual.
    told = [case.name for case, one in facts if image_facts.is_unmarked(one) and not case_files.is_stack(case)]
    if told:
        lines.append(_line(image_facts.UNMARKED, told, count, "finish those that something is missing from"))
    return lines


def _beyond(facts, modalities, intensities):
    """What is told of channels all of whose intensities are cut off, in a list: the network sees one value all over."""
    known = zip(modalities, facts.intensities, intensities or ())
    return [
        "{} from {:g} to {:g}, known from {:g} to {:g}".format(name, low, high, *channel[:2])
        for name, (low, high), channel in known
        if channel is not None and low < high and (high <= channel[0] or low >= channel[1])
    ]


def of_absent(facts, learned, structures):
    """The line about structures that no label of the cases ``learned`` from has, in a list; else as ``of_voxels``."""
    names = {case.name for case in learned}
    absent = image_facts.absent([one.voxels for case, one in facts if case.name in names], structures)
    if not absent:
        return []
    told = (
        "in none of the {} training labels: {}: the model cannot learn them: mark them, or leave them out of the task"
    )
    return [told.format(len(names), _few(absent))]


def _line(kind, told, count, remedy):
    return "{}: {} of {} cases: {}: {}".format(kind, len(told), count, _few(told), remedy)


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
    if case_files.is_stack(case):
        return told + " pixels"
    return "{} voxels of {} mm".format(told, by_axis("{:.4g}".format(settings["spacing"][axis]) for axis in axes))


def _remedy(settings):
    # The slices of U-Net are no patches.
    sliced = len(_fitted_axes(settings)) < len(settings["input_shape"])
    return "a model with a larger --input_shape" + ("" if sliced else " or with --sampling patch")


def _few(names):
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")

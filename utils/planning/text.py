"""What a plan prints, and its JSON."""

import numpy as np

from utils.config.flag import shown
from utils.planning.facts import AXES
from utils.preprocessing import ct_intensities
from utils.preprocessing.normalization import clipped_channels
from utils.system.memory import GIGABYTE, by_axis

MEGABYTE = 1e6
MINUTE, HOUR = 60.0, 3600.0


def found(facts):
    """Lines that tell what a task is."""
    numbers = "{} labelled case{}, {} to predict".format(facts.training, "" if facts.training == 1 else "s", facts.test)
    lines = ["{}: {}".format(facts.name, numbers)]
    lines.append(_line("size", _sizes(facts)))
    if not facts.stacks:
        lines.append(_line("spacing", _spacings(facts)))
    lines += [_line("images", text) for text in _images(facts)]
    if len(facts.structures):
        told = "{:.3g} % of the voxels are of structures".format(100 * facts.shares.sum())
        lines.append(_line("foreground", told))
        for name, share, present in zip(facts.labels[1:], facts.shares, facts.present):
            told = "{:.3g} %, in {} of {} cases".format(100 * share, present, len(facts.structures))
            lines.append("  {}: {}".format(name, told))
    return lines


def _line(name, text):
    return "{:<11} {}".format(name + ":", text)


def _sizes(facts):
    rows = [facts.extreme(choose) for choose in (np.argmin, np.argmax)]
    smallest, largest = ("{} ({})".format(by_axis(facts.sizes[row]), facts.cases[row].name) for row in rows)
    median = by_axis("{:.0f}".format(size) for size in facts.median_size)
    return "{} voxels in the median, from {} to {}".format(median, smallest, largest)


def _spacings(facts):
    low, median, high = (
        by_axis("{:.4g}".format(mm) for mm in statistic(facts.spacings, axis=0))
        for statistic in (np.min, np.median, np.max)
    )
    told = "{} mm".format(median) if low == high else "{} mm in the median, from {} to {}".format(median, low, high)
    if facts.anisotropy < 1.05:
        return told + "; as long as wide"
    return told + "; {:.1f} times as long along {} as wide".format(facts.anisotropy, AXES[facts.coarse_axis])


def _images(facts):
    for name, told in _intensities(facts).items():
        text = "{}, {:.5g} to {:.5g}".format(name, told["lowest"], told["highest"])
        if told["structures"]:
            text += "; of structures mostly {:.4g} to {:.4g}, {:.4g} in the mean".format(*told["structures"])
        yield text


def _intensities(facts):
    """Of each modality the lowest and the highest one and, of CT, the ``utils.preprocessing.ct_intensities`` of
    structures.
    """
    chosen = clipped_channels("auto", facts.modalities)
    structures = ct_intensities.figures(facts.sample, chosen) if len(facts.sample) else [None] * len(chosen)
    lowest, highest = facts.intensities[..., 0].min(axis=0), facts.intensities[..., 1].max(axis=0)
    figures = zip(facts.modalities, lowest.tolist(), highest.tolist(), structures)
    return {name: {"lowest": low, "highest": high, "structures": own} for name, low, high, own in figures}


def proposed(choices, commands):
    """Lines that tell what is proposed, each setting with its reason, and the commands."""
    flags = ["--{} {}".format(choice.flag, shown(choice.value)) for choice in choices]
    width = max(map(len, flags))
    reasons = ["  {}  {}".format(flag.ljust(width), choice.reason) for flag, choice in zip(flags, choices)]
    return ["", "proposed:"] + reasons + [""] + commands


def estimated(estimate):
    """Lines that tell what that will take."""
    lines = ["", "on this machine ({}):".format(estimate.machine)]
    how = "computed" if estimate.trial is None else "measured: {}".format(estimate.trial)
    memory = "{} for training, {} for prediction, of {} ({})".format(
        *(_bytes(value) for value in (estimate.training_memory, estimate.prediction_memory, estimate.limit)), how
    )
    lines.append("  " + _line("memory", memory))
    if estimate.training_memory > estimate.limit or estimate.prediction_memory > estimate.limit:
        lines.append("  " + _line("", "that is more than there is: use a smaller --input_shape or --batch_size"))
    if estimate.epoch is None:
        lines.append("  " + _line("time", "not measured" + (": " + estimate.trouble if estimate.trouble else "")))
    else:
        steps = "{} step{}".format(estimate.steps, "" if estimate.steps == 1 else "s")
        epochs = "{}{}".format(estimate.epochs, " of {} folds".format(estimate.folds) if estimate.folds else "")
        told = "{} an epoch ({}), {} for all {} with preparing and measuring cases, {} to predict a scan".format(
            _duration(estimate.epoch), steps, _duration(estimate.training), epochs, _duration(estimate.scan)
        )
        lines.append("  " + _line("time", told))
    lines.append("  " + _line("disk", "{} of prepared cases in --cache_dir".format(_bytes(estimate.disk))))
    return lines


def _bytes(value):
    if value < 0.1 * GIGABYTE:
        return "{:.2g} MB".format(value / MEGABYTE)
    return "{:.1f} GB".format(value / GIGABYTE)


def _duration(seconds):
    if seconds < 2 * MINUTE:
        return "{:.2g} s".format(seconds)
    return "{:.0f} min".format(seconds / MINUTE) if seconds < 3 * HOUR else "{:.1f} h".format(seconds / HOUR)


def _spacing_mm(facts):
    return {
        "median": facts.median_spacing.tolist(),
        "lowest": facts.spacings.min(axis=0).tolist(),
        "highest": facts.spacings.max(axis=0).tolist(),
    }


def as_json(facts, proposal, commands, estimate):
    """All of it as a dict that JSON can hold."""
    structures = facts.labels[1:]
    smallest, largest = (facts.sizes[facts.extreme(choose)].tolist() for choose in (np.argmin, np.argmax))
    return {
        "task": facts.name,
        "found": {
            "training": facts.training,
            "test": facts.test,
            "labels": list(facts.labels),
            "modalities": list(facts.modalities),
            "intensities": _intensities(facts),
            "size": {"median": facts.median_size.tolist(), "smallest": smallest, "largest": largest},
            "spacing_mm": None if facts.stacks else _spacing_mm(facts),
            "anisotropy": facts.anisotropy,
            "foreground_share": dict(zip(structures, facts.shares.tolist())),
            "cases_with": dict(zip(structures, facts.present.tolist())),
        },
        "proposed": [choice._asdict() for choice in proposal.choices],
        "given": proposal.given,
        "commands": commands,
        "estimate": dict(estimate._asdict()),
    }

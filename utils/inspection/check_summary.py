"""The summary of ``--exec_mode check``: what the cases of a task have in common, and what to look at."""

import collections

import numpy as np

from utils.imaging import image_facts
from utils.system.memory import by_axis

BACKGROUND = "background"


def summary_lines(findings, task, settings):
    """Lines that sum up all ``utils.inspection.case_facts.Finding`` of a ``utils.imaging.tasks.Task``.

    ``settings`` are those of preprocessing, or None where they cannot be known.
    """
    readable = [finding for finding in findings if finding.size is not None]
    parts = collections.Counter(finding.part for finding in findings)
    lines = [
        "",
        "{}: {} training cases, {} test images; {}".format(
            task.name, parts["training"], parts["test"], ", ".join(task.modalities)
        ),
    ]
    if readable:
        lines += _grid_lines(readable)
        lines += _structure_lines(readable, task.labels[1:])
    if settings is not None:
        stacks = bool(readable) and readable[0].is_stack
        lines.append("the network sees: {}".format(_pages(settings) if stacks else _input(settings)))
    lines += ["warning: {}".format(text) for text in _warnings(findings, readable, task)]
    bad = sum(1 for finding in findings if finding.problems)
    lines.append("{} of {} cases can be used".format(len(findings) - bad, len(findings)))
    return lines


def _grid_lines(readable):
    lines = []
    stacks = readable[0].is_stack
    told_of = (("size", "{:.0f}", "pixels"),) if stacks else (("size", "{:.0f}", "voxels"), ("spacing", "{:.4g}", "mm"))
    for name, form, unit in told_of:
        values = np.array([getattr(finding, name)[: 2 if stacks else 3] for finding in readable], float)
        low, middle, high = (
            by_axis(form.format(value) for value in statistic(values, axis=0))
            for statistic in (np.min, np.median, np.max)
        )
        told = low if low == high else "{} to {}, median {}".format(low, high, middle)
        lines.append("{}: {} {}".format(name, told, unit))
    if not stacks:
        axes = collections.Counter(finding.axes for finding in readable).most_common()
        lines.append("axes: {}".format(", ".join("{} ({})".format(code, count) for code, count in axes)))
    channels = zip(*(finding.intensities for finding in readable))
    ranges = [(min(low for low, _ in channel), max(high for _, high in channel)) for channel in channels]
    lines.append("intensities: {}".format(", ".join("{:.5g} to {:.5g}".format(low, high) for low, high in ranges)))
    return lines


def _structure_lines(readable, structures):
    labelled = [finding for finding in readable if finding.voxels is not None]
    lines = []
    for number, structure in enumerate(structures):
        stacks = any(finding.is_stack for finding in labelled)
        sizes = [
            finding.voxels[number] if stacks else finding.volumes_ml()[number]
            for finding in labelled
            if finding.voxels[number]
        ]
        told = "in {} of {} labels".format(len(sizes), len(labelled))
        if sizes:
            form = ", {:.0f} to {:.0f} pixels, median {:.0f}" if stacks else ", {:.3g} to {:.3g} ml, median {:.3g} ml"
            told += form.format(min(sizes), max(sizes), np.median(sizes))
        lines.append("{}: {}".format(structure, told))
    return lines


def _input(settings):
    told = by_axis(settings["input_shape"]) + " voxels"
    if settings["fit"] == "pad":
        told += " of {} mm".format(by_axis("{:.4g}".format(spacing) for spacing in settings["spacing"]))
    if settings["crop_shape"] is not None:
        told += ", in training parts of {} voxels".format(by_axis(settings["crop_shape"]))
    if settings["sampling"] == "patch":
        return "patches of {} (--sampling patch)".format(told)
    return told + " (--fit {})".format(settings["fit"])


def _pages(settings):
    """The same of pages, whose pixels are 1 mm in the settings and have no size in what is told."""
    told = by_axis(settings["input_shape"][:2]) + " pixels"
    spacing = (settings["spacing"] or [1, 1])[:2]
    if spacing != [1, 1]:
        told += ", each of {} of an image's".format(by_axis("{:.4g}".format(step) for step in spacing))
    if settings["crop_shape"] is not None:
        told += ", in training parts of {} pixels".format(by_axis(settings["crop_shape"][:2]))
    return told + " (--fit {})".format(settings["fit"])


def _warnings(findings, readable, task):
    """What concerns more than one case, and how many cases have warnings of their own."""
    warnings = []
    if len({finding.axes for finding in readable}) > 1:
        warnings.append("the axes point in different directions: the network sees the scans turned accordingly")
    if BACKGROUND in [structure.strip().lower() for structure in task.labels[1:]]:
        warnings.append(
            'the structure of value 0, "{}", is the background, whatever the others\' names'.format(task.labels[0])
        )
    nowhere = image_facts.absent([finding.voxels for finding in readable], task.labels[1:])
    warnings += ["{}: in none of the labels".format(structure) for structure in nowhere]
    kinds = collections.Counter(_kind(text) for finding in findings for text in finding.warnings)
    warnings += ["{}: {} case{}".format(kind, count, "" if count == 1 else "s") for kind, count in kinds.most_common()]
    return warnings


def _kind(warning):
    if warning.startswith("the same voxels"):
        return image_facts.SAME_VOXELS
    return image_facts.ONE_INTENSITY if warning.startswith("all voxels") else warning

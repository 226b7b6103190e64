"""``--exec_mode check``: reads a whole task as training would, and tells of every case what it is and what is wrong.

Cases are read one per thread at a time, so that memory does not grow with their number.
"""

import hashlib
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from utils import grid, memory, network_memory, tasks
from utils.check_summary import summary_lines
from utils.check_table import table_lines
from utils.environment import threads
from utils.errors import UserError, unusable
from utils.feeding import feeding_of, fit_of
from utils.files import write_json_atomically
from utils.job import Job, refuse_stacks
from utils.overlap import overlapped
from utils.preprocessing import check_memory, check_scan
from utils.progress import Progress, say
from utils.scans import is_stack, read_channels, read_label, turn_of

TRAINING, TEST = "training", "test"


class Finding(NamedTuple):
    """What a case is: of what cannot be read, None.

    ``size`` in voxels, ``spacing`` in mm, ``axes`` the directions in which x, y and z grow, such as RAS (right,
    anterior, superior); ``intensities`` the lowest and the highest one of each channel; ``voxels`` of each structure;
    ``content`` the same for scans of equal voxels; ``problems`` keep a case from being used, ``warnings`` do not.
    """

    case: tasks.Case
    part: str
    size: Optional[Tuple[int, ...]]
    spacing: Optional[Tuple[float, ...]]
    axes: Optional[str]
    intensities: Optional[List[Tuple[float, float]]]
    voxels: Optional[List[int]]
    content: Optional[bytes]
    problems: Tuple[str, ...]
    warnings: Tuple[str, ...]

    @property
    def is_stack(self):
        """Whether the case is of images, whose pixels have no size in mm and whose axes are not those of a body."""
        return is_stack(self.case)

    def volumes_ml(self):
        """The volume of each structure, in ml."""
        return [count * float(np.prod(self.spacing)) / 1000 for count in self.voxels]


def run(params):
    """Check the task in ``params["data_dir"]`` against the params' settings; print a table and a summary.

    Raises:
        UserError: the task or some of its cases cannot be used; where several, in a line each.
    """
    task = tasks.read_task(params["data_dir"], refuse_cases=False)
    cases = [(case, TRAINING) for case in task.training] + [(case, TEST) for case in task.test]
    findings = []
    with Progress(len(cases), "checking", "cases") as progress:
        for finding in overlapped(lambda one: examined(task, *one), cases, threads(params)):
            findings.append(finding)
            progress.update()
    settings, problem = _settings(params, task, findings)
    findings = _compared([_fitted(finding, settings) for finding in findings])
    _tell(table_lines(findings, task.labels[1:]) + summary_lines(findings, task, settings))
    if params["output"]:
        write_json_atomically(params["output"], as_json(findings, task))
        _tell(["findings: {}".format(params["output"])])
    _refuse(findings, problem)


def _tell(lines):
    try:
        for line in lines:
            say(line)
    except BrokenPipeError:
        # Whoever read it, such as `head`, has seen enough. What is left in the buffer must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise UserError("standard output: cannot be written ({})".format(error.strerror)) from error


def examined(task, case, part):
    """The ``Finding`` of one case by itself."""
    problems: List[str] = []
    facts: Dict[str, Any] = dict.fromkeys(("size", "spacing", "axes", "intensities", "content", "voxels"))
    with turn_of(case):
        _tried(lambda: _examine(task, case, facts, problems), problems)
    return Finding(case, part, problems=tuple(problems), warnings=_warnings(facts, task), **facts)


def _examine(task, case, facts, problems):
    """Put what a case is into ``facts``, and what is wrong with it into ``problems``."""
    with memory.running_out_over(case.image):
        channels = _tried(lambda: _channels(case, task), problems)
        label = None
        if case.label is not None:
            like = channels[0] if channels else None
            label = _tried(lambda: read_label(case, like, len(task.labels)), problems)
        if channels:
            facts.update(_facts(channels))
            if is_stack(case):
                facts["axes"] = None
            if label is not None:
                values = sitk.GetArrayViewFromImage(label)
                facts["voxels"] = [int(np.count_nonzero(values == value)) for value in range(1, len(task.labels))]


def _channels(case, task):
    check_scan(case, {"channels": len(task.modalities)})
    return read_channels(case)


def _tried(read, problems):
    try:
        return read()
    except UserError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _facts(channels):
    views = [sitk.GetArrayViewFromImage(channel) for channel in channels]
    content = hashlib.blake2b(repr(views[0].shape).encode(), digest_size=16)
    for view in views:
        content.update(np.ascontiguousarray(view))
    return {
        "size": channels[0].GetSize(),
        "spacing": channels[0].GetSpacing(),
        "axes": sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(channels[0].GetDirection()),
        "intensities": [(float(view.min()), float(view.max())) for view in views],
        "content": content.digest(),
    }


def _warnings(facts, task):
    warnings = []
    for modality, (low, high) in zip(task.modalities, facts["intensities"] or []):
        if low == high:
            warnings.append("all voxels{} are {:g}".format(" of " + modality if len(task.modalities) > 1 else "", low))
    if facts["voxels"] is not None and not any(facts["voxels"]):
        warnings.append("label without any structure")
    return tuple(warnings)


def _settings(params, task, findings):
    """The settings of preprocessing for this task, and what is wrong with them: a UserError or None."""
    readable = [finding.case for finding in findings if finding.size is not None]
    settings = {name: params[name] for name in ("sampling", "fit", "input_shape", "crop_shape", "spacing")}
    settings.update(channels=len(task.modalities))
    if not readable:
        return None, None
    try:
        refuse_stacks(params, task.training + task.test)
        training = [case for case in readable if case.label is not None]
        settings.update(grid.choose(params, training or readable))
        chosen = dict(params, **settings)
        settings.update(case_shape=feeding_of(chosen).case_shape, prepared_fit=fit_of(chosen))
        whole = Job({}, training=task.training, predicted=task.test)
        network_memory.check(dict(params, modalities=task.modalities, **settings), whole)
    except UserError as error:
        return None, error
    return settings, None


def _fitted(finding, settings):
    """The finding with what is wrong with its case at these settings."""
    if settings is None or finding.size is None:
        return finding
    problems = list(finding.problems)
    prepared = dict(settings, input_shape=settings["case_shape"], fit=settings["prepared_fit"])
    _tried(lambda: check_memory(finding.case.image, finding.size, finding.spacing, prepared), problems)
    return finding._replace(problems=tuple(problems))


def _compared(findings):
    """The findings with what only shows beside the other cases: the same name, the same voxels."""
    by_name: Dict[str, List[Finding]] = {}
    by_content: Dict[bytes, List[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.case.name, []).append(finding)
        if finding.content is not None:
            by_content.setdefault(finding.content, []).append(finding)
    return [
        finding._replace(
            problems=finding.problems + _name_taken(finding, by_name[finding.case.name]),
            warnings=finding.warnings + _same_voxels(finding, by_content.get(finding.content, [])),
        )
        for finding in findings
    ]


def _name_taken(finding, named):
    if len(named) == 1:
        return ()
    parts = sorted({other.part for other in named}, reverse=True)
    told = "{}: its name is listed {} times, in {}: rename all but one".format(
        finding.case.image, len(named), " and ".join(parts)
    )
    return (told,)


def _same_voxels(finding, alike):
    others = ["{} ({})".format(other.case.name, other.part) for other in alike if other is not finding]
    return ("the same voxels as {}".format(", ".join(others)),) if others else ()


def as_json(findings, task):
    """The findings as a dict that JSON can hold."""
    structures = task.labels[1:]
    entries = []
    for finding in findings:
        measured = finding.voxels is not None
        entries.append(
            {
                "case": finding.case.name,
                "part": finding.part,
                "size": finding.size and list(finding.size),
                "spacing_mm": list(finding.spacing) if finding.spacing and not finding.is_stack else None,
                "axes": finding.axes,
                "intensities": finding.intensities and [list(range_) for range_ in finding.intensities],
                "voxels": dict(zip(structures, finding.voxels)) if measured else None,
                "volume_ml": dict(zip(structures, finding.volumes_ml())) if measured and not finding.is_stack else None,
                "problems": list(finding.problems),
                "warnings": list(finding.warnings),
            }
        )
    return {"task": task.name, "labels": list(task.labels), "modalities": list(task.modalities), "cases": entries}


def _refuse(findings, problem):
    bad = ["; ".join(finding.problems) for finding in findings if finding.problems]
    if not bad and problem is None:
        return
    told = [str(problem)] if problem is not None else []
    if bad:
        told.append(str(unusable(bad, len(findings))))
    raise UserError("\n".join(told))

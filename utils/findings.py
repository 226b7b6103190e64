"""What the cases of a task are, and what is wrong with them: for those who look at a task before anything is trained.

Cases are read one per thread at a time, so that memory does not grow with their number.
"""

import hashlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from utils import ct_intensities, label_values, memory, tasks
from utils.environment import threads
from utils.errors import UserError, unusable
from utils.overlap import overlapped
from utils.preprocessing import check_scan
from utils.progress import Progress
from utils.scans import axes_of, is_stack, read_channels, read_label, turn_of

TRAINING, TEST = "training", "test"
ROUNDED = "label of values that are rounded to whole numbers"


class Finding(NamedTuple):
    """What a case is: of what cannot be read, None.

    ``size`` in voxels, ``spacing`` in mm, ``axes`` the directions in which x, y and z grow, such as RAS (right,
    anterior, superior); ``intensities`` the lowest and the highest one of each channel; ``voxels`` of each structure;
    ``filled`` slices across x, y and z that have some structure, ``reach`` the range from the first to the last of
    them; ``content`` the same for scans of equal voxels;
    ``sample`` intensities of some voxels of the structures, float32 [n, C]; ``problems`` keep a case from being used,
    ``warnings`` do not.
    """

    case: tasks.Case
    part: str
    size: Optional[Tuple[int, ...]]
    spacing: Optional[Tuple[float, ...]]
    axes: Optional[str]
    intensities: Optional[List[Tuple[float, float]]]
    voxels: Optional[List[int]]
    filled: Optional[Tuple[int, ...]]
    reach: Optional[Tuple[range, ...]]
    content: Optional[bytes]
    sample: Optional[np.ndarray]
    problems: Tuple[str, ...]
    warnings: Tuple[str, ...]

    @property
    def is_stack(self):
        """Whether the case is of images, whose pixels have no size in mm and whose axes are not those of a body."""
        return is_stack(self.case)

    def volumes_ml(self):
        """The volume of each structure, in ml."""
        return [count * float(np.prod(self.spacing)) / 1000 for count in self.voxels]


def read(task, params, description):
    """The ``Finding`` of each case of a ``utils.tasks.Task``, those for training first; a progress bar tells of it."""
    cases = [(case, TRAINING) for case in task.training] + [(case, TEST) for case in task.test]
    findings = []
    with Progress(len(cases), description, "cases") as progress:
        for finding in overlapped(lambda one: examined(task, *one), cases, threads(params)):
            findings.append(finding)
            progress.update()
    return findings


def examined(task, case, part):
    """The ``Finding`` of one case by itself."""
    problems: List[str] = []
    facts: Dict[str, Any] = dict.fromkeys(
        ("size", "spacing", "axes", "intensities", "content", "voxels", "filled", "reach", "sample")
    )
    with turn_of(case):
        tried(lambda: _examine(task, case, facts, problems), problems)
    warnings = _warnings(facts, task) + (ROUNDED,) * len(label_values.take_rounded([case.label]))
    return Finding(case, part, problems=tuple(problems), warnings=warnings, **facts)


def _examine(task, case, facts, problems):
    """Put what a case is into ``facts``, and what is wrong with it into ``problems``."""
    with memory.trouble_over(case.image):
        channels = tried(lambda: _channels(case, task), problems)
        label = None
        if case.label is not None:
            like = channels[0] if channels else None
            label = tried(lambda: read_label(case, like, len(task.labels)), problems)
        if channels:
            facts.update(_facts(channels))
            if is_stack(case):
                facts["axes"] = None
            if label is not None:
                values = sitk.GetArrayViewFromImage(label)
                facts["voxels"] = [int(np.count_nonzero(values == value)) for value in range(1, len(task.labels))]
                # The array's axes are z, y and x.
                places = [np.flatnonzero(values.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
                facts["filled"] = tuple(map(len, places))
                facts["reach"] = tuple(range(own[0], own[-1] + 1) if len(own) else range(0) for own in places)
                most = ct_intensities.voxels_per_case(len(task.training))
                facts["sample"] = ct_intensities.sampled(channels, label, most)


def _channels(case, task):
    check_scan(case, {"channels": len(task.modalities)})
    return read_channels(case)


def tried(read, problems):
    """What ``read()`` returns; of a UserError None, and its text goes to the list ``problems``."""
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
        "axes": axes_of(channels[0]),
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


def compared(findings):
    """Findings with what only shows beside the other cases: the same name, the same voxels."""
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


def refuse(findings, problem=None):
    """Raise UserError where cases cannot be used, or there is a ``problem`` (UserError): where several, a line each."""
    bad = ["; ".join(finding.problems) for finding in findings if finding.problems]
    if not bad and problem is None:
        return
    told = [str(problem)] if problem is not None else []
    if bad:
        told.append(str(unusable(bad, len(findings))))
    raise UserError("\n".join(told))

"""What the cases of a task are, and what is wrong with them: for those who look at a task before anything is trained.

Cases are read one per thread at a time, so that memory does not grow with their number.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from utils.imaging import image_facts, label_values, tasks
from utils.imaging.case_files import axes_of, is_stack, read_channels, read_label, turn_of
from utils.preprocessing import ct_intensities
from utils.preprocessing.pipeline import check_scan
from utils.system import memory
from utils.system.environment import threads
from utils.system.errors import UserError, unusable
from utils.system.progress import Progress
from utils.system.thread_pool import overlapped

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
    """The ``Finding`` of each case of a ``Task``, those for training first; a progress bar tells of it."""
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
            found = image_facts.facts_of(channels, label, len(task.labels))
            facts.update(_grid_facts(channels), **found._asdict())
            if is_stack(case):
                facts["axes"] = None
            if label is not None:
                values = sitk.GetArrayViewFromImage(label)
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


def _grid_facts(channels):
    return {"size": channels[0].GetSize(), "spacing": channels[0].GetSpacing(), "axes": axes_of(channels[0])}


def _warnings(facts, task):
    if facts["intensities"] is None:
        return ()
    found = image_facts.Facts(*(facts[name] for name in image_facts.Facts._fields))
    unmarked = [image_facts.UNMARKED] * image_facts.is_unmarked(found)
    return tuple(image_facts.of_one_intensity(found, task.modalities) + unmarked)


def compared(findings):
    """Findings with what only shows beside the other cases: the same name, the same voxels."""
    by_name: Dict[str, List[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.case.name, []).append(finding)
    alike = image_facts.alike([finding.content for finding in findings])
    return [
        finding._replace(
            problems=finding.problems + _name_taken(finding, by_name[finding.case.name]),
            warnings=finding.warnings + _same_voxels(finding, [findings[other] for other in others]),
        )
        for finding, others in zip(findings, alike)
    ]


def _name_taken(finding, named):
    """What is wrong with a case whose name an earlier one has; nothing with the first of that name."""
    first = named[0]
    return () if first is finding else (tasks.name_taken(finding.case, first.case),)


def _same_voxels(finding, others):
    # What is named twice is told as such.
    own = finding.case.name, finding.case.image
    others = [other for other in others if (other.case.name, other.case.image) != own]
    told = ["{} ({})".format(other.case.name, other.part) for other in others]
    return ("the same voxels as {}".format(", ".join(told)),) if told else ()


def refuse(findings, problem=None):
    """Raise UserError where cases cannot be used, or there is a ``problem`` (UserError): where several, a line each."""
    bad = ["; ".join(finding.problems) for finding in findings if finding.problems]
    if not bad and problem is None:
        return
    told = [str(problem)] if problem is not None else []
    if bad:
        told.append(str(unusable(bad, len(findings))))
    raise UserError("\n".join(told))

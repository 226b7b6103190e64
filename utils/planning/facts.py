"""What a plan needs to know of a task, from the findings of its cases."""

from typing import Any, NamedTuple, Tuple

import numpy as np

from utils.inspection.case_facts import TRAINING

AXES = "xyz"


class Facts(NamedTuple):
    """A task as a whole. Arrays have a row for each case; the first rows are those of the labelled ones, L of them.

    cases: the ``utils.imaging.tasks.Case``; training, test: how many there are for each; sizes: voxels, int [N, 3];
    spacings: mm, float [N, 3]; structures: voxels of each structure, int [L, K - 1]; filled: slices across x, y and z
    with some structure, int [L, 3]; intensities: the lowest and the highest of each channel, float [N, C, 2]; sample:
    those of some voxels of structures, float [n, C]; modalities, labels: names; stacks: whether the cases are images,
    of pixels without a size in mm.
    """

    name: str
    modalities: Tuple[str, ...]
    labels: Tuple[str, ...]
    cases: Tuple[Any, ...]
    training: int
    test: int
    sizes: Any
    spacings: Any
    structures: Any
    filled: Any
    intensities: Any
    sample: Any
    stacks: bool

    @property
    def median_size(self):
        """Voxels along each axis, float [3]."""
        return np.median(self.sizes, axis=0)

    @property
    def median_spacing(self):
        """In mm along each axis, float [3]."""
        return np.median(self.spacings, axis=0)

    @property
    def anisotropy(self):
        """How much longer than wide a voxel of median spacing is."""
        return float(self.median_spacing.max() / self.median_spacing.min())

    @property
    def coarse_axis(self):
        """The axis of slices, if there is one: 0, 1 or 2, where voxels are longest, and where equal the last one."""
        # Median spacings of equal axes differ by what a header's digits leave.
        return 2 - int(np.argmax(self.median_spacing[::-1].round(4)))

    @property
    def shares(self):
        """Of all voxels of the labelled cases, those of each structure: float [K - 1], from 0 to 1."""
        return self.structures.sum(axis=0) / float(np.prod(self.sizes[: len(self.structures)], axis=1).sum())

    @property
    def present(self):
        """In how many labelled cases each structure is: int [K - 1]."""
        return (self.structures > 0).sum(axis=0)

    def extreme(self, choose):
        """The row of the case with the fewest or most voxels; ``choose`` is np.argmin or np.argmax."""
        return int(choose(np.prod(self.sizes, axis=1)))


def gather(task, findings):
    """The ``Facts`` of a ``Task`` from its ``Finding``, none of which has a problem."""
    ordered = sorted(findings, key=lambda finding: finding.voxels is None)
    labelled = [finding.voxels for finding in ordered if finding.voxels is not None]
    return Facts(
        name=task.name,
        modalities=task.modalities,
        labels=task.labels,
        cases=tuple(finding.case for finding in ordered),
        training=sum(finding.part == TRAINING for finding in findings),
        test=sum(finding.part != TRAINING for finding in findings),
        sizes=np.array([finding.size for finding in ordered]),
        spacings=np.array([finding.spacing for finding in ordered]),
        structures=np.array(labelled).reshape(len(labelled), len(task.labels) - 1),
        filled=np.array([finding.filled for finding in ordered if finding.filled is not None]).reshape(-1, 3),
        intensities=np.array([finding.intensities for finding in ordered]),
        sample=np.concatenate([np.zeros((0, len(task.modalities)))] + [one.sample for one in ordered[: len(labelled)]]),
        stacks=any(finding.is_stack for finding in findings),
    )

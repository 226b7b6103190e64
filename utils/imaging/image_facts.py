"""What the voxels of a case tell at a glance, and what of it is to be looked at: the same in a check and in a run."""

import hashlib
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

ONE_INTENSITY, UNMARKED = "an image of one intensity", "label without any structure"
SAME_VOXELS = "the same voxels as another case"
# A hash is as many 32-bit numbers, each of which a float64 holds exactly.
DIGEST_BYTES, DIGEST_PARTS = 16, 4
NO_LABEL = -1


class Facts(NamedTuple):
    """Of a case: the lowest and the highest intensity of each channel, how many voxels each structure of its label has
    (None without a label), and a hash that is the same for images of equal voxels."""

    intensities: List[Tuple[float, float]]
    voxels: Optional[List[int]]
    content: bytes


def facts_of(channels, label, classes):
    """The ``Facts`` of a case: channels and label (or None) are SimpleITK images."""
    views = [sitk.GetArrayViewFromImage(channel) for channel in channels]
    content = hashlib.blake2b(repr(views[0].shape).encode(), digest_size=DIGEST_BYTES)
    for view in views:
        content.update(np.ascontiguousarray(view))
    intensities = [(float(view.min()), float(view.max())) for view in views]
    return Facts(intensities, None if label is None else _voxels(label, classes), content.digest())


def _voxels(label, classes):
    values = sitk.GetArrayViewFromImage(label)
    return [int(np.count_nonzero(values == value)) for value in range(1, classes)]


def columns(channels, classes):
    """How many numbers the facts of a case are."""
    return 2 * channels + DIGEST_PARTS + classes - 1


def row_of(facts, classes):
    """The facts as numbers, float64 [``columns``], as which they are kept and exchanged."""
    voxels = [NO_LABEL] * (classes - 1) if facts.voxels is None else facts.voxels
    digest = np.frombuffer(facts.content, "<u4")
    return np.concatenate([np.ravel(facts.intensities), digest, voxels]).astype(np.float64)


def from_row(row, channels):
    """The ``Facts`` whose numbers these are, of a case with so many channels."""
    low_high, digest, voxels = np.split(np.asarray(row), [2 * channels, 2 * channels + DIGEST_PARTS])
    intensities = [(float(low), float(high)) for low, high in low_high.reshape(-1, 2)]
    counts = None if NO_LABEL in voxels else [int(count) for count in voxels]
    return Facts(intensities, counts, digest.astype("<u4").tobytes())


def of_one_intensity(facts, modalities):
    """What is told of channels that have one intensity all over: a list of texts."""
    several = len(modalities) > 1
    return [
        "all voxels{} are {:g}".format(" of " + name if several else "", low)
        for name, (low, high) in zip(modalities, facts.intensities)
        if low == high
    ]


def is_unmarked(facts):
    """Tell whether a label has no structure."""
    return facts.voxels is not None and not any(facts.voxels)


def alike(contents):
    """For each of the contents (None of what cannot be read) the numbers of the others that equal it, a list."""
    by_content = {}
    for number, content in enumerate(contents):
        by_content.setdefault(content, []).append(number)
    return [
        [other for other in by_content[content] if other != number] if content is not None else []
        for number, content in enumerate(contents)
    ]


def absent(voxels, structures):
    """The names of the structures that none of the labels has, whose ``voxels`` of each structure are given."""
    labels = [own for own in voxels if own is not None]
    return [name for number, name in enumerate(structures) if labels and not any(own[number] for own in labels)]

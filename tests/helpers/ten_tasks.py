"""Made-up tasks in the form of all ten of the Medical Segmentation Decathlon, at a scaled-down size.

Each has the modalities, structures, 4-D layout, spacing, voxel type, file names and ``dataset.json`` of its model
(Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9): MRI in units of its own, CT in Hounsfield units. Structures
that not every patient has are absent from every third scan.
"""

import os
from typing import NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from utils.fetching.phantom import coordinates, make_direction
from utils.sampling.warping import smooth_field
from utils.system.files import write_json_atomically

LICENCE = "CC-BY-SA 4.0"
# Of the standard deviation of the noise: what MRI signals of 0 to 1, and Hounsfield units, have.
MRI_NOISE, CT_NOISE = 0.06, 12.0
AIR, FAT = -1000.0, -90.0


class Form(NamedTuple):
    """One of the ten tasks.

    folder: its name, with the number; name, description, reference, release: as its dataset.json has them; prefix: of
    the files' names; modalities and labels: names by number, background first; size: voxels along x, y and z about
    which the scans' sizes vary; spacing: mm; signals: of each modality, those of the labels' values, background first,
    from 0 to 1 or in Hounsfield units; arrangement: how the structures lie; rare: the label's value that is absent from
    every third scan; test: whether there are test images.
    """

    folder: str
    name: str
    description: str
    reference: str
    release: str
    prefix: str
    modalities: Tuple[str, ...]
    labels: Tuple[str, ...]
    size: Tuple[int, int, int]
    spacing: Tuple[float, float, float]
    signals: Tuple[Tuple[float, ...], ...]
    arrangement: str = "nested"
    rare: Optional[int] = None
    test: bool = True

    @property
    def is_ct(self):
        """Whether voxels are in Hounsfield units."""
        return self.modalities == ("CT",)


FORMS = (
    Form(
        *("Task01_BrainTumour", "BRATS", "Gliomas segmentation tumour and oedema in on brain images"),
        *("University of Pennsylvania", "2.0 04/05/2018", "BRATS"),
        modalities=("FLAIR", "T1w", "t1gd", "T2w"),
        labels=("background", "edema", "non-enhancing tumor", "enhancing tumour"),
        size=(30, 27, 22),
        spacing=(1.0, 1.0, 1.0),
        # No channel tells more than one structure from the others.
        signals=((0.4, 0.8, 0.4, 0.4), (0.5, 0.5, 0.5, 0.2), (0.4, 0.4, 0.8, 0.4), (0.3, 0.3, 0.3, 0.7)),
        arrangement="sectors",
    ),
    Form(
        *("Task02_Heart", "LeftAtrium", "Left atrium segmentation", "King's College London", "1.0 04/05/2018", "la"),
        modalities=("MRI",),
        labels=("background", "left atrium"),
        size=(26, 28, 19),
        spacing=(1.25, 1.25, 1.37),
        signals=((0.3, 0.75),),
        test=False,
    ),
    Form(
        *("Task03_Liver", "LIVER", "Liver and cancer segmentation", "IRCAD Hôpitaux Universitaires"),
        *("0.0 04/05/2018", "liver"),
        modalities=("CT",),
        labels=("background", "liver", "cancer"),
        size=(34, 30, 16),
        spacing=(0.77, 0.77, 2.5),
        signals=((30.0, 120.0, 60.0),),
        rare=2,
    ),
    Form(
        *("Task04_Hippocampus", "Hippocampus", "Left and right hippocampus segmentation"),
        *("Vanderbilt University Medical Center", "1.0 04/05/2018", "hippocampus"),
        modalities=("MRI",),
        labels=("background", "Anterior", "Posterior"),
        size=(18, 25, 19),
        spacing=(1.0, 1.0, 1.0),
        signals=((0.25, 0.8, 0.55),),
        arrangement="sectors",
    ),
    Form(
        *("Task05_Prostate", "PROSTATE", "Prostate transitional zone and peripheral zone segmentation"),
        *("Radboud University, Nijmegen Medical Centre", "1.0 04/05/2018", "prostate"),
        modalities=("T2", "ADC"),
        labels=("background", "PZ", "TZ"),
        size=(32, 30, 9),
        spacing=(0.6, 0.6, 3.6),
        signals=((0.3, 0.8, 0.5), (0.3, 0.7, 0.4)),
        arrangement="sectors",
    ),
    Form(
        *("Task06_Lung", "Lung", "Lung and cancer segmentation", "The Cancer Imaging Archive"),
        *("1.0 04/05/2018", "lung"),
        modalities=("CT",),
        labels=("background", "cancer"),
        size=(33, 29, 20),
        spacing=(0.79, 0.79, 1.24),
        signals=((-820.0, 50.0),),
        rare=1,
    ),
    Form(
        *("Task07_Pancreas", "Pancreas", "Pancreas and cancer segmentation"),
        *("Memorial Sloan Kettering Cancer Center", "1.0 04/05/2018", "pancreas"),
        modalities=("CT",),
        labels=("background", "pancreas", "cancer"),
        size=(31, 32, 13),
        spacing=(0.8, 0.8, 2.5),
        signals=((20.0, 95.0, 50.0),),
        rare=2,
    ),
    Form(
        *("Task08_HepaticVessel", "HepaticVessel", "Hepatic vessels and tumour segmentation"),
        *("Memorial Sloan Kettering Cancer Center", "1.0 06/08/2018", "hepaticvessel"),
        modalities=("CT",),
        labels=("background", "Vessel", "Tumour"),
        size=(32, 33, 10),
        spacing=(0.8, 0.8, 5.0),
        signals=((100.0, 180.0, 50.0),),
        arrangement="sectors",
        rare=2,
    ),
    Form(
        *("Task09_Spleen", "Spleen", "Spleen Segmentation", "Memorial Sloan Kettering Cancer Center"),
        *("1.0 06/08/2018", "spleen"),
        modalities=("CT",),
        labels=("background", "spleen"),
        size=(31, 29, 11),
        spacing=(0.79, 0.79, 5.0),
        signals=((10.0, 110.0),),
    ),
    Form(
        *("Task10_Colon", "Colon", "Colon cancer primaries", "Memorial Sloan Kettering Cancer Center"),
        *("1.0 06/08/2018", "colon"),
        modalities=("CT",),
        labels=("background", "colon cancer primaries"),
        size=(30, 32, 12),
        spacing=(0.78, 0.78, 5.0),
        signals=((0.0, 80.0),),
        test=False,
    ),
)


class Scan(NamedTuple):
    """One scan: its channels [C, X, Y, Z], np.int16 (CT) or np.float32, and its truth, np.uint8 [X, Y, Z]."""

    channels: np.ndarray
    mask: np.ndarray


def make_scan(form, index, seed=0):
    """The Scan number ``index`` of a task that ``seed`` makes."""
    random = _random(form, index, seed)
    shape = tuple(size + random.randint(-2, 3) for size in form.size)
    depth, mask = _body(form, random, shape)
    if form.rare is not None and index % 3 == 2:
        # Where a structure lies in another, that is all there is.
        mask[mask == form.rare] = form.rare - 1
    signals = np.array(form.signals)[:, mask]
    if form.is_ct:
        # The patient ends before the scan does, in a layer of fat.
        signals[:, depth > 1.9] = FAT
        signals[:, depth > 2.1] = AIR
        signals += CT_NOISE * random.normal(size=signals.shape)
        return Scan(np.clip(np.rint(signals), -1024, 3071).astype(np.int16), mask)
    for signal in signals:
        signal *= np.exp(0.08 * smooth_field(shape, random))
    signals += MRI_NOISE * random.normal(size=signals.shape)
    scales = 10.0 ** random.uniform(1.5, 3.5, size=(len(signals), 1, 1, 1))
    return Scan((np.abs(signals) * scales).astype(np.float32), mask)


def write_task(parent, form, training=4, test=2, seed=0):
    """Write the task that ``seed`` makes of a Form into ``parent``; return its folder as text."""
    folder = os.path.join(str(parent), form.folder)
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        os.makedirs(os.path.join(folder, part))
    test = test if form.test else 0
    names = ["{}_{:03d}.nii.gz".format(form.prefix, number) for number in range(training + test)]
    for index, name in enumerate(names):
        image, label = _images(form, make_scan(form, index, seed), _random(form, index, seed + 1), index)
        sitk.WriteImage(image, os.path.join(folder, "imagesTr" if index < training else "imagesTs", name))
        if index < training:
            sitk.WriteImage(label, os.path.join(folder, "labelsTr", name))
    write_json_atomically(os.path.join(folder, "dataset.json"), _describe(form, names[:training], names[training:]))
    return folder


def _random(form, index, seed):
    return np.random.RandomState([seed, FORMS.index(form), index])


def _body(form, random, shape):
    """How far a voxel is from the middle of a body, in its radii, np.float64 [X, Y, Z], and the truth."""
    place = random.uniform(-0.15, 0.15, size=3)
    radii = random.uniform(0.42, 0.55, size=3)
    axes = [(axis - middle) / radius for axis, middle, radius in zip(coordinates(shape), place, radii)]
    depth = np.sqrt(sum(axis**2 for axis in axes)) * (1.0 + 0.06 * smooth_field(shape, random))
    return depth, np.where(depth < 1.0, ARRANGEMENTS[form.arrangement](axes, depth, len(form.labels) - 1, random), 0)


def _nested(axes, depth, structures, random):
    """Each structure within the one before it."""
    bounds = np.arange(1, structures) / structures
    return (1 + sum((depth < 1.0 - 0.9 * bound).astype(np.uint8) for bound in bounds)) * np.ones_like(depth, np.uint8)


def _sectors(axes, depth, structures, random):
    """Side by side, in no order that the place would tell: sectors of equal angles."""
    angle = np.arctan2(axes[0] * np.ones_like(depth), axes[1] * np.ones_like(depth)) / (2 * np.pi)
    turned = (angle + random.uniform()) % 1.0
    return (random.permutation(structures) + 1).astype(np.uint8)[np.floor(turned * structures).astype(int) % structures]


ARRANGEMENTS = {"nested": _nested, "sectors": _sectors}


def _images(form, scan, random, index):
    """The Scan as SimpleITK images: 4-D with several modalities, and the label."""
    channels = [_image(channel, form) for channel in scan.channels]
    label = _image(scan.mask, form)
    direction = make_direction(random, index).ravel().tolist()
    origin = random.uniform(-200, 200, size=3).round(2).tolist()
    for image in channels + [label]:
        image.SetOrigin(origin)
        image.SetDirection(direction)
    return channels[0] if len(channels) == 1 else sitk.JoinSeries(channels), label


def _image(array, form):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(form.spacing)
    return image


def _describe(form, training, test):
    return {
        "name": form.name,
        "description": form.description,
        "reference": form.reference,
        "licence": LICENCE,
        "release": form.release,
        "tensorImageSize": "3D" if len(form.modalities) == 1 else "4D",
        "modality": {str(number): name for number, name in enumerate(form.modalities)},
        "labels": {str(value): name for value, name in enumerate(form.labels)},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": "./imagesTr/" + name, "label": "./labelsTr/" + name} for name in training],
        "test": ["./imagesTs/" + name for name in test],
    }

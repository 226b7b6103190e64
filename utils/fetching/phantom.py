"""The phantom task: made-up scans in the form of a Medical Segmentation Decathlon task.

It has the character of the hippocampus task (small crops of an MRI scan around one elongated, curved body of two
touching structures, "Anterior" and "Posterior") and harder headers: voxels of unequal sides, oblique and left-handed
directions. Everything follows from one seed.

Shapes are laid out in normalised coordinates, -1 to 1 over the field of view along each array axis, so that a body
keeps its share of the field of view whatever the number and the size of the voxels.
"""

import itertools
import os
from typing import NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk

from utils.sampling.warping import rotation
from utils.system.errors import UserError
from utils.system.files import read_json, write_json_atomically
from utils.system.folders import folder_on_success

TASK_NAME = "Task00_Phantom"
LABELS = ("background", "Anterior", "Posterior")
TRAINING_CASES = 48
TEST_CASES = 6
MAXIMUM_SEED = 2**32 - 1

SHAPE_RANGE = ((31, 43), (40, 59), (24, 47))
SPACING_RANGE = (0.8, 1.3)

GREY, WHITE, FLUID = 0.55, 0.85, 0.2


class Phantom(NamedTuple):
    """One made-up scan with its truth.

    image: [X, Y, Z], np.uint8 or np.float32; mask: np.uint8 [X, Y, Z] of label values 0, 1 and 2;
    spacing: mm along the array axes; origin: mm, the centre of the first voxel; direction: nine numbers, row by row.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    spacing: Tuple[float, ...]
    origin: Tuple[float, ...]
    direction: Tuple[float, ...]


def make_phantom(seed, index):
    """Return the Phantom number `index` (from 0) of the task that `seed` makes.

    Any phantom can be made without the ones before it. This is the way to the truth of the task's test images, which
    the task itself does not hold: `imagesTs/phantom_050.nii.gz` of seed 0 shows `make_phantom(0, 50).mask`.
    """
    random = np.random.RandomState([seed, index])
    shape = tuple(random.randint(low, high + 1) for low, high in SHAPE_RANGE)
    spacing = tuple(round(value, 3) for value in random.uniform(*SPACING_RANGE, size=3))
    origin = tuple(round(value, 2) for value in random.uniform(-120.0, 120.0, size=3))
    direction = tuple(make_direction(random, index).ravel())
    depth, mask = _make_body(random, shape)
    signal = _make_tissue(random, depth, mask)
    image = _scan(random, signal, eight_bit=index % 3 == 0)
    return Phantom("phantom_{:03d}".format(index), image, mask, spacing, origin, direction)


def to_images(phantom):
    """Return (image, label) of a Phantom as SimpleITK images on the grid its header describes."""
    images = []
    for array in (phantom.image, phantom.mask):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing(phantom.spacing)
        image.SetOrigin(phantom.origin)
        image.SetDirection(phantom.direction)
        images.append(image)
    return tuple(images)


def write_task(data_dir, seed=0, training_cases=TRAINING_CASES, test_cases=TEST_CASES, progress=None):
    """Write the task that `seed` (0 to 2**32 - 1) makes to `data_dir`/Task00_Phantom and return that path.

    The folder appears by rename once it is complete. `progress`, if given, is called without arguments after each
    case. Raises OSError where the folder cannot be made or is there already and not empty, UserError where an image
    cannot be written.
    """
    directory = os.path.join(data_dir, TASK_NAME)
    with folder_on_success(directory) as unfinished:
        for folder in ("imagesTr", "labelsTr", "imagesTs"):
            os.mkdir(os.path.join(unfinished, folder))
        for index in range(training_cases + test_cases):
            _write_case(unfinished, make_phantom(seed, index), labelled=index < training_cases)
            if progress is not None:
                progress()
        write_json_atomically(os.path.join(unfinished, "dataset.json"), _describe(seed, training_cases, test_cases))
    return directory


def seed_of(directory):
    """Return the seed that the phantom task in `directory` was made from, or None where its dataset.json tells none."""
    content = read_json(os.path.join(directory, "dataset.json"))
    return content.get("seed") if isinstance(content, dict) else None


def _write_case(directory, phantom, labelled):
    image, label = to_images(phantom)
    file_name = phantom.name + ".nii.gz"
    _write_image(image, os.path.join(directory, "imagesTr" if labelled else "imagesTs", file_name))
    if labelled:
        _write_image(label, os.path.join(directory, "labelsTr", file_name))


def _write_image(image, path):
    try:
        sitk.WriteImage(image, path, True)
    except RuntimeError as error:
        raise UserError(
            "{}: cannot be written; make room on the disk or choose another --data_dir".format(path)
        ) from error


def _describe(seed, training_cases, test_cases):
    names = ["phantom_{:03d}.nii.gz".format(index) for index in range(training_cases + test_cases)]
    return {
        "name": "Phantom",
        "description": "Two touching made-up structures in mono-modal made-up MRI",
        "reference": "made by download_dataset.py --dataset phantom --seed {}".format(seed),
        "licence": "Apache-2.0",
        "seed": seed,
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {str(value): name for value, name in enumerate(LABELS)},
        "numTraining": training_cases,
        "numTest": test_cases,
        "training": [{"image": "./imagesTr/" + name, "label": "./labelsTr/" + name} for name in names[:training_cases]],
        "test": ["./imagesTs/" + name for name in names[training_cases:]],
    }


def make_direction(random, index):
    """Return a 3 x 3 direction: axes of the scanner for even indices, oblique for odd ones, either hand."""
    order = list(itertools.permutations(range(3)))[random.randint(6)]
    direction = np.eye(3)[list(order)] * random.choice([-1.0, 1.0], size=3)
    if (np.linalg.det(direction) < 0) != (index % 4 >= 2):
        direction[:, 0] *= -1.0
    if index % 2:
        direction = rotation(random.uniform(0.1, 0.5, size=3) * random.choice([-1.0, 1.0], size=3)).dot(direction)
    return direction


def coordinates(shape):
    """Return the normalised coordinates of the voxel centres, three arrays that broadcast to [X, Y, Z]."""
    return np.meshgrid(*[(np.arange(size) + 0.5) * 2.0 / size - 1.0 for size in shape], indexing="ij", sparse=True)


def _smooth_field(random, shape, waves):
    """Return a smooth random field [X, Y, Z] of mean 0 and variance 1 with up to `waves` half waves along each axis."""
    frequencies = np.arange(waves + 1)
    # Gentle roll-off, or the shortest waves would outnumber the long ones.
    roll_off = 1.0 / (1.0 + frequencies)
    field = random.normal(size=(waves + 1,) * 3)
    field *= roll_off[:, None, None] * roll_off[:, None] * roll_off
    for size in shape:
        cosines = np.cos(np.pi * np.outer((np.arange(size) + 0.5) / size, frequencies))
        # Contracts the first axis and appends the new one, so that three turns restore the order.
        field = np.tensordot(field, cosines, axes=(0, 1))
    return (field - field.mean()) / field.std()


def _make_body(random, shape):
    """Return (depth, mask): how far a voxel is from the body's axis in units of its radius, and the label values.

    depth: np.float64 [X, Y, Z], below 1 inside; mask: np.uint8 [X, Y, Z].
    """
    angles = np.radians([-24.0, 0.0, 0.0] + random.uniform(-9.0, 9.0, size=3))
    place = random.uniform(-0.07, 0.07, size=3)
    across, along, upward = np.tensordot(
        rotation(angles).T,
        np.stack(np.broadcast_arrays(*[axis - shift for axis, shift in zip(coordinates(shape), place)])),
        axes=1,
    )
    position = along / random.uniform(0.76, 0.86)
    cut = random.uniform(0.08, 0.16)
    # A body bends to one side or its mirror image's, as left and right ones do; the head is thicker than the tail.
    side = random.choice([-1.0, 1.0])
    bend = position**2 - 0.3
    across = across - side * random.uniform(0.18, 0.36) * bend
    upward = upward - random.uniform(0.0, 0.2) * bend
    thickness = 1.0 + random.uniform(0.14, 0.22) * np.tanh((position - cut) / 0.25)
    thickness *= 1.0 + 0.05 * _smooth_field(random, shape, waves=4)
    radius_across, radius_upward = random.uniform(0.31, 0.37), random.uniform(0.34, 0.41)
    depth = ((across / radius_across) ** 2 + (upward / radius_upward) ** 2) / thickness**2 + np.abs(position) ** 2.5
    tilt_across, tilt_upward = random.uniform(-0.15, 0.15, size=2)
    anterior = position - cut - tilt_across * across - tilt_upward * upward > 0.0
    mask = np.where(depth < 1.0, np.where(anterior, 1, 2), 0).astype(np.uint8)
    return np.sqrt(depth), mask


def _make_tissue(random, depth, mask):
    """Return the noiseless signal, np.float64 [X, Y, Z], about 0 to 1: the body among white, grey and fluid."""
    shape = mask.shape
    whiteness = 1.0 / (1.0 + np.exp(-5.0 * (_smooth_field(random, shape, waves=10) + 0.2)))
    tissue = GREY + (WHITE - GREY) * whiteness
    # Most of the body lies in white matter; folds of grey come near it and fluid touches it.
    rim = 0.85 * np.exp(-(((np.maximum(depth, 1.0) - 1.0) / 0.35) ** 2))
    tissue += (WHITE - tissue) * rim
    wetness = 1.0 / (1.0 + np.exp(-8.0 * (_smooth_field(random, shape, waves=8) - 1.1)))
    tissue += (FLUID - tissue) * wetness
    grey = GREY + random.uniform(-0.06, 0.06)
    difference = random.uniform(0.02, 0.06)
    body = np.where(mask == 1, grey + difference, grey - difference)
    # A voxel on the surface holds a share of both sides.
    share = np.clip(0.5 + (1.0 - depth) / 0.3, 0.0, 1.0)
    signal = tissue + (body - tissue) * share
    return signal + 0.02 * _smooth_field(random, shape, waves=9)


def _scan(random, signal, eight_bit):
    """Return `signal` as a scanner would: shaded, with Rician noise, on a scale of its own, in its pixel type."""
    shading = np.exp(random.uniform(0.05, 0.15) * _smooth_field(random, signal.shape, waves=2))
    noise = random.uniform(0.02, 0.05) * random.normal(size=(2,) + signal.shape)
    scanned = np.hypot(signal * shading + noise[0], noise[1])
    if eight_bit:
        return np.clip(np.rint(scanned * random.uniform(80.0, 160.0)), 0, 255).astype(np.uint8)
    return (scanned * 10.0 ** random.uniform(1.5, 5.5)).astype(np.float32)

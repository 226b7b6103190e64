"""The phantom stack: a made-up electron-microscopy stack in the form of the ISBI 2012 challenge.

Sections through tissue of closely packed cells: bright cells, dark membranes between them, and inside the cells
mitochondria, whose dark outlines are not to be taken for membranes. As in the challenge, masks are white (255) in the
cells, which are the foreground, and black (0) on the membranes. Everything follows from one seed.

Lengths are in pixels of a page; a page is as thick as SECTION of them.
"""

import os
from typing import NamedTuple

import numpy as np

from utils.imaging.stacks import ISBI_NAMES, write_masks, write_stack
from utils.sampling.intensities import blurred
from utils.sampling.warping import smooth_field
from utils.system.files import read_json, write_json_atomically
from utils.system.folders import folder_on_success

TASK_NAME = "Stack00_Phantom"
LABELS = ("membrane", "cell")

# Cells are about as wide as this, and as a page is thick in the stack of the challenge: 50 nm, at 4 nm a pixel.
CELL = 44.0
SECTION = 12.0
# Half of a membrane, and of the dark line that is seen of it.
MEMBRANE = 2.6
LINE = 1.6
# Of the cells, those that have a mitochondrion; how thick the outline of one is.
MITOCHONDRIA_SHARE = 0.6
OUTLINE = 2.0
# Standard deviation of the displacements that bend the tissue.
BEND = 4.0

CELL_GREY, MEMBRANE_GREY, MITOCHONDRION_GREY, OUTLINE_GREY = 0.72, 0.25, 0.5, 0.3

Size = NamedTuple("Size", [("side", int), ("training", int), ("test", int)])
Size.__doc__ = "Pixels along each side of a page, and the numbers of pages for training and for testing."
SIZES = {"small": Size(160, 12, 4), "large": Size(512, 30, 30)}


class Section(NamedTuple):
    """One page: its image, np.uint8 [X, Y], and its truth, np.uint8 [X, Y] of 0 (membrane) and 1 (cell)."""

    image: np.ndarray
    mask: np.ndarray


class Cells(NamedTuple):
    """The cells of a block of tissue, one in each row, with the mitochondrion that a cell may have."""

    middles: np.ndarray  # np.float64 [cells, 3], x, y and z
    shades: np.ndarray  # np.float64 [cells], brightness from 0 to 1
    mitochondria: np.ndarray  # np.float64 [cells, 3], their middles
    radii: np.ndarray  # np.float64 [cells], theirs; 0 where there is none


def make_stack(seed, size, part, progress=None):
    """Return the pages of the stack that `seed` makes of a Size: a list of Section.

    `part` is "training" or "test". This is the way to the truth of the test pages, which the task does not hold.
    `progress`, if given, is called without arguments after each page.
    """
    random = np.random.RandomState([seed, ("training", "test").index(part)])
    count = getattr(size, part)
    cells = _make_cells(random, size.side, count * SECTION)
    bends = [BEND * smooth_field((size.side, size.side, count), random) for _ in range(2)]
    pages = []
    for number in range(count):
        pages.append(_section(random, cells, [bend[..., number] for bend in bends], (number + 0.5) * SECTION))
        if progress is not None:
            progress()
    return pages


def write_task(data_dir, seed=0, size="small", progress=None):
    """Write the task that `seed` (0 to 2**32 - 1) makes to `data_dir`/Stack00_Phantom and return that path.

    It holds train-volume.tif, train-labels.tif and test-volume.tif, whose pages are 8 bits deep, and a dataset.json.
    The folder appears by rename once it is complete. `size` is one of SIZES; `progress` as for `make_stack`. Raises
    OSError where the folder cannot be made or is there already and not empty, UserError where a file cannot be written.
    """
    directory = os.path.join(data_dir, TASK_NAME)
    with folder_on_success(directory) as unfinished:
        training, test = (make_stack(seed, SIZES[size], part, progress) for part in ("training", "test"))
        volume, labels, test_volume = (os.path.join(unfinished, name + ".tif") for name in ISBI_NAMES)
        write_stack([page.image for page in training], volume)
        write_masks([page.mask for page in training], len(LABELS), labels)
        write_stack([page.image for page in test], test_volume)
        write_json_atomically(os.path.join(unfinished, "dataset.json"), _describe(seed, size))
    return directory


def made_from(directory):
    """Return the seed and the size's name that the phantom stack in `directory` was made from; None for what is not."""
    content = read_json(os.path.join(directory, "dataset.json"))
    return (content.get("seed"), content.get("size")) if isinstance(content, dict) else (None, None)


def _describe(seed, size):
    images, labels, test = ("./" + name + ".tif" for name in ISBI_NAMES)
    return {
        "name": "PhantomStack",
        "description": "Cells and the membranes between them in made-up electron microscopy",
        "reference": "made by download_dataset.py --dataset phantom_stack --size {} --seed {}".format(size, seed),
        "licence": "Apache-2.0",
        "seed": seed,
        "size": size,
        "tensorImageSize": "2D",
        "modality": {"0": "EM"},
        "labels": {str(value): name for value, name in enumerate(LABELS)},
        "numTraining": SIZES[size].training,
        "numTest": SIZES[size].test,
        "training": [{"image": images, "label": labels}],
        "test": [test],
    }


def _make_cells(random, side, thickness):
    """The Cells of a block of `side` by `side` by `thickness`."""
    around = 1.5 * CELL
    axes = [np.arange(-around, length + around, CELL) for length in (side, side, thickness)]
    # A lattice from which each has strayed.
    middles = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    middles = middles + random.uniform(-0.45 * CELL, 0.45 * CELL, size=middles.shape)
    count = len(middles)
    return Cells(
        middles,
        shades=CELL_GREY + random.uniform(-0.06, 0.06, size=count),
        mitochondria=middles + random.uniform(-0.22 * CELL, 0.22 * CELL, size=middles.shape),
        radii=random.uniform(4.0, 9.0, size=count) * (random.rand(count) < MITOCHONDRIA_SHARE),
    )


def _section(random, cells, bends, depth):
    """The page at a depth of the tissue, which is bent along x and y by so much at each pixel, two float32 [X, Y]."""
    shape = bends[0].shape
    places = [at + bend for at, bend in zip(np.meshgrid(*map(np.arange, shape), indexing="ij"), bends)]
    wall, owner = _walls(places, depth, cells.middles)
    # Membranes are not equally thick everywhere.
    half = MEMBRANE * (1.0 + 0.15 * smooth_field(shape + (1,), random)[..., 0])
    image = _make_cytoplasm(random, places, depth, cells, wall, owner)
    image += (MEMBRANE_GREY - image) * np.exp(-0.5 * (wall / (LINE * half / MEMBRANE)) ** 2)
    return Section(_exposed(random, image), (wall > half).astype(np.uint8))


def _walls(places, depth, middles):
    """How far each pixel is from the wall of its cell, and which cell that is: np.float64 and int [X, Y].

    A pixel is in the cell whose middle is nearest; the wall lies half-way to the next nearest one.
    """
    nearest, second = np.full((2,) + places[0].shape, np.inf)
    owner, other = np.zeros((2,) + places[0].shape, int)
    # Within reach of every pixel there are middles enough, since they have strayed from a lattice.
    reach = 2.5 * CELL
    for index in np.flatnonzero(np.abs(middles[:, 2] - depth) < reach):
        x, y, z = middles[index]
        box = tuple(slice(max(0, int(at - reach)), max(0, int(at + reach))) for at in (x, y))
        squared = (places[0][box] - x) ** 2 + (places[1][box] - y) ** 2 + (depth - z) ** 2
        closest, closer = squared < nearest[box], squared < second[box]
        second[box] = np.where(closest, nearest[box], np.where(closer, squared, second[box]))
        other[box] = np.where(closest, owner[box], np.where(closer, index, other[box]))
        nearest[box] = np.where(closest, squared, nearest[box])
        owner[box] = np.where(closest, index, owner[box])
    between = np.linalg.norm(middles[owner] - middles[other], axis=-1)
    return (second - nearest) / (2.0 * between), owner


def _make_cytoplasm(random, places, depth, cells, wall, owner):
    """The brightness of the cells and their mitochondria, from 0 to 1, without membranes: np.float64 [X, Y]."""
    image = cells.shades[owner] + 0.03 * smooth_field(wall.shape + (1,), random)[..., 0]
    middle = cells.mitochondria[owner]
    # Twice as long through the pages as across.
    offsets = (places[0] - middle[..., 0], places[1] - middle[..., 1], (depth - middle[..., 2]) / 2.0)
    below_surface = cells.radii[owner] - np.sqrt(sum(offset**2 for offset in offsets))
    # Well inside its cell, or there would be no telling its outline from a membrane.
    inside = (below_surface > 0.0) & (wall > 2.0 * MEMBRANE)
    image[inside] = MITOCHONDRION_GREY
    image[inside & (below_surface < OUTLINE)] = OUTLINE_GREY
    return image


def _exposed(random, image):
    """A page as the microscope shows it: blurred, with noise and a brightness of its own, np.uint8 [X, Y]."""
    image = blurred(image[..., np.newaxis].astype(np.float32), 0.9)[..., 0]
    image = image * random.uniform(0.9, 1.1) + random.uniform(-0.04, 0.04)
    noise = 0.07 * random.standard_normal(image.shape) + 0.05 * _grain(random, image.shape)
    return np.clip(np.rint(255.0 * (image + noise)), 0, 255).astype(np.uint8)


def _grain(random, shape):
    """Noise of which neighbours have much in common, with standard deviation 1: float64 [X, Y]."""
    grain = blurred(random.standard_normal(shape + (1,)).astype(np.float32), 1.0)[..., 0].astype(np.float64)
    return grain / grain.std()

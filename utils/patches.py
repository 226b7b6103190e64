"""Patches of cases to train on: where they lie, and how they are cut and changed without a look at the rest.

Dimensions: X, Y, Z voxels along the image's axes; C channels. A patch is told by where its first voxel lies,
(x, y, z), as are the windows of ``utils.sliding_window``.
"""

from typing import NamedTuple, Tuple

import numpy as np

from utils.augmentation import augmented
from utils.sliding_window import inside
from utils.warping import backwards, moves

# Of random displacements, in standard deviations: what comes from further away is taken to be what is there.
ELASTIC_REACH = 3.0


class Spot(NamedTuple):
    """Where in a case a patch lies, whatever the case is: numbers from 0 to below 1."""

    on_structure: bool  # centred on a voxel of a structure, where the case has any; else anywhere
    structure: float  # which of the case's structures, each as likely as any other
    voxel: float  # which of its voxels
    place: Tuple[float, float, float]  # along x, y and z, of a patch that may lie anywhere


def spots(count, share, random):
    """A list of ``count`` Spots, of which each run of n has n times ``share`` on structures, up to less than one more.

    Args:
        count: patches.
        share: of the patches that are centred on a structure.
        random: np.random.RandomState, from which the same numbers are taken whatever the share.
    """
    # Where in the row the first of them is, is drawn: of few patches the share holds on the average.
    reached = np.floor(np.arange(count + 1) * share + random.rand())
    values = random.rand(count, 5).tolist()
    return [Spot(bool(on), *row[:2], place=tuple(row[2:])) for on, row in zip(np.diff(reached) > 0, values)]


def corner(spot, shape, patch, positions):
    """Where the patch of a Spot begins in a case of ``shape``: whole numbers (x, y, z).

    It lies within the case, but along axes on which the case is smaller: there the case is in its middle.

    Args:
        spot: a ``Spot``.
        shape: X, Y, Z of the case.
        patch: X, Y, Z of the patch.
        positions: those of ``utils.foreground``, int32 [N, 4].
    """
    room = np.subtract(shape, patch)
    first = np.floor(np.multiply(spot.place, np.maximum(room, 0) + 1)).astype(int)
    if spot.on_structure and len(positions):
        structures = positions[:, 0]
        values = np.unique(structures)
        value = values[int(spot.structure * len(values))]
        begin, end = (np.searchsorted(structures, value, side) for side in ("left", "right"))
        centre = positions[begin + int(spot.voxel * (end - begin)), 1:]
        first = np.clip(centre - np.array(patch) // 2, 0, np.maximum(room, 0))
    return tuple(np.where(room < 0, -(-room // 2), first).tolist())


def changed_patch(image, label, window, patch, filling, draw):
    """A patch of a case after the changes of a ``utils.augmentation.Draw``: image float32 [x, y, z, C], label uint8.

    Only as much is read and changed as the patch takes. Around the case, rotations and the like find its outermost
    voxels; where the case is smaller than the patch, it is filled up first.

    Args:
        image: float32 [X, Y, Z, C].
        label: uint8 [X, Y, Z].
        window: where the patch begins.
        patch: its voxels along x, y and z.
        filling: float32 [C], the values around a case that is smaller than the patch; its label is 0 there.
        draw: a ``Draw``, whose crop does not matter.
    """
    around = margin(draw, patch)
    first = [start - more for start, more in zip(window, around)]
    region = [length + 2 * more for length, more in zip(patch, around)]
    image, label = (surrounded(array, first, region, patch, value) for array, value in ((image, filling), (label, 0)))
    return augmented(image, label, draw._replace(crop=tuple(patch), place=(0.5, 0.5, 0.5)))


def margin(draw, patch):
    """How many voxels around a patch a Draw may bring into it, along x, y and z."""
    if not moves(draw):
        return (0, 0, 0)
    half = (np.array(patch) - 1) / 2.0
    reach = np.abs(backwards(draw)).dot(half + np.abs(draw.shift)) + ELASTIC_REACH * draw.elastic
    return tuple(int(more) for more in np.maximum(0, np.ceil(reach - half)))


def surrounded(array, first, region, patch, filling):
    """A region of an array [X, Y, Z, ...] that may reach beyond it: a new array.

    Args:
        array: the case, of which only what is in the region is read.
        first: where the region begins, (x, y, z).
        region: its voxels along x, y and z.
        patch: up to this size the case is filled up, on both sides alike; beyond, its outermost voxels are repeated.
        filling: with what.
    """
    own, part = inside(first, region, array.shape)
    found = np.array(array[part])
    if found.shape[:3] == tuple(region):
        return found
    missing = [(some.start, size - some.stop) for some, size in zip(own, region)]
    filled = [
        [min(more, room) for more, room in zip(sides, _room(size, length))]
        for sides, size, length in zip(missing, array.shape, patch)
    ]
    repeated = [[more - less for more, less in zip(*sides)] for sides in zip(missing, filled)]
    larger = np.empty(
        [size + sum(sides) for size, sides in zip(found.shape, filled)] + list(found.shape[3:]), array.dtype
    )
    larger[...] = filling
    larger[tuple(slice(low, low + size) for (low, _), size in zip(filled, found.shape))] = found
    return np.pad(larger, repeated + [(0, 0)] * (larger.ndim - 3), "edge")


def _room(size, length):
    """Voxels before and after a case, where it lies in the middle of a longer patch."""
    before = max(0, length - size) // 2
    return before, max(0, length - size) - before

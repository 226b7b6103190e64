"""Patches of cases to train on: where they lie, and how they are cut and changed without a look at the rest.

Dimensions: X, Y, Z voxels along the image's axes; C channels. A patch is told by where its first voxel lies,
(x, y, z), as are the windows of ``utils.sampling.sliding_window``. A case that is smaller than a window of prediction
is filled up to it on both sides alike, for training too, where a patch may be smaller than a window.
"""

from typing import NamedTuple, Tuple

import numpy as np

from utils.sampling.augmentation import augmented
from utils.sampling.sliding_window import inside
from utils.sampling.warping import backwards, moves

# Of random displacements, in standard deviations: what comes from further away is taken to be what is there.
ELASTIC_REACH = 3.0


class Place(NamedTuple):
    """Where a patch lies in a case."""

    first: Tuple[int, int, int]  # where it begins
    patch: Tuple[int, int, int]  # its voxels along x, y and z
    window: Tuple[int, int, int]  # those of a window of prediction, no fewer


def on_structures(count, share, random):
    """Which of so many patches in a row are centred on a structure: bool [count].

    Each run of n has n times ``share`` of them, up to less than one more or less. ``random``: np.random.RandomState.
    """
    # Where in the row the first of them is, is drawn: of few patches the share holds on the average.
    return np.diff(np.floor(np.arange(count + 1) * share + random.rand())) > 0


def corner(shape, patch, window, positions, random):
    """Where a patch begins in a case of ``shape``: whole numbers (x, y, z).

    It is centred on a voxel of a structure, as far as it lies within the case as it is filled up: each structure of the
    case is as likely as any other, each of its voxels too. Without positions it lies anywhere.

    Args:
        shape: X, Y, Z of the case.
        patch: X, Y, Z of the patch.
        window: X, Y, Z of a window of prediction, no smaller than the patch.
        positions: those of ``utils.preprocessing.foreground``, int32 [N, 4], or none.
        random: np.random.RandomState.
    """
    if len(positions):
        value = random.choice(np.unique(positions[:, 0]))
        begin, end = (np.searchsorted(positions[:, 0], value, side) for side in ("left", "right"))
        return centred(positions[random.randint(begin, end), 1:], shape, patch, window)
    return tuple(random.randint(low, high + 1) for low, high in _places(shape, patch, window))


def centred(voxel, shape, patch, window):
    """Where a patch about a voxel begins, as near as it can within a filled-up case of ``shape``: (x, y, z)."""
    wanted = np.asarray(voxel) - np.array(patch) // 2
    return tuple(int(np.clip(first, *places)) for first, places in zip(wanted, _places(shape, patch, window)))


def _places(shape, patch, window):
    """The lowest and the highest place at which a patch may begin, along each axis."""
    return [_places_along(*sizes) for sizes in zip(shape, patch, window)]


def _places_along(size, patch, window):
    low = -_room(size, window)[0]
    high = low + max(size, window) - patch
    # Of a case that is much smaller than the window, the patch has at least its own middle.
    return tuple(int(np.clip(first, low, high)) for first in (-(patch // 2), size - 1 - patch // 2))


def middle(shape, positions):
    """The voxel of a structure that is nearest to the mean of all, or a case's own middle: (x, y, z)."""
    if not len(positions):
        return tuple(size // 2 for size in shape)
    voxels = positions[:, 1:].astype(np.float64)
    return tuple(positions[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin(), 1:].tolist())


def changed_patch(image, label, place, filling, draw, beside=()):
    """A patch of a case after the changes of a ``utils.sampling.augmentation.Draw``: image float32 [x, y, z, C], label
    uint8.

    Only as much is read and changed as the patch takes. Around the case, rotations and the like find its outermost
    voxels; where the case is smaller than the window, it is filled up first.

    Args:
        image: float32 [X, Y, Z, C].
        label: uint8 [X, Y, Z].
        place: a ``Place``.
        filling: float32 [C], the values around a case that is smaller than the window; its label is 0 there.
        draw: a ``Draw``, whose crop does not matter.
        beside: arrays float32 [X, Y, Z] that move as the image does, as channels at its end; 0 around the case.
    """
    around = margin(draw, place.patch)
    first = [start - voxels for start, voxels in zip(place.first, around)]
    region = [length + 2 * voxels for length, voxels in zip(place.patch, around)]
    image = surrounded(image, first, region, place.window, filling)
    channels = [surrounded(array, first, region, place.window, 0)[..., np.newaxis] for array in beside]
    image = np.concatenate([image] + channels, axis=-1) if channels else image
    label = surrounded(label, first, region, place.window, 0)
    return augmented(image, label, draw._replace(crop=tuple(place.patch), place=(0.5, 0.5, 0.5)))


def margin(draw, patch):
    """How many voxels around a patch a Draw may bring into it, along x, y and z."""
    if not moves(draw):
        return (0, 0, 0)
    half = (np.array(patch) - 1) / 2.0
    reach = np.abs(backwards(draw)).dot(half + np.abs(draw.shift)) + ELASTIC_REACH * draw.elastic
    return tuple(int(more) for more in np.maximum(0, np.ceil(reach - half)))


def surrounded(array, first, region, window, filling):
    """A region of an array [X, Y, Z, ...] that may reach beyond it: a new array.

    Args:
        array: the case, of which only what is in the region is read.
        first: where the region begins, (x, y, z).
        region: its voxels along x, y and z.
        window: up to this size the case is filled up, on both sides alike; beyond, its outermost voxels are repeated.
        filling: with what.
    """
    own, part = inside(first, region, array.shape)
    found = np.array(array[part])
    if found.shape[:3] == tuple(region):
        return found
    missing = [(some.start, size - some.stop) for some, size in zip(own, region)]
    filled = [
        [min(more, room) for more, room in zip(sides, _room(size, length))]
        for sides, size, length in zip(missing, array.shape, window)
    ]
    repeated = [[more - less for more, less in zip(*sides)] for sides in zip(missing, filled)]
    larger = np.empty(
        [size + sum(sides) for size, sides in zip(found.shape, filled)] + list(found.shape[3:]), array.dtype
    )
    larger[...] = filling
    larger[tuple(slice(low, low + size) for (low, _), size in zip(filled, found.shape))] = found
    return np.pad(larger, repeated + [(0, 0)] * (larger.ndim - 3), "edge")


def _room(size, length):
    """Voxels before and after a case, where it lies in the middle of a longer window."""
    before = max(0, length - size) // 2
    return before, max(0, length - size) - before

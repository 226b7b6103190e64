"""Random changes of training cases: how strong they may be, which of them a case gets, and the case after them.

What is drawn follows from the strengths and the random numbers alone, and each change has random numbers of its own:
another strength of one change leaves the others as they were.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from utils.config.network_flags import UNET
from utils.sampling.intensities import changed
from utils.sampling.warping import WHOLE, warped

# Of the cases, for each change of the intensities.
INTENSITY_SHARE = 0.25


class Augmentation(NamedTuple):
    """How strong the changes of training cases may be; the default is none at all."""

    flips: Tuple[bool, bool, bool] = (False,) * 3  # mirror along x, y and z, each with probability one half
    rotation: float = 0.0  # largest angle about each of `turned_about`, in degrees
    scaling: float = 0.0  # largest relative change of size: factors from 1 / (1 + scaling) to 1 + scaling
    shift: float = 0.0  # largest shift along each axis, in voxels
    elastic: float = 0.0  # standard deviation of a smooth random displacement along each axis, in voxels
    noise: float = 0.0  # largest standard deviation of Gaussian noise; images have a standard deviation of 1
    blur: float = 0.0  # largest standard deviation of Gaussian blur, in voxels
    brightness: float = 0.0  # largest relative change of contrast, and largest change of the mean
    gamma: float = 0.0  # largest relative change of the exponent that intensities are raised to
    share: float = 0.8  # probability of the spatial change: rotation, scaling, shift and displacement together
    channels: int = 1  # channels of an image, whose intensities are changed by different amounts
    spacing: Tuple[float, float, float] = (1.0,) * 3  # voxel size, of which the proportions count
    crop: Optional[Tuple[int, int, int]] = None  # voxels of the part of a case that is kept; None for all
    turned_about: Tuple[bool, bool, bool] = (True,) * 3  # x, y and z: a slice is turned about the axis across it
    knots: int = 0  # along each axis, of the grid of independent displacements; 0 for one every KNOT_SPACING voxels


class Intensity(NamedTuple):
    """A change of one channel's intensities; the default changes nothing."""

    noise: float = 0.0  # standard deviation
    blur: float = 0.0  # standard deviation in voxels
    contrast: float = 1.0  # factor of the distance from the mean
    brightness: float = 0.0  # what is added
    gamma: float = 1.0  # exponent


class Draw(NamedTuple):
    """The changes of one case; the default changes nothing."""

    flips: Tuple[bool, bool, bool] = (False,) * 3  # along x, y and z
    angles: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # about x, then y, then z, in degrees
    scale: float = 1.0  # factor of size
    shift: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # in voxels
    elastic: float = 0.0  # standard deviation of the displacement, in voxels
    intensities: Tuple[Intensity, ...] = ()  # of each channel; none where there is nothing to change
    seed: int = 0  # what the displacement and the noise follow from
    spacing: Tuple[float, float, float] = (1.0,) * 3  # voxel size: angles are angles where its proportions hold
    crop: Optional[Tuple[int, int, int]] = None  # voxels of the part that is kept; None for all
    place: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # of that part: 0 the lowest along an axis, 1 the highest
    knots: int = 0  # of the grid of independent displacements, as above


UNCHANGED = Draw()


def strengths(params):
    """The ``Augmentation`` that the validated params dict of ``utils.params`` asks for.

    Images that were resized have voxels of many sizes: they are turned as if theirs were cubes.
    """
    flips = tuple(params["augment"] and axis in params["flip_axes"] for axis in "xyz")
    named = "rotation scaling shift elastic noise blur brightness gamma share".split()
    chosen = {name: params["augment_" + name] for name in named}
    chosen["knots"] = params["augment_elastic_knots"]
    if params["model"] == UNET:
        chosen["turned_about"] = tuple(axis == params["slice_axis"] for axis in "xyz")
    spacing = tuple(params["spacing"] or Augmentation().spacing)
    crop = params["crop_shape"] and tuple(params["crop_shape"])
    return Augmentation(flips=flips, channels=len(params["modalities"]), spacing=spacing, crop=crop, **chosen)


def draws(strength, count, random):
    """A list of ``count`` ``Draw``, one for each case.

    Args:
        strength: an ``Augmentation``.
        count: cases.
        random: np.random.RandomState, from which the same numbers are taken whatever the strengths.
    """
    # Flips along x and y first: those of earlier releases, whatever is drawn after them.
    flips = np.concatenate([random.rand(count, 2), random.rand(count, 1)], axis=1) < 0.5
    flips = (flips & strength.flips).tolist()
    seeds = random.randint(2**31 - 1, size=count).tolist()
    spatial = random.rand(count) < strength.share
    intensity = random.rand(count, 4) < INTENSITY_SHARE
    places = random.uniform(-1, 1, (count, 7)).tolist()
    values = random.uniform(0, 1, (count, strength.channels, 5)).tolist()
    parts = random.uniform(0, 1, (count, 3)).tolist()
    found = []
    for case in range(count):
        draw = Draw(flips=tuple(flips[case]), seed=seeds[case], spacing=strength.spacing, crop=strength.crop)
        if strength.crop:
            draw = draw._replace(place=tuple(parts[case]))
        if spatial[case]:
            draw = draw._replace(**_spatial(strength, places[case]))
        changes = tuple(_intensity(strength, intensity[case], channel) for channel in values[case])
        if any(change != Intensity() for change in changes):
            draw = draw._replace(intensities=changes)
        found.append(draw)
    return found


def _spatial(strength, places):
    """The fields of a Draw that change a case's shape; ``places``: seven numbers from -1 to 1."""
    return {
        "angles": tuple(strength.rotation * turned * place for turned, place in zip(strength.turned_about, places)),
        "scale": _factor(strength.scaling, places[3]),
        "shift": tuple(strength.shift * place for place in places[4:]),
        "elastic": strength.elastic,
        "knots": strength.knots,
    }


def _intensity(strength, made, values):
    """An Intensity; ``made``: whether noise, blur, brightness and gamma are changed; ``values``: five from 0 to 1."""
    noise, blur, brightness, gamma = made
    return Intensity(
        noise=strength.noise * values[0] * bool(noise),
        blur=strength.blur * values[1] * bool(blur),
        contrast=_factor(strength.brightness * bool(brightness), 2 * values[2] - 1),
        brightness=strength.brightness * (2 * values[3] - 1) * bool(brightness),
        gamma=_factor(strength.gamma * bool(gamma), 2 * values[4] - 1),
    )


def _factor(strength, place):
    """A factor from 1 / (1 + strength) to 1 + strength, where ``place`` is from -1 to 1."""
    return (1 + strength) ** place


def augmented(image, label, draw):
    """A case after the changes of a ``Draw``, which alone decides them.

    Args:
        image: float32 [X, Y, Z, C]. Of more channels than the draw has intensities for, the last ones keep theirs.
        label: uint8 [X, Y, Z].
        draw: a ``Draw``.

    Returns:
        image and label of the same dtypes, and shapes but for the crop; views of the given ones where they are mirrored
        or cropped at most.
    """
    image, label = flipped(image, draw.flips), flipped(label, draw.flips)
    image, label = warped(image, label, draw, kept_part(label.shape, draw))
    if draw.intensities:
        channels = np.moveaxis(image, -1, 0)
        made = [changed(channels[c], intensity, [draw.seed, c]) for c, intensity in enumerate(draw.intensities)]
        image = np.stack(made + list(channels[len(made) :]), axis=-1)
    return image, label


def kept_part(shape, draw):
    """The part of a case of ``shape`` (X, Y, Z) that a ``Draw`` keeps: three slices."""
    if draw.crop is None:
        return WHOLE
    # Every place along an axis is as likely as any other.
    rooms = [size - part for size, part in zip(shape, draw.crop)]
    first = [min(int(place * (room + 1)), room) for place, room in zip(draw.place, rooms)]
    return tuple(slice(low, low + part) for low, part in zip(first, draw.crop))


def flipped(array, flips):
    """A view of [X, Y, Z, ...] mirrored along x, y and z where ``flips`` (three booleans) says so."""
    return array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

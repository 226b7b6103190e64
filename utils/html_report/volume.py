"""A case's scan, mask and truth as text for the page: small enough for many cases in one file.

Axes are those of the patient: x grows to the left, y to the back, z to the head (LPS), as nearly as the scan's own
axes allow.
"""

import base64
import io
import json
from typing import NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk
from PIL import Image

from utils.visualization.planes import grey_window, middle_of

# Fewer than 1 << 24, the longest run of labels that can be told.
MOST_VOXELS = 3000000
FEWEST_VOXELS = 20000
LONGEST_SIDE = 1024
# Where the room is scarce, more voxels show more than finer shades.
JPEG_QUALITY, JPEG_QUALITY_SHRUNK = 90, 80
# JPEG works on squares of this side; slices that end within one would bleed into each other.
JPEG_SQUARE = 8


def encode(image, mask, truth, room, pages=False):
    """Returns a case as a dict for JSON, on a grid coarse enough for it to take up to ``room`` bytes.

    Args:
        image: 3-D SimpleITK image, float.
        mask, truth: SimpleITK uint8 images on its grid; ``truth`` is None where it is not known.
        room: bytes.
        pages: whether the slices are images of their own, of which each is to be seen.

    Keys: "shape" and "spacing" (mm) of the grid shown, [x, y, z]; "shrunk": how many of the scan's voxels one of
    them stands for along each axis; "tilt": degrees between the grid and the patient's axes; "middle": the voxel at
    which slices show most; "image": JPEG of all axial slices, base64, "columns" to a row, each padded to "tile"
    pixels; "mask" and "truth" (or None): ``runs`` of the labels with x running fastest.
    """
    # Headers may differ a little, and yet enough for two grids to be turned in two ways: the image's decides.
    view = _view_of(image.GetDirection())
    # No copies, which large scans have no room for; the images outlive them.
    grey, *labels = [view.turned(part) for part in (image, mask, truth) if part is not None]
    spacing = [image.GetSpacing()[axis] for axis in view.axes]
    steps = spacing[:2] + [np.inf] if pages else spacing
    voxels = MOST_VOXELS
    while True:
        factors = shrink_factors(grey.shape[::-1], steps, voxels)
        content = _encode(grey, labels, factors, spacing, view.tilt)
        taken, shown = len(json.dumps(content)), int(np.prod(content["shape"]))
        if taken <= room or shown <= FEWEST_VOXELS:
            return content
        voxels = int(max(min(voxels, shown) * 0.9 * room / taken, FEWEST_VOXELS))


class _View(NamedTuple):
    """Which axis of a scan each of the patient's follows, whether against it, and the degrees that are between them."""

    axes: Tuple[int, ...]
    against: Tuple[bool, ...]
    tilt: int

    def turned(self, image):
        """The voxels of a scan along the patient's axes, [Z, Y, X], as a view of the image."""
        voxels = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0).transpose(self.axes)
        return voxels[tuple(slice(None, None, -1 if against else 1) for against in self.against)].transpose(2, 1, 0)


def _view_of(direction):
    voxel = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    voxel.SetDirection(direction)
    own, turned = (np.array(one.GetDirection()).reshape(3, 3) for one in (voxel, sitk.DICOMOrient(voxel, "LPS")))
    shares = np.linalg.inv(own).dot(turned)
    axes = np.abs(shares).argmax(axis=0)
    tilt = np.degrees(np.arccos(min(1.0, np.abs(np.diag(turned)).min())))
    return _View(tuple(axes.tolist()), tuple((shares[axes, range(3)] < 0).tolist()), int(round(tilt)))


def shrink_factors(shape, spacing, voxels):
    """Returns by how much to shrink each axis for at most ``voxels`` voxels, the finest axis first."""
    factors = [1, 1, 1]
    while True:
        shown = [size // factor for size, factor in zip(shape, factors)]
        too_long = [side > LONGEST_SIDE for side in shown]
        if np.prod(shown, dtype=np.float64) <= voxels and not any(too_long):
            return factors
        steps = [
            step * factor if (long or not any(too_long)) and side > 1 else np.inf
            for step, factor, side, long in zip(spacing, factors, shown, too_long)
        ]
        if not np.isfinite(steps).any():
            return factors
        factors[int(np.argmin(steps))] += 1


def _encode(grey, labels, factors, spacing, tilt):
    grey = shrunk(grey, factors)
    labels = [_picked(label, factors, grey.shape) for label in labels]
    marked = np.logical_or.reduce([label > 0 for label in labels])
    sheet, columns, tile = _sheet(_grey(grey))
    return {
        "shape": list(grey.shape[::-1]),
        "spacing": [round(step * factor, 4) for step, factor in zip(spacing, factors)],
        "shrunk": factors,
        "tilt": tilt,
        "middle": list(middle_of(grey.shape, marked)[::-1]),
        "columns": columns,
        "tile": tile,
        "image": _jpeg(sheet, JPEG_QUALITY_SHRUNK if max(factors) > 1 else JPEG_QUALITY),
        "mask": runs(labels[0]),
        "truth": runs(labels[1]) if len(labels) > 1 else None,
    }


def shrunk(voxels, factors):
    """The mean of each block of [Z, Y, X], float32; ``factors`` are its sides along x, y and z."""
    if max(factors) == 1:
        return voxels
    sides = factors[::-1]
    shape = [size // side for size, side in zip(voxels.shape, sides)]
    means = np.empty(shape, np.float32)
    for number in range(shape[0]):
        blocks = voxels[sides[0] * number : sides[0] * (number + 1), : sides[1] * shape[1], : sides[2] * shape[2]]
        blocks = blocks.reshape(sides[0], shape[1], sides[1], shape[2], sides[2])
        means[number] = blocks.mean(axis=(0, 2, 4), dtype=np.float64)
    return means


def _picked(labels, factors, shape):
    """Of each block of [Z, Y, X] the label in its middle."""
    places = [slice(factor // 2, factor * size, factor) for factor, size in zip(factors[::-1], shape)]
    return labels[tuple(places)].astype(np.uint8)


def _grey(values):
    low, high = grey_window(values)
    return np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0, 255).astype(np.uint8)


def _sheet(grey):
    """The slices of uint8 [Z, Y, X] side by side: (uint8 [rows, columns], slices to a row, [width, height] of one)."""
    padding = [(0, 0)] + [(0, -size % JPEG_SQUARE) for size in grey.shape[1:]]
    grey = np.pad(grey, padding, mode="edge")
    depth, height, width = grey.shape
    columns = int(np.clip(round(np.sqrt(depth * height / float(width))), 1, depth))
    rows = -(-depth // columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:depth] = grey
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    return sheet, columns, [width, height]


def _jpeg(sheet, quality):
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode("ascii")


def runs(labels):
    """Returns the runs of equal labels in C order: base64 of little-endian uint32, label << 24 | length."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1]).astype(np.int64)
    lengths = np.diff(np.append(starts, flat.size))
    return base64.b64encode((flat[starts].astype("<u4") << 24 | lengths.astype("<u4")).tobytes()).decode("ascii")

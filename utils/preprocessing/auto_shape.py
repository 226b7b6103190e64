"""The network's grid where the flags leave its choice to the task: ``auto`` shapes, no ``--spacing``."""

import numpy as np

from utils.config import network_rules
from utils.config.flag import shown
from utils.config.flag_values import SPACINGS
from utils.imaging.case_files import read_grid
from utils.preprocessing import shape_choice
from utils.system import memory
from utils.system.errors import UserError, unusable

# Two float32 activations of 16 channels at full resolution alone are 2 GB of these, in training.
MOST_VOXELS = 2**24
# Of a patch that is chosen here: as 64 x 64 x 64, of which a processor trains on two in a second or two.
PATCH_VOXELS = 2**18


def choose(params, cases):
    """The settings that complete ``params`` for a task, which are among its flags.

    A dict of "input_shape" ([X, Y, Z] voxels, 1 across slices), "crop_shape" (the same, or None) and "spacing"
    ([X, Y, Z] mm, or None).
    The spacing is the median of the images. To be padded, images get the room that at least three in four of them need
    along each axis; to be resized, the nearest to the size of the median image; both in multiples of what the network
    divides by. Patches have the size of the median image, or less along its longest sides in mm.

    Raises:
        UserError: an image cannot be read, the chosen size is far beyond what can be trained on, or the parts to train
            on are larger than the whole.
    """
    shape, spacing = _input(params, cases)
    return {"input_shape": shape, "crop_shape": _crop(params, shape), "spacing": spacing}


def _crop(params, shape):
    crop, step = params["crop_shape"], _step(params)
    if crop == "auto":
        return _flat(params, [-(-size * 3 // (4 * step)) * step for size in shape])
    if crop is not None and any(part > size for part, size in zip(crop, shape)):
        raise UserError(
            "--crop_shape {}: is larger than --input_shape {}: use a smaller one".format(shown(crop), shown(shape))
        )
    return crop


def _input(params, cases):
    """The shape and the spacing."""
    shape, spacing = params["input_shape"], params["spacing"]
    if shape != "auto" and (params["fit"] == "resize" or spacing is not None):
        return shape, spacing
    sizes, spacings = _grids(cases)
    if params["fit"] == "pad" and spacing is None:
        spacing = np.maximum(np.median(spacings, axis=0).round(6), SPACINGS[0]).tolist()
    if shape == "auto":
        if params["sampling"] == network_rules.PATCH:
            return _patch(np.median(np.round(sizes * spacings / spacing), axis=0), spacing, _step(params)), spacing
        shape = _flat(params, _shape(sizes * spacings, spacing, np.median(spacings, axis=0), _step(params)))
        _refuse_too_large(shape, spacing)
    return shape, spacing


def _step(params):
    # U-Net takes any size, and least time for those that it need not frame.
    return 2 ** params["levels"] if network_rules.slice_axis(params) is not None else network_rules.step(params)


def _flat(params, shape):
    """The shape, with one voxel across the slices where the network sees slices."""
    axis = network_rules.slice_axis(params)
    return [1 if number == axis else size for number, size in enumerate(shape)]


def _shape(extents, spacing, median_spacing, step):
    """Whole multiples of ``step`` voxels for images of these extents (mm) [N, 3]."""
    if spacing is not None:
        return shape_choice.multiples(
            np.percentile(np.round(extents / spacing), shape_choice.PERCENT_WITH_ROOM, axis=0), step
        )
    steps = np.floor(np.median(extents, axis=0) / median_spacing / step + 0.5)
    return [int(count) * step for count in np.maximum(1, steps)]


def _patch(size, spacing, step):
    """Whole multiples of ``step`` voxels, no more than PATCH_VOXELS together where that can be, for a median image."""
    return shape_choice.cut(
        shape_choice.multiples(size, step), spacing, lambda shape: memory.voxels(shape) <= PATCH_VOXELS, step
    )


def _refuse_too_large(shape, spacing):
    if memory.voxels(shape) > MOST_VOXELS:
        raise UserError(
            "--input_shape auto: the images of this task need {} voxels, too many to train on at once: give "
            "--input_shape{}".format(" ".join(map(str, shape)), "" if spacing is None else " or a larger --spacing")
        )


def _grids(cases):
    """Voxels [N, 3] and spacings (mm) [N, 3] of the images, of which only the headers are read."""
    found, errors = [], []
    for case in cases:
        try:
            found.append(read_grid(case)[:2])
        except UserError as error:
            errors.append(error)
    if errors:
        raise unusable(errors, len(cases))
    return (np.array(values, float) for values in zip(*found))

"""What the flags of the networks must agree in, before any task is read."""

from model.mirroring import input_size
from model.vnet_filters import BASE_FILTERS
from utils.config.flag import shown
from utils.config.modes import PLAN
from utils.config.network_flags import OWN_FLAGS, UNET
from utils.system.errors import UserError

SHAPES = ("input_shape", "crop_shape")
PATCH = "patch"
PATCH_FLAGS = ("foreground_share", "patches_per_case", "patch_overlap")


def in_three_axes(given, settings):
    """The given flags with U-Net's shapes of two numbers as those of three axes, with one voxel across the slices.

    ``settings`` say which network it is, and across which axis, where the flags don't.
    """
    chosen = dict({name: settings[name] for name in ("model", "slice_axis")}, **given)
    if chosen["model"] != UNET:
        return given
    axis = "xyz".index(chosen["slice_axis"])
    two = {name: given[name] for name in SHAPES if isinstance(given.get(name), list) and len(given[name]) == 2}
    return dict(given, **{name: shape[:axis] + [1] + shape[axis:] for name, shape in two.items()})


def check(params, given):
    """Raises UserError where the params, or the flags that are given, contradict each other."""
    for model, names in OWN_FLAGS.items():
        for name in names:
            if name in given and params["model"] != model:
                raise UserError("--{}: belongs to --model {}: add that or leave this out".format(name, model))
    _check_sampling(params, given)
    if params["spacing"] is not None and params["fit"] != "pad":
        raise UserError("--spacing: belongs to --fit pad or --sampling patch: add one or leave this out")
    if params["model"] == UNET:
        _check_unet(params, given)
    else:
        _check_volumes(params)
        if not _is_left_to_a_plan(params, given):
            _check_vnet(params)


def for_patches(params):
    """What the params of ``--sampling patch`` have instead of what a recipe says of whole images: a dict."""
    return {"fit": "pad"} if params["sampling"] == PATCH else {}


def _is_left_to_a_plan(params, given):
    """Whether a plan is going to choose how often V-Net halves an image, and checks what it has chosen."""
    return params["exec_mode"] == PLAN and not {"downscale_blocks", "upscale_blocks"} <= set(given)


def _check_sampling(params, given):
    if params["sampling"] == PATCH and params["model"] == UNET:
        raise UserError("--sampling patch: belongs to --model vnet: U-Net sees slices, leave one of the two out")
    does_not_go = ("fit",) if params["sampling"] == PATCH else PATCH_FLAGS
    for name in does_not_go:
        if name in given:
            told = "does not go with" if params["sampling"] == PATCH else "belongs to"
            advice = "leave one of the two out" if params["sampling"] == PATCH else "add that or leave this out"
            raise UserError("--{}: {} --sampling patch: {}".format(name, told, advice))


def filters(params):
    """Channels that the first convolution gives."""
    return params["filters"] if params["model"] == UNET else BASE_FILTERS


def seen_shape(params, shape):
    """Voxels of an item of ``shape`` as the network computes with it: U-Net frames slices by their mirrored borders."""
    if params["model"] != UNET:
        return list(shape)
    sides = [input_size(size, params["levels"], params["padding"]) for size in shape]
    return [1 if axis == slice_axis(params) else side for axis, side in enumerate(sides)]


def step(params):
    """What the sizes of an item must be multiples of."""
    # U-Net mirrors the borders of what is smaller than it needs.
    return 1 if params["model"] == UNET else 2 ** len(params["downscale_blocks"])


def slice_axis(params):
    """The axis (0, 1 or 2) across which the network sees slices, or None where it sees volumes."""
    return "xyz".index(params["slice_axis"]) if params["model"] == UNET else None


def flip_axes(params):
    """The axes that images are mirrored along: a slice is as it was along the axis across it."""
    return [axis for axis in params["flip_axes"] if "xyz".index(axis) != slice_axis(params)]


def _check_unet(params, given):
    axis = slice_axis(params)
    for name in SHAPES:
        if isinstance(params[name], list) and params[name][axis] != 1:
            raise UserError(
                "--{} {}: slices across {} have one voxel there: give two numbers, along {}".format(
                    name, shown(params[name]), params["slice_axis"], " and ".join(_in_plane(axis))
                )
            )
    if params["crop_shape"] is not None and params["padding"] == "valid":
        raise UserError("--crop_shape: needs --padding same: parts have no borders of their own to mirror")
    if params["slice_axis"] in given.get("flip_axes", ()):
        raise UserError(
            "--flip_axes {}: a slice across {} cannot be mirrored along it: leave that axis out".format(
                shown(given["flip_axes"]), params["slice_axis"]
            )
        )


def _in_plane(axis):
    return [name for number, name in enumerate("xyz") if number != axis]


def _check_volumes(params):
    for name in SHAPES:
        if params[name] not in ("auto", None) and len(params[name]) != 3:
            raise UserError("--{}: takes 3 values, not {}".format(name, len(params[name])))


def _check_vnet(params):
    levels = len(params["downscale_blocks"])
    entries = sorted({max(1, levels - 1), levels})
    if len(params["upscale_blocks"]) not in entries:
        raise UserError(
            "--upscale_blocks {}: with --downscale_blocks {} it takes {} entries, not {}".format(
                shown(params["upscale_blocks"]),
                shown(params["downscale_blocks"]),
                " or ".join(str(number) for number in entries),
                len(params["upscale_blocks"]),
            )
        )
    for name in SHAPES:
        if params[name] not in ("auto", None):
            _check_shape(name, params, step(params))


def _check_shape(name, params, step):
    misfits = [
        "{} along {} (nearest: {})".format(size, axis, _nearest_multiples(size, step))
        for axis, size in zip("xyz", params[name])
        if size % step
    ]
    if misfits:
        count = len(params["downscale_blocks"])
        levels = ("1 level", "s") if count == 1 else ("{} levels".format(count), "")
        raise UserError(
            "--{} {}: {} of --downscale_blocks need{} multiples of {}, not {}".format(
                name, shown(params[name]), *levels + (step, ", ".join(misfits))
            )
        )


def _nearest_multiples(size, step):
    below = size // step * step
    return " or ".join(str(multiple) for multiple in (below, below + step) if multiple > 0)

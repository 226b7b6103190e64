"""`params.json`: what a model was made with, which later runs in its folder take from there."""

import os

from utils.config import recipes
from utils.config.flag_values import NUMBER
from utils.config.flags import FLAGS
from utils.config.network_rules import PATCH, PATCH_FLAGS, SHAPES
from utils.preprocessing.normalization import clipped_channels
from utils.system.errors import UserError
from utils.system.files import RESTORE, read_json, write_json_atomically

FILE_NAME = "params.json"

# What the network and its input need: another value would be another network.
MODEL_SETTINGS = (
    "model",
    "slice_axis",
    "sampling",
    "input_shape",
    "fit",
    "spacing",
    "resize_interpolator",
    "data_normalization",
    "activation",
    "normalization_layer",
    "pooling",
    "upsampling",
    "upscale_blocks",
    "downscale_blocks",
    "convolution_size",
    "levels",
    "filters",
    "padding",
)
# What decides neither: each run may have its own.
FREE_SETTINGS = (
    "exec_mode",
    "data_dir",
    "model_dir",
    "images",
    "checkpoint",
    "patch_overlap",
    "checkpoint_every",
    "evaluate_every",
    "test_time_flips",
    "largest_component",
    "amp",
    "xla",
    "no_tf32",
    "threads",
    "benchmark",
    "warmup_steps",
    "benchmark_steps",
    "synthetic",
    "no_trial",
    "log_every",
    "log_dir",
    "cache_dir",
    "output",
    "pictures",
)
# Those that decide what masks are like all the same: a record beside the masks has them.
MASK_SETTINGS = ("patch_overlap", "test_time_flips", "largest_component")
# What else decides the result of training: another value would be another run. A new flag is one of these, unless it
# stands above.
RUN_SETTINGS = tuple(name for name in FLAGS if name not in MODEL_SETTINGS + FREE_SETTINGS)
FREE_WITHOUT_TRAINING = ("recipe", "train_epochs", "batch_size", "seed")
# What the runner adds to params.json once it knows the task.
TASK_SETTINGS = ("task", "labels", "modalities", "image_kind")
# What the cases are: volumes, or stacks of 2-D images.
SCANS, STACKS = IMAGE_KINDS = ("scans", "stacks")
# What training learns from the cases, None where it learned nothing: that of `utils.preprocessing.ct_intensities`, and
# the axes that the scans have, such as ["LPS"].
LEARNED_SETTINGS = ("intensities", "axes")
# low, high, mean and deviation of a channel.
FIGURES_OF_A_CHANNEL = 4
# What models have known since the first release; what they lack of the others is as the reference recipe has it.
FIRST_SETTINGS = (
    ("input_shape", "resize_interpolator", "data_normalization", "activation", "normalization_layer", "pooling")
    + ("upsampling", "upscale_blocks", "downscale_blocks", "convolution_size", "loss", "optimizer", "base_lr")
    + ("momentum", "batch_size", "augment", "seed", "train_split", "split_seed", "task", "labels", "modalities")
)
# The number of workers that train it.
OTHERS = ("workers",)
# The records of the runs in the folder, which no later run takes anything from.
RUNS = "runs"
OTHER_RUNS_KEPT = 200
# Those that the task decides where the user leaves it to it.
GRID_SETTINGS = ("input_shape", "crop_shape", "spacing")


def save(settings, model_dir):
    """Writes the dict `settings` to `<model_dir>/params.json`, atomically; the records of runs in it stay.

    `settings_of` says what belongs there.
    """
    _write(settings, runs(model_dir), model_dir)


def load(model_dir):
    """Returns the settings in `<model_dir>/params.json`, a dict, or None where there is no such file.

    It has at least MODEL_SETTINGS, RUN_SETTINGS and TASK_SETTINGS: "task" (str), "labels" (names by value,
    labels[0] is background), "modalities" (names by channel) and "image_kind" (one of IMAGE_KINDS). Raises UserError
    where the file is damaged, or holds what this version does not know. LEARNED_SETTINGS may be None.
    """
    stored = _read(model_dir)
    if stored is None:
        return None
    path = os.path.join(model_dir, FILE_NAME)
    stored.pop(RUNS, None)
    known = MODEL_SETTINGS + RUN_SETTINGS + TASK_SETTINGS + LEARNED_SETTINGS
    unknown = sorted(set(stored) - set(known + OTHERS))
    if unknown:
        # They may decide what the network is.
        raise UserError(
            "{}: holds settings that this version does not know ({}): use the version that wrote them, or another "
            "--model_dir".format(path, ", ".join(map(ascii, unknown)))
        )
    for name in FIRST_SETTINGS:
        if name not in stored:
            raise UserError('{}: is damaged, it lacks "{}": {}'.format(path, name, RESTORE))
    earlier = dict(recipes.defaults(recipes.REFERENCE), image_kind=SCANS, **dict.fromkeys(LEARNED_SETTINGS))
    stored = dict({name: earlier[name] for name in known if name not in FIRST_SETTINGS}, **stored)
    for name, value in sorted(stored.items()):
        problem = _flag_problem(name, value) if name in FLAGS else _task_problem(name, value)
        if problem:
            raise UserError('{}: is damaged, "{}": {}: {}'.format(path, name, problem, RESTORE))
    if not stored["folds"] and not _knows_intensities(stored):
        raise UserError('{}: is damaged, "intensities" are not those of its modalities: {}'.format(path, RESTORE))
    return stored


def runs(model_dir):
    """Returns the records of the runs in the folder, dicts, oldest first; raises UserError where they are damaged."""
    records = (_read(model_dir) or {}).get(RUNS, [])
    if not isinstance(records, list) or not all(map(_is_record, records)):
        path = os.path.join(model_dir, FILE_NAME)
        raise UserError('{}: is damaged, "{}" is not a list of records: delete that entry'.format(path, RUNS))
    return records


def _is_record(value):
    return isinstance(value, dict) and isinstance(value.get("data", {}), dict)


def record_run(record, model_dir):
    """Adds the record of a run, a dict, to those in `<model_dir>/params.json`, atomically.

    It takes the place of the last one where that is of the same run: where both began at one time ("started"). Of
    those that trained nothing, as their "data" says, the last ones are kept.
    """
    settings, records = _read(model_dir) or {}, runs(model_dir)
    if records and records[-1].get("started") == record["started"]:
        records.pop()
    records.append(record)
    others = [earlier for earlier in records if "training" not in earlier.get("data", {})]
    for surplus in others[:-OTHER_RUNS_KEPT]:
        records.remove(surplus)
    _write(settings, records, model_dir)


def _read(model_dir):
    path = os.path.join(model_dir, FILE_NAME)
    if not os.path.exists(path):
        return None
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise UserError("{}: is damaged, it holds no JSON object: {}".format(path, RESTORE))
    return stored


def _write(settings, records, model_dir):
    write_json_atomically(os.path.join(model_dir, FILE_NAME), dict(settings, **({RUNS: records} if records else {})))


def settings_of(params):
    """Returns what params.json holds, of params that know task and workers: the settings a later run takes from it."""
    settings = {name: params[name] for name in MODEL_SETTINGS + RUN_SETTINGS + TASK_SETTINGS + LEARNED_SETTINGS}
    # Each fold has one worker, so that another time others may be at work.
    return dict(settings, workers=1 if params["folds"] else params["workers"])


def mask_settings(params):
    """Returns the MASK_SETTINGS of params, a dict; without the overlap of patches where there are none."""
    return {name: params[name] for name in MASK_SETTINGS if name not in PATCH_FLAGS or params["sampling"] == PATCH}


def _flag_problem(name, value):
    if name in SHAPES and isinstance(value, list) and len(value) != 3:
        return "takes 3 values, not {}".format(len(value))
    return None if value is None and FLAGS[name].default is None else FLAGS[name].problem(value)


def _task_problem(name, value):
    if name == "workers":
        whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return None if whole else "{!r} is not a whole number from 1".format(value)
    if name == "intensities":
        fine = value is None or isinstance(value, list) and all(map(_is_channel, value))
        return None if fine else "{!r} are no intensities of CT".format(value)
    if name == "axes":
        fine = value is None or isinstance(value, list) and value and all(map(_are_axes, value))
        return None if fine else "{!r} are no axes of scans".format(value)
    if name == "image_kind":
        return None if value in IMAGE_KINDS else "{!r} is none of {}".format(value, ", ".join(IMAGE_KINDS))
    if name == "task":
        return None if isinstance(value, str) else "{!r} is not a name".format(value)
    if not (isinstance(value, list) and value and all(isinstance(item, str) for item in value)):
        return "{!r} is not a list of names".format(value)
    return None if name != "labels" or len(set(value)) == len(value) else "two structures have one name"


def _knows_intensities(stored):
    """Whether there is what the normalisation needs, for each channel; the folds of a model have it, each its own."""
    chosen = clipped_channels(stored["data_normalization"], stored["modalities"])
    return [channel is not None for channel in stored["intensities"] or [None] * len(chosen)] == chosen


def _are_axes(value):
    """Whether a value is what `utils.imaging.case_files.axes_of` returns, or may."""
    return isinstance(value, str) and len(value) == 3 and set(value) <= set("RLAPIS")


def _is_channel(value):
    """Whether a value is what is known of a channel's intensities: low, high, mean and deviation, or None."""
    if value is None:
        return True
    return (
        isinstance(value, list)
        and len(value) == FIGURES_OF_A_CHANNEL
        and all(map(NUMBER.accepts, value))
        and value[3] >= 0
    )

"""Flags, what the model's folder holds, and defaults -> one validated params dict."""

import os

from utils.config import network_rules, recipes
from utils.config.flag import shown
from utils.config.modes import BENCHMARK_MODES, EVALUATION_MODES, LOOKING_MODES, PLAN, PREDICTION_MODES, TRAINING_MODES
from utils.config.parser import build_parser
from utils.model_dir.paths import checkpoint_folders, has_checkpoint, model_folders, trained_settings
from utils.model_dir.settings import (
    FILE_NAME,
    FREE_WITHOUT_TRAINING,
    GRID_SETTINGS,
    LEARNED_SETTINGS,
    MODEL_SETTINGS,
    RUN_SETTINGS,
    load,
)
from utils.system import launch
from utils.system.errors import UserError

# Flags that need another: what they belong to, the modes where that may be left out, and whether benchmarks have them.
NEEDS = {
    "synthetic": ("--benchmark", (), True),
    "warmup_steps": ("--benchmark", (), True),
    "benchmark_steps": ("--benchmark", (), True),
    "output": ("--benchmark or --exec_mode check or plan", LOOKING_MODES, True),
    "no_trial": ("--exec_mode plan", (PLAN,), False),
}


def from_command_line(argv=None):
    """Returns the params dict of a command line (a list of str; sys.argv[1:] by default).

    Its keys are the names of all flags; "prediction_batch_size": --batch_size where it is given, or None; and what
    training learned of the cases, None where there was nothing to learn or that is still to come.
    Its values are JSON values, None where a flag without a default is not given. A flag that is given wins over
    what `<model_dir>/params.json` holds, which wins over the recipe's default. "input_shape" and
    "crop_shape" may be "auto", and "spacing" None: `utils.job.plan` finds them in the task.

    Raises UserError for anything that cannot be done as asked. SystemExit(0) after printing the help.
    """
    given = vars(build_parser().parse_args(argv))
    params = _completed(given, {})
    stored = binding_settings(params)
    given = network_rules.in_three_axes(given, stored or params)
    if stored is not None:
        for name in GRID_SETTINGS:
            if given.get(name) == "auto":
                # Chosen when the model was made, from the images that it was trained on.
                del given[name]
        _refuse_contradictions(given, stored, params)
    params = _completed(given, stored or {})
    network_rules.check(params, given)
    _check_request(params, given)
    _check_folds(params, given)
    _check_effects(params, given)
    if not params["benchmark"] and params["exec_mode"] not in LOOKING_MODES:
        _check_model_dir(params, stored)
    return params


def _completed(given, stored):
    """The flags that are given, else what the model's folder holds, else the recipe's defaults."""
    bound = {name: stored[name] for name in MODEL_SETTINGS + RUN_SETTINGS if name in stored}
    chosen = {name: given.get(name, stored.get(name)) for name in ("recipe", "model")}
    params = recipes.defaults(**{name: value for name, value in chosen.items() if value is not None})
    params.update(dict(bound, **given), prediction_batch_size=given.get("batch_size"))
    params["flip_axes"] = network_rules.flip_axes(params)
    params.update((name, stored.get(name)) for name in LEARNED_SETTINGS)
    params.update((name, value) for name, value in network_rules.for_patches(params).items() if name not in given)
    _complete_folders(params)
    return params


def binding_settings(params):
    """Returns what `load` finds in the model's folder, or None where a run is not bound to it.

    That is a benchmark, a check or a plan, which do what the flags say, and training where no checkpoint was saved yet.
    """
    if params["benchmark"] or params["exec_mode"] in LOOKING_MODES:
        return None
    return trained_settings(params["model_dir"]) if params["exec_mode"] in TRAINING_MODES else load(params["model_dir"])


def _complete_folders(params):
    if params["log_dir"] is None:
        params["log_dir"] = params["model_dir"]
    if params["cache_dir"] is None:
        params["cache_dir"] = os.path.join(params["model_dir"], "cache")
    for name in ("data_dir", "model_dir", "log_dir", "cache_dir", "output"):
        _check_encoding(name, params[name] or "")
    for name in ("model_dir", "log_dir", "cache_dir"):
        _check_folder(name, params[name], params[name])
    if params["output"] is not None:
        # Now rather than when the measuring is done.
        _check_folder("output", params["output"], os.path.dirname(os.path.abspath(params["output"])))
        if os.path.isdir(params["output"]):
            raise UserError("--output {}: is a folder, not a file: name a file in it".format(params["output"]))


def _check_encoding(flag, given):
    try:
        given.encode("utf-8")
    except UnicodeEncodeError as error:
        # Python found bytes that its locale cannot read; neither TensorFlow nor SimpleITK would take them back.
        raise UserError(
            "--{} {}: is no text in this locale: set LC_ALL=C.UTF-8, or rename it".format(flag, ascii(given))
        ) from error


def _check_folder(flag, given, folder):
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise UserError("--{} {}: {} is not a folder: name another".format(flag, given, existing))


def _refuse_contradictions(given, stored, params):
    trains = params["exec_mode"] in TRAINING_MODES
    workers = stored.get("workers", 1)
    if trains and workers != launch.size() and not stored["folds"]:
        # Another number would deal out the cases, and count the epochs, in another way.
        raise UserError(
            "--model_dir {}: is trained by {} worker{}, not by {}: start as many, or use another --model_dir".format(
                params["model_dir"], workers, "" if workers == 1 else "s", launch.size()
            )
        )
    binding = [name for name in MODEL_SETTINGS + RUN_SETTINGS if trains or name not in FREE_WITHOUT_TRAINING]
    for name in binding:
        if name == "train_epochs" and stored["lr_schedule"] == "constant":
            # A run may be made longer, but not where the learning rate has followed its length.
            continue
        if name in given and given[name] != stored[name]:
            raise UserError(
                "--{} is {} here and {} in {}: use another --model_dir or leave the flag out".format(
                    name, shown(given[name]), shown(stored[name]), os.path.join(params["model_dir"], FILE_NAME)
                )
            )


def _check_request(params, given):
    mode = params["exec_mode"]
    if params["benchmark"] and mode not in BENCHMARK_MODES:
        raise UserError("--benchmark: measures one thing: use --exec_mode {}".format(" or ".join(BENCHMARK_MODES)))
    for name, (owner, modes, measured) in NEEDS.items():
        if given.get(name) and not (measured if params["benchmark"] else mode in modes):
            raise UserError("--{}: belongs to {}: add that or leave this out".format(name, owner))
    if params["images"] is not None and mode not in PREDICTION_MODES:
        raise UserError("--images: --exec_mode {} predicts nothing; use {}".format(mode, " or ".join(PREDICTION_MODES)))
    if params["benchmark"] and params["images"] is not None:
        raise UserError("--images: --benchmark measures on the task's images: leave one of the two out")
    if params["data_dir"] is None and not (mode == "predict" and params["images"] is not None):
        instead = ", or --images with the files to predict" if mode == "predict" else ""
        raise UserError("--data_dir: --exec_mode {} needs it: give the task's folder{}".format(mode, instead))
    if params["test_time_flips"] and not params["augment"]:
        raise UserError(
            "--test_time_flips: a model trained without --augment does not know mirrored images: train one with it, "
            "or leave this out"
        )
    if params["train_split"] == 1 and mode in EVALUATION_MODES and not params["folds"]:
        raise UserError(
            "--train_split 1.0: holds out no case for --exec_mode {}: use a smaller value with a --model_dir of its "
            "own, or another --exec_mode".format(mode)
        )


def _check_effects(params, given):
    idle = (
        ("momentum", "optimizer", "adam"),
        ("cross_entropy_weight", "loss", "dice"),
        ("cross_entropy_weight", "loss", "weighted_ce"),
        ("augment_elastic_knots", "augment_elastic", 0),
        ("lr_warmup_epochs", "lr_scaling", "none"),
        ("flip_axes", "augment", False),
    )
    for name, decider, value in idle:
        if name in given and params[decider] == value:
            raise UserError("--{}: has no effect with --{} {}: leave it out".format(name, decider, shown(value)))


def _check_folds(params, given):
    for name, is_set in (("benchmark", params["benchmark"]), ("train_split", "train_split" in given)):
        if params["folds"] and is_set:
            raise UserError(
                "--{}: does not go with --folds {}, which holds out each case once: leave one of the two out".format(
                    name, params["folds"]
                )
            )
    if params["folds"] and params["exec_mode"] in TRAINING_MODES and launch.size() > params["folds"]:
        raise UserError(
            "--folds {}: {} workers are too many, each trains folds of its own: start {} at most".format(
                params["folds"], launch.size(), params["folds"]
            )
        )


def _check_model_dir(params, stored):
    model_dir, mode = params["model_dir"], params["exec_mode"]
    if mode in TRAINING_MODES:
        for folder in {model_dir} | set(model_folders(model_dir, params["folds"])):
            if stored is None and has_checkpoint(folder):
                raise UserError(
                    "--model_dir {}: holds checkpoints without their {}: use another folder".format(folder, FILE_NAME)
                )
        measures = 0 < params["evaluate_every"] <= params["train_epochs"] and params["train_split"] < 1
        if mode != "train" and params["checkpoint"] == "best" and not measures:
            raise UserError(
                "--checkpoint best: needs held-out cases that are measured while training: use --evaluate_every from "
                "1 to --train_epochs and --train_split below 1, or --checkpoint last"
            )
        return
    if stored is None:
        raise UserError(
            "--model_dir {}: holds no trained model (no {}): train one there first, or name the folder of one".format(
                model_dir, FILE_NAME
            )
        )
    for folder in model_folders(model_dir, params["folds"]):
        if not has_checkpoint(folder):
            raise UserError(
                "--model_dir {}: holds no trained model (no checkpoint{}): train one there first, or name the folder "
                "of one".format(model_dir, "" if folder == model_dir else " in " + folder)
            )
    for folder in checkpoint_folders(params):
        if not has_checkpoint(folder):
            raise UserError("--checkpoint best: {} holds none: use --checkpoint last".format(folder))

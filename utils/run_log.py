"""What a run logs, and where: DLLogger's file, and lines for people on the terminal."""

import os

import dllogger

FILE_NAME = "dllogger.json"


def start(params):
    """Start DLLogger: ``<log_dir>/dllogger.json``, appended to, and the terminal; log the params and metadata."""
    dllogger.init(
        [
            dllogger.JSONStreamBackend(dllogger.Verbosity.VERBOSE, log_path(params), append=True),
            dllogger.StdOutBackend(
                dllogger.Verbosity.DEFAULT, _step_format, dllogger.default_metric_format, lambda timestamp: ""
            ),
        ]
    )
    dllogger.log("PARAMETER", params, dllogger.Verbosity.VERBOSE)
    dllogger.metadata("loss", {"unit": None, "GOAL": "MINIMIZE", "format": "{:.4f}", "STAGE": "TRAIN"})
    dllogger.metadata(
        "images_per_second", {"unit": "images/s", "GOAL": "MAXIMIZE", "format": "{:.2f}", "STAGE": "TRAIN"}
    )


def describe_dice(structures):
    """Log unit and direction of the Dice figures of each structure."""
    for measure in ("soft_dice", "hard_dice"):
        for structure in structures:
            name = dice_name(measure, structure)
            dllogger.metadata(name, {"unit": None, "GOAL": "MAXIMIZE", "format": "{:.4f}", "STAGE": "VAL"})


def dice_name(measure, structure):
    """The metric's name in the log, such as ``soft_dice_Anterior``."""
    return "{}_{}".format(measure, structure)


def log_path(params):
    """The log file's path."""
    return os.path.join(params["log_dir"], FILE_NAME)


def _step_format(step):
    if isinstance(step, str):
        return step
    return "epoch {}:".format(step[0]) if step else "evaluation:"

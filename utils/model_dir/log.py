"""What a run logs, and where: DLLogger's file, and lines for people on the terminal."""

import os
import time

import dllogger
from utils.evaluation.tables import MEASURES
from utils.system.errors import UserError
from utils.system.progress import say

FILE_NAME = "dllogger.json"

_DICE = {"unit": None, "GOAL": "MAXIMIZE", "STAGE": "VAL", "format": "{:.4f}"}
_DISTANCE = {"unit": "mm", "GOAL": "MINIMIZE", "STAGE": "VAL", "format": "{:.2f}"}
# Neither direction of a volume is the better one.
_VOLUME = {"unit": "ml", "GOAL": None, "STAGE": "VAL", "format": "{:.2f}"}
_PIXELS = dict(_DISTANCE, unit="pixels")
_AREA = dict(_VOLUME, unit="pixels", format="{:.0f}")
_MEASURES = {
    "soft_dice": _DICE,
    "hard_dice": _DICE,
    "hausdorff_95_mm": _DISTANCE,
    "surface_distance_mm": _DISTANCE,
    "volume_ml": _VOLUME,
    "true_volume_ml": _VOLUME,
    "volume_difference_ml": _VOLUME,
    "hausdorff_95_pixels": _PIXELS,
    "surface_distance_pixels": _PIXELS,
    "area_pixels": _AREA,
    "true_area_pixels": _AREA,
    "area_difference_pixels": _AREA,
    "uncertainty": {"unit": None, "GOAL": "MINIMIZE", "STAGE": "VAL", "format": "{:.4f}"},
}


def start(params, structures, runtime, measures=MEASURES):
    """Start DLLogger: ``<log_dir>/dllogger.json``, appended to, and the terminal.

    Logs the params with the runtime's name, and unit and direction of every metric to come; `measures` are those of
    an evaluation.

    Raises:
        UserError: the log cannot be written.
    """
    path = log_path(params)
    try:
        file = dllogger.JSONStreamBackend(dllogger.Verbosity.VERBOSE, path, append=True)
    except OSError as error:
        raise UserError("--log_dir: {}: cannot be written ({})".format(path, error.strerror)) from error
    terminal = dllogger.StdOutBackend(
        dllogger.Verbosity.DEFAULT, _step_format, _metric_format, lambda timestamp: "", write_line=_write_line
    )
    dllogger.init([file, terminal])
    dllogger.log("PARAMETER", dict(params, runtime=runtime), dllogger.Verbosity.VERBOSE)
    dllogger.metadata("loss", {"unit": None, "GOAL": "MINIMIZE", "STAGE": "TRAIN", "format": "{:.4f}"})
    speed = {"unit": "images/s", "GOAL": "MAXIMIZE", "STAGE": "TRAIN", "format": "{:.2f}"}
    dllogger.metadata("images_per_second", speed)
    for latency in ("latency_mean", "latency_90", "latency_95", "latency_99"):
        dllogger.metadata(latency, {"unit": "ms", "GOAL": "MINIMIZE", "STAGE": "PERF", "format": "{:.2f}"})
    for measure in measures:
        for structure in structures:
            dllogger.metadata(metric_name(measure, structure), _MEASURES[measure])


def keep_silent():
    """Start DLLogger for a worker that is not the first: it logs nothing."""
    dllogger.init([])


def log_evaluation(summary):
    """Log the mean of each measure and structure of an evaluation's summary; the terminal gets the table instead."""
    means = {
        metric_name(measure, structure): value
        for measure, values in summary["mean"].items()
        for structure, value in values.items()
    }
    dllogger.log((), means, dllogger.Verbosity.VERBOSE)


def metric_name(measure, structure):
    """The metric's name in the log, such as ``soft_dice_liver``."""
    return "{}_{}".format(measure, structure)


def log_path(params):
    """The log file's path."""
    return os.path.join(params["log_dir"], FILE_NAME)


def _write_line(line):
    say(time.strftime("%H:%M:%S ") + line)


def _step_format(step):
    return "epoch {}:".format(step[0]) if step else "benchmark:"


def _metric_format(metric, metadata, value):
    shown = "undefined" if value is None else metadata.get("format", "{}").format(value)
    return " ".join(part for part in (metric, shown, metadata.get("unit")) if part) + ";"

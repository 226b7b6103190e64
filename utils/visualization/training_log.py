"""The epochs of a training, read from its log: what curves are drawn from."""

import json
import os
import sys

from utils.config.flag_values import LARGEST_COUNT
from utils.system.errors import UserError

EVENT_START = "DLLL "
DICE_PREFIX = "soft_dice_"


def read_epochs(log_path):
    """Returns {epoch: {metric: number}} in the order of the epochs; the metrics are "loss" and "soft_dice_<structure>".

    Args:
        log_path: the file of `DLLL {json}` lines; events with step [epoch] or an int count that hold "loss"
            or "soft_dice_<structure>". Of a run that went back to a checkpoint, what it did again counts.

    Raises:
        UserError: the file cannot be read.
    """
    epochs = {}
    for event in _read_events(log_path):
        epoch = _epoch_of(event)
        data = event.get("data")
        if epoch is None or not isinstance(data, dict):
            continue
        values = {name: value for name, value in data.items() if name == "loss" or name.startswith(DICE_PREFIX)}
        values = {name: float(value) for name, value in values.items() if _is_number(value)}
        if "loss" in values:
            # A run that trains this epoch again trains all that follow it again.
            epochs = {earlier: data for earlier, data in epochs.items() if earlier <= epoch}
        if values:
            epochs.setdefault(epoch, {}).update(values)
    return dict(sorted(epochs.items()))


def mean_epochs(log_paths):
    """Returns how many logs hold any epoch, and the means of their epochs, as `read_epochs` returns those of one.

    A log that is missing is left out.
    """
    folds = [epochs for epochs in (read_epochs(path) for path in log_paths if os.path.exists(path)) if epochs]
    together = {}
    for epochs in folds:
        for epoch, values in epochs.items():
            for name, value in values.items():
                together.setdefault(epoch, {}).setdefault(name, []).append(value)
    means = {
        epoch: {name: sum(found) / len(found) for name, found in values.items()}
        for epoch, values in sorted(together.items())
    }
    return len(folds), means


def _read_events(log_path):
    try:
        with open(str(log_path), encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError as error:
        raise UserError(
            "{}: cannot be read ({}); name the log of a training".format(log_path, error.strerror)
        ) from error
    for line in lines:
        if not line.startswith(EVENT_START):
            continue
        try:
            event = json.loads(line[len(EVENT_START) :])
        except ValueError:
            continue  # A killed run leaves a part of a line.
        if isinstance(event, dict) and event.get("type") == "LOG":
            yield event


def _is_number(value):
    # Of a whole number in JSON, however large.
    return isinstance(value, (int, float)) and not abs(value) > sys.float_info.max


def _epoch_of(event):
    step = event.get("step")
    if isinstance(step, list) and len(step) == 1:
        step = step[0]
    return step if isinstance(step, int) and not isinstance(step, bool) and abs(step) <= LARGEST_COUNT else None

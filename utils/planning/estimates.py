"""What a plan's settings will take on this machine: memory, time, and room on the disk."""

from typing import NamedTuple, Optional

import numpy as np

from utils.config.network_rules import PATCH
from utils.inference.prediction_batch import prediction_batch_size
from utils.planning import network_cost
from utils.planning.proposal import items_of, training_cases
from utils.preprocessing.fitting import shape_before_padding
from utils.preprocessing.foreground import MOST_POSITIONS
from utils.preprocessing.normalization import clipped_channels
from utils.sampling.sliding_window import IN_MEMORY
from utils.sampling.tiling import MEASURED_PATCHES, feeding_of, fit_of
from utils.system import hardware, memory

# Bytes of a voxel's label, of what borders add to its weight, and of a voxel of a structure where patches may lie.
MASK, BORDER, POSITION = 1, 4, 16
# Of the voxels of a scan as it is read: those of the file, and as float32.
COPIES_READ = 2
# Of the voxels of a channel that is prepared: resampled, and with more digits while it is normalised.
COPIES_PREPARED = 4
# Of the probabilities of a case: one is put together while another becomes a mask.
COPIES_OF_ANSWERS = 2
# Of the peak of a trial: that of many steps is higher, as TensorFlow's memory falls to pieces.
GROWTH = 1.1
# Of the time that the plan took to read a case: resampling it, and writing it, take as long again.
READINGS = 2.0


class Estimate(NamedTuple):
    """What a plan will take.

    Bytes: training_memory and prediction_memory, at the same time; limit, that there are; disk, of the prepared cases.
    Seconds: epoch, of training alone; training, all of it, with preparing the cases and measuring the held-out Dice;
    scan, of predicting the median one. None where nothing was measured. epochs and steps, those of an epoch, are
    numbers; folds, how many models are trained so, or 0; machine is the one, in words. trial says what the estimate
    rests on, trouble why there was no trial.
    """

    training_memory: float
    prediction_memory: float
    limit: int
    disk: int
    epochs: int
    steps: int
    folds: int
    machine: str
    trial: Optional[str] = None
    trouble: Optional[str] = None
    epoch: Optional[float] = None
    training: Optional[float] = None
    scan: Optional[float] = None


class _Sizes:
    """What the params make of the cases: shapes of the prepared ones, int [N, 3], their voxels and numbers of items."""

    def __init__(self, facts, params):
        self.feeding = feeding_of(params)
        grid = dict(params, input_shape=self.feeding.case_shape, fit=fit_of(params))
        own = [shape_before_padding(size, spacing, grid) for size, spacing in zip(facts.sizes, facts.spacings)]
        self.shapes = np.array(
            [[size if given is None else given for size, given in zip(shape, grid["input_shape"])] for shape in own]
        )
        self.voxels = np.prod(self.shapes, axis=1)
        self.items = np.array([len(self.feeding.corners(shape)) for shape in self.shapes.tolist()])


def estimate(facts, params, trial, reading):
    """The ``Estimate`` for a task.

    Args:
        facts: its ``utils.planning.facts.Facts``.
        params: those that are to be used, with what ``utils.job.Job.description`` holds.
        trial: the ``utils.planning.trial.Trial``, or None.
        reading: seconds that a case took to be read, beside others.
    """
    sizes = _Sizes(facts, params)
    measured = trial is not None and trial.trouble is None
    steps = int(-(-items_of(params, facts) // params["batch_size"]))
    found = Estimate(
        limit=memory.limit(),
        disk=int(_kept(facts, params, sizes).sum()),
        epochs=params["train_epochs"],
        steps=steps,
        folds=params["folds"],
        machine=hardware.in_words(hardware.describe()),
        trouble=trial.trouble if trial else None,
        **_memory(facts, params, sizes, trial if measured else None),
    )
    if not measured:
        return found
    told = "{} steps of training and {} of prediction on {} of the cases"
    return found._replace(
        trial=told.format(trial.train.steps, trial.predict.steps, trial.cases),
        epoch=steps * params["batch_size"] * trial.train.seconds,
        training=_training(facts, params, sizes, trial, steps, reading),
        scan=float(np.median(sizes.items) * trial.predict.seconds + READINGS * reading),
    )


def _kept(facts, params, sizes):
    """Bytes of each prepared case on the disk."""
    labelled = np.arange(len(sizes.voxels)) < facts.training
    beside = BORDER * (params["loss"] == "weighted_ce")
    kept = sizes.voxels * (memory.FLOAT * len(params["modalities"]) + (MASK + beside) * labelled)
    if params["sampling"] == PATCH:
        kept[: facts.training] += POSITION * np.minimum(facts.structures, MOST_POSITIONS).sum(axis=1)
    if _intensities_differ(params):
        kept[: facts.training] *= params["folds"]
    return kept


def _memory(facts, params, sizes, trial):
    """Peaks in bytes, by the trial where there is one, else as computed."""
    item = sizes.feeding.item_shape
    at_once = params["prediction_batch_size"] or prediction_batch_size(params, bool(hardware.gpu_names()))
    training = trial and trial.again.peak and GROWTH * trial.again.peak
    training = training or network_cost.needed(params, "training", params["crop_shape"] or item, params["batch_size"])
    prediction = trial and trial.predict.peak or network_cost.needed(params, "prediction", item, at_once)
    scans = np.prod(facts.sizes, axis=1)
    reading = memory.FLOAT * len(params["modalities"]) * (COPIES_READ * scans + COPIES_PREPARED * sizes.voxels)
    answers = COPIES_OF_ANSWERS * _answers(params, sizes)
    return {
        # Cases are prepared before the network takes anything.
        "training_memory": float(max(training, network_cost.BASE["training"] + reading.max())),
        "prediction_memory": float(prediction + (reading + answers).max()),
    }


def _answers(params, sizes):
    """Bytes of each case's probabilities, as far as they are in memory."""
    whole = memory.FLOAT * len(params["labels"]) * sizes.voxels
    if params["sampling"] != PATCH:
        return whole
    depth = np.minimum(sizes.feeding.item_shape[2], sizes.shapes[:, 2])
    return np.where(whole > IN_MEMORY, whole // sizes.shapes[:, 2] * depth, whole)


def _training(facts, params, sizes, trial, steps, reading):
    """Seconds of all of it: preparing cases, steps, what is measured during and after them."""
    held_out = facts.training - training_cases(params, facts)
    items = float(np.mean(sizes.items[: facts.training]))
    # Of patches, no more than a part of each case is measured during the training.
    during = min(items, MEASURED_PATCHES**3) if params["sampling"] == PATCH else items
    times = params["train_epochs"] // params["evaluate_every"] if params["evaluate_every"] else 0
    predicted = held_out * (times * during + items) * trial.predict.seconds
    trained = params["train_epochs"] * steps * params["batch_size"] * trial.train.seconds
    models = max(1, params["folds"])
    prepared = facts.training * READINGS * reading * (models if _intensities_differ(params) else 1)
    return trial.beside + prepared + models * (trained + predicted)


def _intensities_differ(params):
    """Whether each fold has intensities of its own, and so prepared cases of its own."""
    return params["folds"] > 1 and any(clipped_channels(params["data_normalization"], params["modalities"]))

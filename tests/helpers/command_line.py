"""A tiny task, runs of main.py as a user starts them, and what they leave behind."""

import contextlib
import io
import json
import os
import subprocess
import sys
from typing import NamedTuple
from unittest import mock

import numpy as np
import SimpleITK as sitk
from synthetic import DIRECTIONS, blob, image_of

import main

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = os.path.join(PROJECT, "main.py")

TINY_NETWORK = ("--input_shape", "16", "16", "16", "--downscale_blocks", "1", "1", "--upscale_blocks", "1")
# One thread: sums are always taken in one order, so that equal runs give equal numbers.
TINY = TINY_NETWORK + ("--threads", "1", "--train_split", "0.7", "--base_lr", "0.002", "--log_every", "1")
# For runs whose network does not matter: half of a short run's time is that of making the graph.
SMALLEST_NETWORK = ("--input_shape", "8", "8", "8", "--downscale_blocks", "1", "--upscale_blocks", "1")
SMALLEST = TINY + SMALLEST_NETWORK
# Variables for runs whose numbers do not matter either: what Intel's TensorFlow 1.15 makes of a graph first takes it a
# second or two, which only many steps make up for.
QUICK_START = {"TF_DISABLE_MKL": "1"}
STRUCTURES = ("Upper", "Lower")
TRAINING_CASES, TEST_CASES = 10, 5
TRAINED, HELD_OUT = 7, 3
STEPS_PER_EPOCH = 4
EPOCHS = 20


class Finished(NamedTuple):
    """What a run of main.py came to: its exit status, and what it wrote."""

    status: int
    output: str
    errors: str


def command(arguments):
    """The command line of main.py with `arguments` (any values, by their text)."""
    return [sys.executable, MAIN] + [str(argument) for argument in arguments]


def run_main(*arguments, environment=None, folder=None):
    """Run main.py in a process of its own; return a Finished."""
    finished = subprocess.run(
        command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, **(environment or {})),
        cwd=str(folder or PROJECT),
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def succeed(*arguments, **options):
    """Run main.py, which must succeed and must not have shown a traceback; return a Finished."""
    finished = run_main(*arguments, **options)
    assert finished.status == 0, finished.errors
    assert "Traceback" not in finished.errors + finished.output
    return finished


def run_here(*arguments):
    """Run main.py in this process, which spares TensorFlow's start; return a Finished.

    For all but signals, environment variables, and numbers that are to be those of another run to the last bit: the
    first session of a process decides how many threads all of them have.
    """
    output, errors = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main.main([str(argument) for argument in arguments])
    return Finished(status, output.getvalue(), errors.getvalue())


def succeed_here(*arguments):
    """Run main.py in this process, which must succeed; return a Finished."""
    finished = run_here(*arguments)
    assert finished.status == 0, finished.errors
    return finished


IN_TURN = "import json, sys, main; sys.exit(max(main.main(arguments) for arguments in json.loads(sys.argv[1])))"


def succeed_in_turn(*runs, python=sys.executable):
    """Run main.py's parts, each a tuple of arguments, one after the other in one process of their own.

    `python`: the interpreter.
    """
    runs = [[str(argument) for argument in arguments] for arguments in runs]
    finished = subprocess.run(
        [python, "-c", IN_TURN, json.dumps(runs)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        cwd=PROJECT,
    )
    assert finished.returncode == 0, finished.stderr


def make_scan(shape, direction, random, modalities=1):
    """A scan with two structures side by side: (image, label), SimpleITK images; 4-D with several modalities."""
    centre = np.array(shape) * random.uniform(0.4, 0.6, size=3)
    body = blob(shape, centre, np.array(shape) * 0.35) > 0.4
    upper = np.arange(shape[2]) >= centre[2]
    mask = np.where(body, np.where(upper, 1, 2), 0).astype(np.uint8)
    signal = np.select([mask == 1, mask == 2], [300.0, 200.0], 100.0)
    channels = [
        image_of((sign * signal + random.normal(0, 20, shape)).astype(np.float32), direction)
        for sign in (1, -1, 2, -2)[:modalities]
    ]
    return channels[0] if modalities == 1 else sitk.JoinSeries(channels), image_of(mask, direction)


def make_task(
    parent, name="Task90_Tiny", training=TRAINING_CASES, test=TEST_CASES, modalities=1, structures=STRUCTURES
):
    """Write a task of small scans on awkward grids of various sizes; return its folder as text.

    The scans hold the first two structures; any other is absent from all of them.
    """
    folder = os.path.join(str(parent), name)
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        os.makedirs(os.path.join(folder, part))
    random = np.random.RandomState(0)
    names = ["case_{:02d}.nii.gz".format(number) for number in range(training + test)]
    for number, file_name in enumerate(names):
        shape = tuple(random.randint(low, low + 9) for low in (14, 18, 11))
        direction = sorted(DIRECTIONS)[number % len(DIRECTIONS)]
        image, label = make_scan(shape, direction, random, modalities)
        labelled = number < training
        sitk.WriteImage(image, os.path.join(folder, "imagesTr" if labelled else "imagesTs", file_name))
        if labelled:
            sitk.WriteImage(label, os.path.join(folder, "labelsTr", file_name))
    description = {
        "name": name.split("_")[1],
        "modality": {str(number): "MRI{}".format(number) for number in range(modalities)},
        "labels": {str(value): name for value, name in enumerate(("background",) + tuple(structures))},
        "training": [{"image": "./imagesTr/" + name, "label": "./labelsTr/" + name} for name in names[:training]],
        "test": ["./imagesTs/" + name for name in names[training:]],
    }
    write_description(folder, description)
    return folder


def read_description(data_dir):
    """What the dataset.json of a task says."""
    return read_json(os.path.join(data_dir, "dataset.json"))


def write_description(data_dir, description):
    """Write the dataset.json of a task."""
    with open(os.path.join(data_dir, "dataset.json"), "w") as file:
        json.dump(description, file)


def read_json(*path):
    """The value in a JSON file."""
    with open(os.path.join(*map(str, path)), encoding="utf-8") as file:
        return json.load(file)


def read_image(*path):
    """A file as a SimpleITK image."""
    return sitk.ReadImage(os.path.join(*map(str, path)))


def voxels(*path):
    """The voxels of a file, [X, Y, Z]."""
    return sitk.GetArrayFromImage(read_image(*path)).transpose(2, 1, 0)


class Model(NamedTuple):
    """A trained model: the task's folder, the model's, and the run that trained it."""

    data_dir: str
    model_dir: str
    run: Finished


def trained_model(parent):
    """A Model of train_and_evaluate with pictures on the tiny task."""
    data_dir = make_task(parent)
    model_dir = os.path.join(str(parent), "model")
    run = succeed(
        *TINY + ("--exec_mode", "train_and_evaluate", "--train_epochs", EPOCHS, "--pictures"),
        *("--data_dir", data_dir, "--model_dir", model_dir),
    )
    return Model(data_dir, model_dir, run)


def log_lines(model_dir):
    """The events in dllogger.json, each a dict; every line must be one."""
    with open(os.path.join(str(model_dir), "dllogger.json"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines and all(line.startswith("DLLL {") for line in lines)
    return [json.loads(line[len("DLLL ") :]) for line in lines]


def logged(model_dir, length):
    """What was logged at steps of so many parts (1: epochs, 2: epoch and step, 0: the whole run), in order.

    A list of (step as a tuple, dict of metrics); what is logged several times at one step is put together.
    """
    figures = {}
    for event in log_lines(model_dir):
        if event["type"] == "LOG" and isinstance(event["step"], list) and len(event["step"]) == length:
            figures.setdefault(tuple(event["step"]), {}).update(event["data"])
    return sorted(figures.items())


def losses(model_dir):
    """The mean training loss of an epoch so far, after every step with --log_every 1.

    Keys: (epoch, step), or (epoch,) for the last step of an epoch.
    """
    return {step: figures["loss"] for step, figures in logged(model_dir, 2) + logged(model_dir, 1)}


def checkpoint_steps(folder):
    """The steps whose checkpoints are in a folder, in order."""
    names = [name for name in os.listdir(str(folder)) if name.startswith("model.ckpt-") and name.endswith(".index")]
    return sorted(int(name[len("model.ckpt-") : -len(".index")]) for name in names)

"""A trial of the proposed settings: some real steps of training and prediction, in a process of their own.

That process ends with all that TensorFlow took, and its peak of memory is that of the trial alone.
"""

import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple, Optional

import numpy as np

from utils.imaging import tasks
from utils.job import Job
from utils.model_dir.settings import GRID_SETTINGS, TASK_SETTINGS
from utils.planning import network_cost
from utils.system import environment, hardware, memory
from utils.system.files import read_json, write_json_atomically

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STATUS = "/proc/self/status"
# The folder that it was started in, of which relative names tell, may have modules of the same names.
PROGRAM = "import sys; sys.path[0] = sys.argv[1]; from utils.planning import trial; trial.carry_out(sys.argv[2])"
MODES = ("predict", "train")
# What the whole of training takes is seen when prediction has followed it.
AGAIN = "again"
# Steps: those that are left out, and of the others as many as have so many voxels together.
WARMUP, FEWEST, MOST, VOXELS = 2, 3, 40, 2**21
CASES = 2
MOST_SECONDS = 900


class Part(NamedTuple):
    """What was measured of a part: seconds per item, items per step, steps, and the peak of memory (bytes, or None)."""

    seconds: float
    items: int
    steps: int
    peak: Optional[int]


class Trial(NamedTuple):
    """What a trial gave, or why it gave nothing.

    predict, train: a ``Part`` each; again: that of prediction once more, whose peak is that of all three; beside:
    seconds that all took beside their steps; cases: how many they had.
    """

    predict: Optional[Part] = None
    train: Optional[Part] = None
    again: Optional[Part] = None
    beside: float = 0.0
    cases: int = 0
    trouble: Optional[str] = None


def attempt(params, cases):
    """The ``Trial`` of params, with what ``utils.job.Job.description`` holds, on labelled cases of middling size."""
    part = params["crop_shape"] or params["input_shape"]
    needed = network_cost.needed(params, "training", part, params["batch_size"])
    if needed > memory.limit() and not hardware.gpu_names():
        return Trial(trouble="it would take about {:.0f} GB of memory".format(needed / memory.GIGABYTE))
    with tempfile.TemporaryDirectory(prefix="plan.") as folder:
        folders = {name: folder for name in ("model_dir", "log_dir", "cache_dir")}
        request = os.path.join(folder, "request.json")
        names = [case.name for case in cases]
        write_json_atomically(request, {"params": dict(params, **folders), "cases": names})
        begun = time.monotonic()
        try:
            finished = subprocess.run(
                [sys.executable, "-c", PROGRAM, PROJECT, request],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Trial(trouble="it took more than {} minutes".format(MOST_SECONDS // 60))
        if finished.returncode:
            return Trial(trouble=_trouble(finished))
        parts = {mode: Part(**part) for mode, part in read_json(request).items()}
        stepping = sum((WARMUP + part.steps) * part.items * part.seconds for part in parts.values())
        return Trial(beside=max(0.0, time.monotonic() - begun - stepping), cases=len(cases), **parts)


def _trouble(finished):
    if finished.returncode < 0:
        return "signal {} ended it, as where memory runs out".format(-finished.returncode)
    lines = finished.stderr.strip().splitlines()
    return lines[-1] if lines else "status {}".format(finished.returncode)


def middling(facts):
    """The labelled cases whose numbers of voxels are nearest to the median."""
    counts = np.prod(facts.sizes[: facts.training], axis=1)
    return [facts.cases[row] for row in np.argsort(np.abs(counts - np.median(counts)), kind="stable")[:CASES]]


def carry_out(path):
    """The work of the trial's own process: what the file asks for; what it gave is left there instead."""
    request = read_json(path)
    params, task = request["params"], tasks.read_task(request["params"]["data_dir"], refuse_cases=False)
    cases = tuple(case for case in task.training if case.name in request["cases"])
    environment.configure(params)
    described = {name: params[name] for name in TASK_SETTINGS + GRID_SETTINGS}
    work = Job(described, training=cases, predicted=cases[:1])
    # TensorFlow loads here.
    from utils.inference.predictor import batch_size_of
    from utils.runner import run

    found = {}
    # Prediction first, as it takes less: the peak is that of all so far.
    for mode in MODES + (AGAIN,):
        items = params["batch_size"] if mode == "train" else batch_size_of(params)
        steps = 1 if mode == AGAIN else _steps(items, described, mode)
        own = dict(params, exec_mode=mode if mode == "train" else "predict", benchmark=True, synthetic=False)
        own.update(batch_size=items, warmup_steps=WARMUP, benchmark_steps=steps, output=path + mode)
        run(own, work)
        seconds = read_json(own["output"])["latency_ms"]["mean"] / 1000
        found[mode] = Part(seconds / items, items, steps, _peak())._asdict()
    write_json_atomically(path, found)


def _steps(items, described, mode):
    shape = (described["crop_shape"] if mode == "train" else None) or described["input_shape"]
    return int(np.clip(VOXELS // (items * memory.voxels(shape)), FEWEST, MOST))


def _peak():
    """The peak of this process's resident memory in bytes, or None where the system does not tell (Linux does)."""
    try:
        with open(STATUS, encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except OSError:
        return None

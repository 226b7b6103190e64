"""A training that is killed again and again, and started again by the same command, ends as if nothing had been."""

import glob
import os
import random
import re
import signal
import subprocess
import sys
import time
from typing import Dict, NamedTuple

import numpy as np
import pytest
from command_line import (
    EPOCHS,
    PROJECT,
    STEPS_PER_EPOCH,
    TINY,
    checkpoint_steps,
    command,
    log_lines,
    logged,
    losses,
    make_task,
    read_json,
    succeed,
)

from utils.model_dir import checkpoints
from utils.system.environment import available_cores
from utils.visualization.training_log import read_epochs

KILLED_MAIN = os.path.join(PROJECT, "tests", "helpers", "killed_main.py")
WRAPPER = os.path.join(PROJECT, "examples", "vnet_train_and_evaluate.py")
# Seconds that nothing here takes, even on a busy machine.
LIMIT = 300
SECONDS_TO_SAVE = 10


class Kill(NamedTuple):
    """A signal at the call `number` of what `point` of killed_main.py names."""

    point: str
    number: int
    signal: int


class Ended(NamedTuple):
    """What a run came to: its status, what it wrote on standard error, and how long it lived on after the signal."""

    status: int
    errors: str
    seconds: float


class Run:
    """A training on the tiny task that is to be killed; `arguments` are all but the folders."""

    def __init__(self, data_dir, model_dir, arguments):
        self.data_dir = str(data_dir)
        self.model_dir = str(model_dir)
        self.arguments = [str(word) for word in arguments]
        self.arguments += ["--data_dir", self.data_dir, "--model_dir", self.model_dir]

    def killed(self, kill):
        """Run until the kill; an Ended."""
        line = [sys.executable, KILLED_MAIN, kill.point, str(kill.number), str(int(kill.signal))] + self.arguments
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, universal_newlines=True)
        _, errors = process.communicate(timeout=LIMIT)
        told = [line.split()[1] for line in errors.splitlines() if line.startswith("signalled ")]
        return Ended(process.returncode, errors, time.monotonic() - float(told[0]) if told else 0.0)

    def killed_after(self, seconds, what, script=None):
        """Run, as a script of examples/ or by main.py, and send a signal when training has gone on for some seconds."""
        line = [sys.executable, script] + self.arguments if script else command(self.arguments)
        lines = len(self.log())
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, universal_newlines=True)
        while process.poll() is None and not any(re.search(r'"loss": \d', line) for line in self.log()[lines:]):
            time.sleep(0.02)
        time.sleep(seconds)
        began = time.monotonic()
        process.send_signal(what)
        _, errors = process.communicate(timeout=LIMIT)
        return Ended(process.returncode, errors, time.monotonic() - began)

    def log(self):
        path = os.path.join(self.model_dir, "dllogger.json")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [line for line in file if '"LOG"' in line]


def assert_ended_as_asked(ended, what):
    """After SIGTERM and SIGINT: in time, with the status and one line, and no traceback."""
    if what == signal.SIGKILL:
        assert ended.status == -signal.SIGKILL
        return
    assert ended.status == 128 + what, ended.errors
    # Where this machine has much else to do, it takes its time over that.
    assert ended.seconds < SECONDS_TO_SAVE * max(1.0, os.getloadavg()[0] / available_cores())
    assert "Traceback" not in ended.errors
    told = [line for line in ended.errors.splitlines() if line.startswith("main.py: ")]
    assert len(told) == 1
    assert told[0].startswith("main.py: {}".format({signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[what]))


def assert_nothing_wrong(model_dir, good=None):
    """Every file that is there can be read, whole; where `good` is another run's folder, it is what that one wrote."""
    for path in glob.glob(os.path.join(model_dir, "**", "*.json"), recursive=True):
        if not path.endswith("dllogger.json"):
            read_json(path)
    for path in glob.glob(os.path.join(model_dir, "cache", "*.npy")):
        np.load(path)
    for folder in (model_dir, os.path.join(model_dir, "best")):
        last = checkpoints.last_listed(folder)
        assert last is None or checkpoints.damage(last) is None
    read_epochs_of(model_dir)
    if good:
        for part in ("cache", "eval"):
            for name, content in contents(os.path.join(model_dir, part)).items():
                assert content == contents(os.path.join(good, part))[name], name


def read_epochs_of(model_dir):
    path = os.path.join(model_dir, "dllogger.json")
    return read_epochs(path) if os.path.exists(path) else {}


def contents(folder):
    """{file name: bytes} of the finished files in a folder."""
    found: Dict[str, bytes] = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if not name.startswith(".") and os.path.isfile(os.path.join(folder, name)):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return found


def values(folder, step):
    """The values of a checkpoint's variables, by name."""
    from utils.tf_runtime import tf

    reader = tf.train.load_checkpoint(os.path.join(str(folder), "model.ckpt-{}".format(step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def most_repeated(model_dir):
    """The most steps that a start of the command did again, by the log, which with --log_every 1 has every step."""
    step, most = 0, 0
    for event in log_lines(model_dir):
        if event["type"] == "LOG" and event["step"] != "PARAMETER" and "loss" in event["data"]:
            now = event["step"][1] if len(event["step"]) == 2 else event["step"][0] * STEPS_PER_EPOCH
            most, step = max(most, step - now + 1 if now <= step else 0), now
    return most


def all_losses(model_dir):
    """{step: the losses that were logged at it}: steps that were lost and done again have the same ones."""
    seen: Dict[tuple, set] = {}
    for event in log_lines(model_dir):
        if event["type"] == "LOG" and event["step"] != "PARAMETER" and "loss" in event["data"]:
            seen.setdefault(tuple(event["step"]), set()).add(event["data"]["loss"])
    return seen


def assert_same_end(model_dir, good):
    """A run that was killed came to the very bytes of one that was not, and left nothing else behind."""
    assert checkpoint_steps(model_dir) == checkpoint_steps(good)
    for step in checkpoint_steps(good):
        found, expected = values(model_dir, step), values(good, step)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    files, expected = contents(model_dir), contents(good)
    for name in expected:
        if name.startswith("model.ckpt-") and not name.endswith(".meta"):
            assert files[name] == expected[name], name
    best, expected = (os.path.join(folder, "best") for folder in (model_dir, good))
    assert checkpoint_steps(best) == checkpoint_steps(expected)
    assert read_json(best, "score.json") == read_json(expected, "score.json")
    assert read_json(model_dir, "evaluation.json") == read_json(good, "evaluation.json")
    for part in ("cache", "eval"):
        assert contents(os.path.join(model_dir, part)) == contents(os.path.join(good, part))
    assert losses(model_dir) == losses(good)
    assert without_speed(logged(model_dir, 1)) == without_speed(logged(good, 1))
    assert read_epochs_of(model_dir) == read_epochs_of(good)
    assert most_repeated(model_dir) <= STEPS_PER_EPOCH
    assert all(len(found) == 1 for found in all_losses(model_dir).values())
    for folder, _, names in os.walk(model_dir):
        assert not [name for name in names if name.startswith(".")], folder
    names, expected = ({name for name in os.listdir(folder) if "tfevents" not in name} for folder in (model_dir, good))
    assert names == expected


def without_speed(epochs):
    return [
        (step, {name: value for name, value in figures.items() if "second" not in name}) for step, figures in epochs
    ]


# Of all that a run does, in its order; what comes after one kill is done by the next start of the command.
FEW = (
    Kill("array", 5, signal.SIGKILL),
    Kill("step", 6, signal.SIGTERM),
    Kill("held_out", 3, signal.SIGINT),
    Kill("rename", 7, signal.SIGKILL),
)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """The shared model's training, killed at those moments; with the runs' ends, and the last step after each."""
    arguments = TINY + ("--exec_mode", "train_and_evaluate", "--train_epochs", EPOCHS, "--pictures")
    run = Run(model.data_dir, tmp_path_factory.mktemp("killed") / "model", arguments)
    run.ends, run.steps = [], []
    for kill in FEW:
        run.ends.append(run.killed(kill))
        assert_nothing_wrong(run.model_dir, model.model_dir)
        run.steps.append(checkpoint_steps(run.model_dir)[-1:])
    succeed(*run.arguments)
    return run


class TestFewKills:
    def test_each_ended_as_it_was_asked_to(self, run):
        for kill, ended in zip(FEW, run.ends):
            assert_ended_as_asked(ended, kill.signal)

    def test_signals_that_ask_for_it_lose_no_step(self, run):
        # The sixth step is the second of the second epoch. The third evaluation of three cases at a time ends the
        # fourth epoch: it is left to the next start.
        assert run.steps[:3] == [[], [6], [STEPS_PER_EPOCH * 4]]
        told = ": a checkpoint was saved, {}; the same command goes on from there"
        for ended, step in zip(run.ends[1:3], (6, 16)):
            assert ended.errors.splitlines()[-1].endswith(told.format(checkpoints.path_of(run.model_dir, step)))

    def test_the_end_is_that_of_a_run_that_was_not_killed(self, run, model):
        assert_same_end(run.model_dir, model.model_dir)


KILLS = 30
# Long enough for that many kills within it.
LONG = 40
# How often what may be chosen comes at the least in each start of the command, before, in and after training.
AT_FIRST = {"array": 4, "preprocess": 4}
WITHIN = {"step": 9, "held_out": 3, "save": 3, "saved": 3, "rename": 24}
AFTERWARDS = {"mask": 3, "compress": 3, "table": 1}


def draw_kills(draw, count):
    """Kills at random moments, in the order in which a run comes to them."""
    kills = []
    for number in range(count):
        moments = AT_FIRST if number < 3 else WITHIN if number < count - 5 else AFTERWARDS
        point = draw.choice(sorted(moments))
        what = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        kills.append(Kill(point, draw.randint(1, moments[point]), what))
    return kills


@pytest.mark.endurance
class TestManyKills:
    @pytest.mark.parametrize("seed", [0])
    def test_the_end_is_that_of_a_run_that_was_not_killed(self, tmp_path, seed):
        arguments = TINY + ("--exec_mode", "train_and_evaluate", "--train_epochs", LONG)
        data_dir = make_task(tmp_path)
        good, run = Run(data_dir, tmp_path / "good", arguments), Run(data_dir, tmp_path / "killed", arguments)
        succeed(*good.arguments)
        draw = random.Random(seed)
        for number, kill in enumerate(draw_kills(draw, KILLS)):
            # Every fifth kill comes from outside, by the clock, to main.py or to the script that started it.
            by_clock, script = number % 5 == 4 and number < KILLS - 5, draw.choice([None, WRAPPER])
            if by_clock:
                what = signal.SIGTERM if script else kill.signal
                kill = Kill("clock", number, what)
                ended = run.killed_after(draw.uniform(0, 0.3), what, script)
            else:
                ended = run.killed(kill)
            step = checkpoint_steps(run.model_dir)[-1:]
            print(number, kill, bool(by_clock and script), ended.status, step, round(ended.seconds, 1), flush=True)
            assert_nothing_wrong(run.model_dir, good.model_dir)
            assert_ended_as_asked(ended, kill.signal)
        succeed(*run.arguments)
        assert_same_end(run.model_dir, good.model_dir)

"""Two real workers that are killed, or asked to end, together or one of them: the same command finishes the run."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import PROJECT, QUICK_START, SMALLEST, TINY, checkpoint_steps, log_lines, losses, make_task, read_json
from launchers import process_of_rank
from test_kills import SECONDS_TO_SAVE, assert_nothing_wrong, values

from utils.system.environment import available_cores

pytest.importorskip("horovod.tensorflow", reason="Horovod is not installed; `make test` installs it")

SCRIPT = os.path.join(PROJECT, "examples", "vnet_train_and_evaluate.py")
# Seconds that nothing here takes, even on a busy machine: workers that wait for each other for ever are found out.
LIMIT = 600
EPOCHS, STEPS_PER_EPOCH = 40, 4


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("task"))


class Pair:
    """Two workers that a script of examples/ starts, in a model's folder."""

    def __init__(self, data_dir, model_dir, launcher, network=TINY, **variables):
        self.model_dir = str(model_dir)
        self.environment = dict(os.environ, **variables)
        self.line = [sys.executable, SCRIPT, "--gpus", "2", "--launcher", launcher, "--batch_size", "1"]
        self.line += [str(word) for word in network] + ["--train_epochs", str(EPOCHS)]
        self.line += ["--data_dir", data_dir, "--model_dir", self.model_dir]

    def start(self):
        self.began = len(self.log())
        self.process = subprocess.Popen(
            self.line,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            env=self.environment,
        )
        return self.process

    def log(self):
        path = os.path.join(self.model_dir, "dllogger.json")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [line for line in file if re.search(r'"loss": \d', line)]

    def wait_for_steps(self, count):
        """Return when so many steps more have been trained."""
        while self.process.poll() is None and len(self.log()) < self.began + count:
            time.sleep(0.02)
        assert self.process.poll() is None, self.process.communicate()[0]

    def end(self):
        """Wait for the end; return (status, output, seconds), with no process left over."""
        began = time.monotonic()
        output, _ = self.process.communicate(timeout=LIMIT)
        seconds = time.monotonic() - began
        while time.monotonic() < began + 20 and any(process_of_rank(rank, self.model_dir) for rank in (0, 1)):
            time.sleep(0.1)
        assert [process_of_rank(rank, self.model_dir) for rank in (0, 1)] == [None, None]
        return self.process.returncode, output, seconds

    def finish(self, epochs=EPOCHS):
        """Start, and train up to so many epochs in all."""
        self.line += ["--train_epochs", str(epochs)]
        self.start()
        status, output, _ = self.end()
        assert status == 0, output
        assert checkpoint_steps(self.model_dir)[-1] == epochs * STEPS_PER_EPOCH
        # Each step is in the log, and each epoch's mean is that of all its steps.
        assert len(losses(self.model_dir)) == epochs * STEPS_PER_EPOCH
        assert read_json(self.model_dir, "evaluation.json")["mean"]["hard_dice"]

    def stop(self, what, to):
        """Start, ask to end within training, and return what it came to: (status, output, last step)."""
        self.start()
        self.wait_for_steps(6)
        number = self.process.pid if to == "script" else process_of_rank(to, self.model_dir)
        os.kill(number, what)
        status, output, seconds = self.end()
        assert_nothing_wrong(self.model_dir)
        # Neither the workers nor who started them.
        assert "Traceback" not in output, output
        return status, output, seconds, checkpoint_steps(self.model_dir)[-1]


def assert_saved(pair, stopped, what):
    status, output, seconds, step = stopped
    assert status == 128 + what, output
    assert seconds < SECONDS_TO_SAVE * max(1.0, os.getloadavg()[0] / available_cores())
    told = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[what]
    path = os.path.join(pair.model_dir, "model.ckpt-{}".format(step))
    assert output.count("main.py: {}: a checkpoint was saved, {}; the same command".format(told, path)) == 1, output
    # The step that was logged last is the one that was saved.
    last = [event["step"] for event in log_lines(pair.model_dir) if event["type"] == "LOG"][-1]
    assert step == (last[1] if len(last) == 2 else last[0] * STEPS_PER_EPOCH)


@pytest.mark.parametrize("launcher", ["mpirun", "horovodrun"])
def test_both_stop_after_one_step_and_save_it(tmp_path, data_dir, launcher):
    pair = Pair(data_dir, tmp_path / "model", launcher, SMALLEST, **QUICK_START)
    stopped = pair.stop(signal.SIGTERM, "script")
    assert_saved(pair, stopped, signal.SIGTERM)
    # The epoch it was stopped in, and another one.
    pair.finish(epochs=stopped[-1] // STEPS_PER_EPOCH + 2)


@pytest.mark.endurance
class TestManyKills:
    @pytest.mark.parametrize("launcher", ["mpirun", "horovodrun"])
    def test_whoever_is_killed_the_same_command_finishes_it(self, tmp_path, data_dir, launcher):
        pair = Pair(data_dir, tmp_path / "model", launcher)
        before = 0
        for what, to in (
            *((signal.SIGINT, "script"), (signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGTERM, 1)),
            *((signal.SIGTERM, 0), (signal.SIGKILL, "script"), (signal.SIGTERM, "script")),
        ):
            stopped = pair.stop(what, to)
            print(launcher, what, to, stopped[0], stopped[3], round(stopped[2], 1), flush=True)
            if to == "script" and what != signal.SIGKILL:
                assert_saved(pair, stopped, what)
            elif to == "script":
                assert stopped[0] == -signal.SIGKILL
            else:
                # That of a worker, whichever launcher started it; of a killed one the other may learn before.
                assert stopped[0] == 128 + what or (what, stopped[0]) == (signal.SIGKILL, 2), stopped[1]
            assert stopped[3] >= before
            before = stopped[3]
        pair.finish()
        last = values(pair.model_dir, EPOCHS * STEPS_PER_EPOCH)
        assert all(np.isfinite(value).all() for value in last.values())

"""What SIGTERM and Ctrl-C come to where nothing is trained: in the process of the tests, which sends them to itself."""

import os
import shutil
import signal
import time

import pytest
from command_line import TINY, read_json

import main
from utils import data_loader
from utils.inference.masks import MaskWriter
from utils.preprocessing import cache
from utils.system import interruption

TOLD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@pytest.fixture
def interrupted(model, tmp_path, monkeypatch, capsys):
    """Function (mode, object, its function's name, number, signal, flags) -> the model's folder after such a run.

    In a copy of the shared model, the signal comes when the function is called for the time `number`.
    """
    # Only what does not end is to be ended: that would be the tests.
    monkeypatch.setattr(interruption, "SECONDS_TO_END", 600)

    def run(mode, owner, name, number, what, *flags, fresh=False):
        model_dir = str(tmp_path / "model")
        if not fresh:
            shutil.copytree(model.model_dir, model_dir)
            for part in ("eval", "cache"):
                shutil.rmtree(os.path.join(model_dir, part))
            for part in ("evaluation.json", "evaluation.csv"):
                os.remove(os.path.join(model_dir, part))
        function, calls = getattr(owner, name), []

        def called(*arguments, **options):
            calls.append(time.monotonic())
            if len(calls) == number:
                os.kill(os.getpid(), what)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, called)
        where = ["--exec_mode", mode, "--data_dir", model.data_dir, "--model_dir", model_dir, "--threads", "1"]
        assert main.main(where + list(flags)) == 128 + what
        assert len(calls) >= number and time.monotonic() - calls[number - 1] < 10
        errors = capsys.readouterr().err.splitlines()
        assert [line for line in errors if line.startswith("main.py")] == ["main.py: " + TOLD[what]]
        assert not any("Traceback" in line for line in errors)
        for folder, _, names in os.walk(model_dir):
            assert not [name for name in names if name.startswith(".")], folder
        return model_dir

    return run


class TestAtOnce:
    @pytest.mark.parametrize("what", sorted(TOLD))
    def test_preprocessing(self, interrupted, what):
        model_dir = interrupted("train", cache, "prepare_case", 2, what, *TINY, fresh=True)
        assert not os.path.exists(os.path.join(model_dir, "checkpoint"))

    @pytest.mark.parametrize("name", ["write", "_write"])
    def test_prediction(self, interrupted, model, name):
        model_dir = interrupted("predict", MaskWriter, name, 2, signal.SIGTERM)
        assert not os.path.exists(os.path.join(model_dir, "predictions.json"))

    def test_evaluation(self, interrupted, model):
        model_dir = interrupted("evaluate", MaskWriter, "evaluate", 2, signal.SIGINT)
        assert not os.path.exists(os.path.join(model_dir, "evaluation.json"))
        written = os.path.join(model_dir, "eval")
        for name in os.listdir(written):
            with open(os.path.join(written, name), "rb") as found:
                with open(os.path.join(model.model_dir, "eval", name), "rb") as expected:
                    assert found.read() == expected.read()

    def test_before_the_first_step(self, interrupted):
        model_dir = interrupted("train", data_loader.TrainingPlan, "__init__", 1, signal.SIGTERM, *TINY, fresh=True)
        assert read_json(model_dir, "params.json")["train_epochs"]


def test_before_tensorflow_is_loaded(monkeypatch, capsys, tmp_path):
    from utils import params

    def interrupt(argv):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(params, "from_command_line", interrupt)
    assert main.main([]) == 143
    assert capsys.readouterr().err == "main.py: terminated\n"

"""Every flag at nonsense values: refused in one line that names the flag, or accepted for a reason."""

import os
import re

import pytest
from command_line import make_task

import main
from utils import params
from utils.config.flag_values import FOLDER
from utils.config.flags import FLAGS
from utils.config.network_flags import OWN_FLAGS, UNET
from utils.config.network_rules import PATCH_FLAGS

NONSENSE = {
    "empty": "",
    "negative": "-1",
    "zero": "0",
    "huge": "1" + 40 * "0",
    "beyond all numbers": "1e400",
    "not a number": "nan",
    "infinite": "inf",
    "infinite below zero": "-inf",
    "a word": "wrong",
    "two lines": "1\n2",
    "a command of the terminal's": "\x1b[2J",
    "bytes that are no text": "\udcff",
}
NO_NAMES = ("empty", "two lines", "a command of the terminal's", "bytes that are no text")
# Without which a flag is refused for another reason.
COMPANIONS = {name: ["--model=unet"] for name in OWN_FLAGS[UNET]}
COMPANIONS.update((name, ["--sampling=patch"]) for name in PATCH_FLAGS)
COMPANIONS["augment_elastic_knots"] = ["--augment_elastic=1"]
COMPANIONS["lr_warmup_epochs"] = ["--lr_scaling=linear"]
COMPANIONS["flip_axes"] = ["--augment"]
COMPANIONS.update((name, ["--benchmark", "--exec_mode=train"]) for name in ("warmup_steps", "benchmark_steps"))
# What a file of settings may hold in a flag's place.
NONSENSE_IN_JSON = (None, {}, [], [[]], [None], 10**400, float("nan"), float("inf"), -1e300, "\n", "")


def reason_to_accept(flag, sort):
    """Why a flag accepts a value that is nonsense elsewhere; None where it must not."""
    value = NONSENSE[sort]
    if value == "0" and ("from 0" in flag.kind.meaning or flag.kind.meaning.startswith("0 or")):
        return "its help says so"
    made_where_missing = flag.kind is FOLDER and flag.name != "data_dir"
    if made_where_missing and sort not in NO_NAMES:
        return "a folder may be called that"
    return None


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("nonsense"), training=10, test=1)


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_nonsense(name, task, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for sort, value in NONSENSE.items():
        arguments = ["--data_dir", task, "--model_dir", "model", "--{}={}".format(name, value)]
        arguments += COMPANIONS.get(name, [])
        if reason_to_accept(FLAGS[name], sort):
            assert str(params.from_command_line(arguments)[name]) in (value, value + ".0")
            continue
        assert main.main(arguments) == 2, sort
        output, errors = capsys.readouterr()
        assert output == "" and errors.startswith("main.py: error: ") and errors.count("\n") == 1, sort
        assert "--" + name in errors and errors[:-1].isprintable(), errors
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_nonsense_in_a_file_of_settings(name):
    for value in NONSENSE_IN_JSON:
        problem = FLAGS[name].problem(value)
        assert isinstance(problem, str) and "\n" not in problem, value


@pytest.mark.parametrize("argument", ["", "\n", "-", "--", "\udcff", "a\nb", "--no\nflag=1", "@file", "-1"])
def test_nonsense_in_place_of_a_flag(argument, task, capsys):
    assert main.main(["--data_dir", task, argument, "surplus"]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("main.py: error: ") and errors.count("\n") == 1


class TestTooLargeForAnyMachine:
    @pytest.mark.parametrize(
        "flags, told",
        [
            (
                "--input_shape 1024 1024 1024 --batch_size 1000000",
                r"--input_shape 1024 1024 1024: training 9 images at a time takes at least \d+\.\d GB of memory, "
                r"and there are \d+\.\d GB: use a smaller one",
            ),
            (
                "--input_shape 1024 1024 1024 --crop_shape 1024 1024 1016 --downscale_blocks 1 --upscale_blocks 1",
                r"--crop_shape 1024 1024 1016: training .* takes at least",
            ),
            (
                "--exec_mode check --fit pad --spacing 1e-6 1e-6 1e-6",
                r"--spacing 1e-06 1e-06 1e-06: .*case_00.nii.gz would have \d+ x \d+ x \d+ voxels, which take at least",
            ),
            (
                "--fit pad --spacing 1e-6 1e-6 1e-6 --input_shape auto",
                "--input_shape auto: the images of this task need .* voxels, too many to train on at once",
            ),
        ],
    )
    def test_is_refused_with_figures(self, task, tmp_path, capsys, flags, told, monkeypatch):
        # There are larger machines.
        monkeypatch.setattr("utils.system.memory.limit", lambda: 64 * 10**9)
        assert main.main(["--data_dir", task, "--model_dir", str(tmp_path / "model")] + flags.split()) == 2
        errors = capsys.readouterr().err
        assert re.search(told, errors), errors
        assert not os.path.exists(str(tmp_path / "model"))

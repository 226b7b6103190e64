"""The benchmark's environment for PyTorch: made once, and done without where it cannot be made."""

import os
import shutil

import pytest
from test_setup import ROOT, machine  # noqa: F401

SCRIPT = "setup/install_torch.sh"


@pytest.fixture
def prepared(machine):  # noqa: F811
    (machine.clone / "benchmarks").mkdir()
    shutil.copy(os.path.join(ROOT, "benchmarks", "requirements.txt"), str(machine.clone / "benchmarks"))
    return machine


def test_made_once_whatever_interpreter_the_recipe_runs_on(prepared):
    prepared.python("3.7")
    prepared.python("3.11")
    status, output, errors = prepared.run(SCRIPT, PYTHON="python3.7")
    assert (status, output) == (0, "") and ".venv-torch is ready" in errors
    (call,) = prepared.pip_calls()
    assert "-r benchmarks/requirements.txt" in call
    assert prepared.run(SCRIPT) == (0, "", "") and prepared.pip_calls() == [call]


def test_made_anew_when_the_requirements_change(prepared):
    prepared.python("3.11")
    prepared.run(SCRIPT)
    with open(str(prepared.clone / "benchmarks" / "requirements.txt"), "a") as file:
        file.write("six==1.17.0\n")
    prepared.run(SCRIPT)
    assert len(prepared.pip_calls()) == 2


def test_one_that_cannot_be_installed_is_done_without(prepared):
    prepared.python("3.11")
    broken = prepared.directory / "pip.log.broken"
    broken.touch()
    status, output, errors = prepared.run(SCRIPT)
    assert (status, output) == (0, "")
    assert errors.splitlines()[-1].startswith("setup: the benchmark goes on without PyTorch: it could not be installed")
    assert not (prepared.clone / ".venv-torch").exists()
    broken.unlink()
    assert "is ready" in prepared.run(SCRIPT)[2]


def test_no_interpreter_for_it(prepared):
    prepared.python("3.7")
    status, output, errors = prepared.run(SCRIPT)
    assert (status, output) == (0, "") and errors.count("\n") == 1
    assert "goes on without PyTorch: this machine has no Python 3.9 to 3.11" in errors


def test_requirements_are_exact_and_no_part_of_the_recipes():
    with open(os.path.join(ROOT, "benchmarks", "requirements.txt")) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    assert [line.count("==") for line in lines] == [1]
    for name in os.listdir(ROOT):
        if name.startswith("requirements"):
            with open(os.path.join(ROOT, name)) as file:
                assert "\ntorch" not in file.read()

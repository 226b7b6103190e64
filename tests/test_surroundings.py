"""What a process may find around it, and may lack: variables, streams, packages, address space."""

import json
import os
import subprocess
import sys

import pytest
from command_line import PROJECT, SMALLEST, command, make_task, run_main, succeed

from utils.system import environment, launch, startup
from utils.system.errors import UserError

JUPYTER = "module://matplotlib_inline.backend_inline"
CHIEF_ELSEWHERE = '{"cluster": {"chief": ["far.example:2222"], "worker": ["a.example:1"]}, "task": {"type": "worker"}}'
PROGRAMS = ("main.py", "download_dataset.py", "examples/vnet_train.py", "examples/vnet_benchmark.py")
PROGRAMS += ("examples/vnet_predict.py", "examples/vnet_train_and_evaluate.py")
PROGRAMS += ("benchmarks/bench.py", "benchmarks/accuracy_run.py")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The folder of a tiny task, which the tests only read."""
    return make_task(tmp_path_factory.mktemp("surroundings"))


def in_shell(setting, arguments):
    """Run a command line (list of str) in a shell after a setting, or with redirections; return what came of it."""
    script = 'ulimit -c 0; {} "$@" {}'.format(*(setting + " exec", "") if "ulimit" in setting else ("exec", setting))
    return subprocess.run(
        ["bash", "-c", script, "bash"] + list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        cwd=PROJECT,
        timeout=120,
    )


def assert_one_line(finished, told):
    """A run ended with status 2, and with one line, which says that."""
    assert finished.returncode == 2, finished.stderr
    (line,) = finished.stderr.splitlines()
    assert "error: " in line and told in line


def test_a_training_as_jupyter_and_a_cluster_start_it(task, tmp_path):
    variables = {"MPLBACKEND": JUPYTER, "TF_CONFIG": CHIEF_ELSEWHERE}
    arguments = ["--exec_mode", "train_and_evaluate", "--data_dir", task, "--model_dir", tmp_path, "--pictures"]
    finished = succeed(*arguments, "--train_epochs", "1", *SMALLEST, environment=variables)
    assert finished.output.count("TF_CONFIG is left out of account") == 1
    assert (tmp_path / "training_curves.png").exists()


@pytest.mark.parametrize("backend", [JUPYTER, "nonsense", "tkagg"])
def test_drawing_does_not_ask_for_a_backend(backend):
    look = "import os\nfrom utils.visualization import plotting\nprint(os.environ['MPLBACKEND'])"
    variables = dict(os.environ, MPLBACKEND=backend)
    output = subprocess.check_output([sys.executable, "-c", look], cwd=PROJECT, env=variables, universal_newlines=True)
    assert output.strip() == backend


@pytest.mark.parametrize("value", ["{broken", '{"cluster": {"worker": ["a.example:1"]}, "task": {"type": "worker"}}'])
def test_the_estimator_does_not_see_tf_config(value, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", value)
    environment.configure({"threads": 1, "amp": False, "xla": False, "no_tf32": False, "folds": 0})
    assert "TF_CONFIG" not in os.environ
    assert "TF_CONFIG is left out of account" in capsys.readouterr().out


def test_an_interpreter_without_docstrings(task, tmp_path):
    arguments = ["--exec_mode", "train", "--data_dir", task, "--model_dir", tmp_path, *SMALLEST]
    finished = run_main(*arguments, environment={"PYTHONOPTIMIZE": "2"})
    assert finished.status == 2 and finished.errors.startswith("main.py: error: PYTHONOPTIMIZE=2, or python -OO, ")


class TestStreams:
    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
    def test_a_closed_one_is_like_dev_null(self, closed, task, tmp_path):
        output = str(tmp_path / "found.json")
        arguments = command(["--exec_mode", "check", "--data_dir", task, "--output", output])
        finished = in_shell(closed, arguments)
        assert finished.returncode == 0, finished.stderr
        with open(output, encoding="utf-8") as file:
            assert json.load(file)

    def test_where_an_error_cannot_be_told_the_status_does(self):
        assert in_shell("2>&-", command(["--exec_mode", "nonsense"])).returncode == 2

    def test_a_full_one_for_progress_takes_nothing_from_the_work(self, task, tmp_path):
        output = str(tmp_path / "found.json")
        finished = in_shell("2>/dev/full", command(["--exec_mode", "check", "--data_dir", task, "--output", output]))
        assert finished.returncode == 0 and os.path.getsize(output)


def test_a_working_directory_that_is_gone(tmp_path):
    script = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$@" --data_dir task'
    arguments = ["bash", "-c", script, "bash", str(tmp_path / "gone")] + command(["--exec_mode", "train"])
    finished = subprocess.run(arguments, stderr=subprocess.PIPE, universal_newlines=True, stdin=subprocess.DEVNULL)
    assert_one_line(finished, "the folder in which this command was given is gone")


class TestPackages:
    @pytest.mark.parametrize("program", PROGRAMS)
    def test_missing_ones_are_told_with_the_way_to_get_them(self, program):
        # Without its site-packages, the interpreter is as one outside of the environment.
        finished = in_shell("", [sys.executable, "-S", os.path.join(PROJECT, program), "--help"])
        assert_one_line(finished, "has no package ")
        assert finished.stderr.startswith(os.path.basename(program))
        assert sys.executable in finished.stderr and ("activate" in finished.stderr)

    def test_a_library_that_cannot_be_loaded(self):
        outer = ImportError("Traceback (most recent call last):\nImportError: libthing.so.1: cannot open shared object")
        told = startup.in_one_line(outer)
        assert isinstance(told, UserError) and "libthing.so.1: cannot open shared object: make the" in str(told)

    @pytest.mark.parametrize("name", ["utils.imaging.case_files", "main"])
    def test_faults_of_our_own_stay_what_they_are(self, name):
        error = ModuleNotFoundError("no module", name=name)
        assert startup.in_one_line(error) is error


class TestAddressSpace:
    @pytest.mark.parametrize("kilobytes", [200000, 600000, 1500000, 2200000])
    def test_too_little_is_told(self, kilobytes, task, tmp_path):
        arguments = ["--exec_mode", "train", "--data_dir", task, "--model_dir", tmp_path, *SMALLEST]
        finished = in_shell("ulimit -v {};".format(kilobytes), command(arguments))
        assert_one_line(finished, "{:.1f} GB of address space (ulimit -v)".format(kilobytes * 1024 / 1e9))

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
    def test_memory_that_runs_out_is_told(self, error):
        assert str(startup.in_one_line(error)).startswith("out of memory: ")


class TestLaunchers:
    @pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "HOROVOD_SIZE"])
    def test_a_size_without_a_rank_is_left_over(self, name, monkeypatch):
        monkeypatch.setenv(name, "2")
        with pytest.raises(
            UserError, match="^{}=2 tells of several workers, but .*RANK is not set: .*unset".format(name)
        ):
            launch.refuse_leftovers()
        monkeypatch.setenv(name.replace("SIZE", "RANK"), "0")
        launch.refuse_leftovers()

    def test_a_folder_that_open_mpi_has_removed(self, monkeypatch, tmp_path):
        for name, value in (("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "0")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PMIX_SERVER_TMPDIR", str(tmp_path))
        launch.refuse_leftovers()
        monkeypatch.setenv("PMIX_SERVER_TMPDIR", str(tmp_path / "gone"))
        with pytest.raises(UserError, match="the folder that PMIX_SERVER_TMPDIR names, .*gone, is gone"):
            launch.refuse_leftovers()

    def test_before_anything_is_done(self, task):
        finished = run_main("--exec_mode", "check", "--data_dir", task, environment={"OMPI_COMM_WORLD_SIZE": "2"})
        assert finished.status == 2 and finished.errors.startswith("main.py: error: OMPI_COMM_WORLD_SIZE=2 ")

"""The command lines that start workers, and how the scripts run them."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from launchers import PROJECT, Machine

from examples import launching
from utils.system.errors import UserError

MAIN = os.path.join(PROJECT, "main.py")
FOLDERS = ("--data_dir", "no_such_task", "--model_dir", "no_such_model")


@pytest.fixture
def machine(tmp_path):
    """A Machine whose mpirun and horovodrun end at once."""
    made = Machine(tmp_path)
    made.install("mpirun", "exit 0")
    made.install("horovodrun", "exit 0")
    return made


def launched(machine, *arguments):
    """The command line that vnet_train.py runs."""
    ended = machine.run("vnet_train.py", *FOLDERS + arguments)
    assert ended.status == 0, ended.errors
    return ended.command


class TestOneWorker:
    def test_needs_no_launcher(self, tmp_path):
        ended = Machine(tmp_path).run("vnet_train.py", "--gpus", 1, *FOLDERS)
        assert ended.command[:4] == [str(tmp_path / "bin" / "python"), MAIN, "--exec_mode", "train"]
        assert ended.status == 2
        assert ended.errors.startswith("main.py: error: --data_dir no_such_task: ")

    def test_is_the_default(self, tmp_path):
        assert Machine(tmp_path).run("vnet_train.py", *FOLDERS).command[1] == MAIN

    def test_on_a_named_host_has_a_launcher(self, machine):
        command = launched(machine, "--hosts", "elsewhere")
        assert command[:5] == [os.path.join(machine.bin, "mpirun"), "-np", "1", "-H", "elsewhere:1"]


class TestMpirun:
    def test_starts_main_py_as_often_as_asked_on_this_machine(self, machine):
        command = launched(machine, "--gpus", 3)
        assert command[:5] == [os.path.join(machine.bin, "mpirun"), "-np", "3", "-H", "localhost:3"]
        start = command.index(os.path.join(machine.bin, "python"))
        assert command[start + 1 : start + 4] == [MAIN, "--exec_mode", "train"]

    def test_spreads_over_hosts(self, machine):
        command = launched(machine, "--gpus", 5, "--hosts", "one:4,two:4")
        assert command[1:5] == ["-np", "5", "-H", "one:4,two:4"]

    def test_fills_the_hosts_by_default(self, machine):
        assert launched(machine, "--hosts", "one:4,two")[1:5] == ["-np", "5", "-H", "one:4,two:1"]

    def test_binds_no_worker_to_a_core(self, machine):
        assert "--bind-to none --map-by slot" in " ".join(launched(machine, "--gpus", 2))

    def test_passes_on_what_other_machines_need_and_no_more(self, machine):
        command = launched(machine, "--gpus", 2)
        passed = [command[place + 1] for place, word in enumerate(command) if word == "-x"]
        assert passed == ["LD_LIBRARY_PATH", "NCCL_DEBUG", "PATH", "TF_XLA_FLAGS"]

    @pytest.mark.parametrize(
        "name",
        ["NVIDIA_TF32_OVERRIDE", "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT", "TF_GPU_THREAD_MODE", "NCCL_DEBUG"],
    )
    def test_passes_on_what_sets_how_gpus_compute(self, machine, name):
        machine.environment[name] = "1"
        assert "-x {} ".format(name) in " ".join(launched(machine, "--gpus", 2))

    @pytest.mark.parametrize("name", ["TF_VAR_USE_KEY", "TF_USER", "NVIDIA_API_KEY", "NVIDIA_TF32_OVERRIDES"])
    def test_passes_on_nothing_of_a_similar_name(self, machine, name):
        machine.environment[name] = "1"
        assert name not in launched(machine, "--gpus", 2)

    def test_root_is_allowed_only_where_it_is_root(self, machine):
        assert ("--allow-run-as-root" in launched(machine, "--gpus", 2)) == (os.geteuid() == 0)

    def test_waiting_workers_yield_where_there_is_no_gpu(self, machine):
        assert "--mca mpi_yield_when_idle 1" in " ".join(launched(machine, "--gpus", 2))

    def test_waiting_workers_are_quick_where_there_are_gpus(self, machine):
        machine.install("nvidia-smi", "echo 'GPU 0: Tesla V100 (UUID: GPU-0)'; echo 'GPU 1: Tesla V100 (UUID: GPU-1)'")
        assert "mpi_yield_when_idle" not in launched(machine, "--gpus", 2)

    def test_is_found_in_path_too(self, machine, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        os.rename(os.path.join(machine.bin, "mpirun"), str(elsewhere / "mpirun"))
        machine.environment["PATH"] += os.pathsep + str(elsewhere)
        assert launched(machine, "--gpus", 2)[0] == str(elsewhere / "mpirun")


class TestHorovodrun:
    def test_starts_main_py(self, machine):
        command = launched(machine, "--gpus", 2, "--launcher", "horovodrun")
        assert command[:6] == [os.path.join(machine.bin, "horovodrun"), "-np", "2", "-H", "localhost:2", "--gloo"]
        assert command[6:8] == [os.path.join(machine.bin, "python"), MAIN]

    def test_spreads_over_hosts(self, machine):
        command = launched(machine, "--launcher", "horovodrun", "--hosts", "one:1,two:2")
        assert command[1:5] == ["-np", "3", "-H", "one:1,two:2"]


class TestRefusals:
    @pytest.mark.parametrize("launcher", launching.LAUNCHERS)
    def test_missing_launcher_is_one_line_that_says_what_to_install(self, tmp_path, launcher):
        ended = Machine(tmp_path).run("vnet_train.py", "--gpus", 2, "--launcher", launcher, *FOLDERS)
        assert (ended.status, ended.output) == (2, "")
        start = "vnet_train.py: error: several workers need {}, which is not installed: run `make setup`"
        assert ended.errors.startswith(start.format(launcher))
        assert ended.errors.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments, told",
        [
            (("--gpus", "0"), "--gpus: '0' is not a whole number from 1"),
            (("--gpus", "two"), "--gpus: 'two' is not a whole number from 1"),
            (("--hosts", "one:0"), "--hosts: 'one:0' is not of the form host1:4,host2:4"),
            (("--hosts", "one,,two"), "--hosts: 'one,,two' is not of the form host1:4,host2:4"),
            (("--launcher", "ssh"), "--launcher: invalid choice: 'ssh'"),
            (("--gpus", "4", "--hosts", "one:2,two"), "--gpus 4: --hosts has places for 3 workers only"),
            (("--exec_mode", "predict"), "--exec_mode: invalid choice: 'predict'"),
        ],
    )
    def test_one_line(self, machine, arguments, told):
        ended = machine.run("vnet_train.py", *FOLDERS + arguments)
        assert (ended.status, ended.output) == (2, "")
        assert ended.errors.startswith("vnet_train.py: error: " + told)
        assert ended.errors.count("\n") == 1

    def test_more_workers_than_gpus(self, machine):
        machine.install("nvidia-smi", "echo 'GPU 0: Tesla V100 (UUID: GPU-0)'")
        ended = machine.run("vnet_train.py", "--gpus", 2, *FOLDERS)
        assert ended.status == 2
        assert ended.errors == "vnet_train.py: error: --gpus 2: this machine has 1; --hosts names others\n"

    def test_folders_are_asked_for(self, machine):
        ended = machine.run("vnet_train.py")
        told = "vnet_train.py: error: the following arguments are required: --data_dir, --model_dir\n"
        assert (ended.status, ended.errors) == (2, told)


class TestReading:
    def test_hosts(self):
        assert launching.read_hosts("one:4,10.0.0.2:16,three") == [("one", 4), ("10.0.0.2", 16), ("three", 1)]

    @pytest.mark.parametrize("text", ["", "one:", ":4", "one:4:5", "-one:4", "one:-1", "one two"])
    def test_refused_hosts(self, text):
        with pytest.raises(argparse.ArgumentTypeError, match="is not of the form host1:4,host2:4"):
            launching.read_hosts(text)

    def test_what_cannot_be_started_is_told(self, tmp_path):
        with pytest.raises(UserError, match="no_such_program: cannot be started: No such file"):
            launching.run([str(tmp_path / "no_such_program")])


# What Horovod's launcher writes of a worker that failed.
FAILING = """
echo '[0]<stderr>:Traceback of a worker' >&2
echo 'exits' >&2
echo 'Traceback (most recent call last):
  File "launch.py", line 6, in launch_gloo
[0]<stderr>:late
    raise RuntimeError("Horovod detected
RuntimeError: Horovod detected that one or more processes failed. The first process to do so was:
Process name: 1
Exit code: {code}
' >&2
exit 1
"""


class TestExitStatus:
    @pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)])
    def test_is_the_commands(self, machine, script, status):
        machine.install("mpirun", script)
        assert machine.run("vnet_train.py", "--gpus", 2, *FOLDERS).status == status

    @pytest.mark.parametrize("code, status", [(143, 143), (2, 2), (-9, 137)])
    def test_of_horovodrun_is_that_of_the_worker_that_failed(self, machine, code, status):
        machine.install("horovodrun", FAILING.format(code=code))
        ended = machine.run("vnet_train.py", "--gpus", 2, "--launcher", "horovodrun", *FOLDERS)
        told = "horovodrun: worker 1 ended with the status {}".format(status)
        assert ended.errors.splitlines() == ["[0]<stderr>:Traceback of a worker", "exits", "[0]<stderr>:late", told]
        assert ended.status == status

    def test_what_is_no_worker_s_fault_is_told_as_it_is(self, machine):
        lines = ["Traceback (most recent call last):", "  File launch.py", "ValueError: Gloo is missing"]
        machine.install("horovodrun", "printf '{}\\n' >&2; exit 1".format("\\n".join(lines)))
        ended = machine.run("vnet_train.py", "--gpus", 2, "--launcher", "horovodrun", *FOLDERS)
        assert (ended.status, ended.errors.splitlines()) == (1, lines)

    def test_arguments_go_through_without_a_shell(self, machine):
        machine.install("mpirun", 'for word in "$@"; do echo "[$word]"; done')
        awkward = ("--data_dir", "a b; $HOME '*' \"", "--model_dir", "m", "--gpus", 2, "--note", "$(exit 3)")
        ended = machine.run("vnet_predict.py", *awkward)
        assert "[a b; $HOME '*' \"]\n" in ended.output
        assert ended.output.endswith("[--note]\n[$(exit 3)]\n")


# Says that it runs and as which process, then what it is asked to end by; ends when it is hung up.
WAITING = """
trap 'echo got INT' INT
trap 'echo got TERM' TERM
trap 'echo got HUP; exit 5' HUP
echo $$ waits
while :; do /bin/sleep 0.1; done
"""


class TestSignals:
    @pytest.fixture
    def waiting(self, machine):
        """(Popen of a script whose command waits, the command's process)."""
        machine.install("mpirun", WAITING)
        process = machine.start("vnet_train.py", "--gpus", 2, *FOLDERS)
        process.stdout.readline()
        command = int(process.stdout.readline().split()[0])
        yield process, command
        for end in (process.kill, lambda: os.kill(command, signal.SIGKILL)):
            with contextlib.suppress(ProcessLookupError):
                end()
        process.communicate()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_are_passed_on_once_and_the_command_decides(self, waiting, number):
        process, _ = waiting
        process.send_signal(number)
        assert process.stdout.readline() == "got {}\n".format(number.name[3:])
        process.send_signal(signal.SIGHUP)
        assert process.communicate() == ("got HUP\n", "")
        assert process.returncode == 5

    def test_ctrl_c_reaches_the_command_once(self, machine, waiting):
        process, command = waiting
        # The terminal sends it to all processes of a group.
        assert os.getpgid(command) != os.getpgid(process.pid)

    def test_the_command_does_not_outlive_the_script(self, waiting):
        process, _ = waiting
        process.kill()
        assert process.stdout.readline() == "got TERM\n"


# A launcher that starts two workers and ends as Horovod's does: with 1 where one of them did not end with 0.
LAUNCHER = """
import os, signal, subprocess, sys
def end(number, frame):
    os.write(1, b"launcher got TERM\\n")
    for worker in workers:
        worker.kill()
signal.signal(signal.SIGTERM, end)
workers = [subprocess.Popen([sys.executable] + sys.argv[1:]) for _ in range(2)]
sys.exit(any([worker.wait() for worker in workers]))
"""
WORKER = """
import os, signal, sys, time
def end(number, frame):
    os.write(1, b"worker got TERM\\n")
    if sys.argv[1] == "ends":
        sys.exit(143)
signal.signal(signal.SIGTERM, end)
os.write(1, b"worker waits\\n")
time.sleep(60)
"""
# Runs a launcher of the workers of its second argument.
RUNNER = """
import sys
from examples.processes import Process
with Process([sys.executable] + sys.argv[1:], worker=sys.argv[2]) as process:
    sys.exit(process.wait())
"""


class TestWorkers:
    @pytest.fixture
    def start(self, tmp_path):
        """Function (what the workers do when they are asked to end) -> the process that runs the launcher."""
        for name, content in (("launcher.py", LAUNCHER), ("worker.py", WORKER)):
            (tmp_path / name).write_text(content)
        started = []

        def run(deed):
            line = [sys.executable, "-c", RUNNER, str(tmp_path / "launcher.py"), str(tmp_path / "worker.py"), deed]
            process = subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.PIPE, universal_newlines=True)
            started.append(process)
            assert [process.stdout.readline() for _ in range(2)] == ["worker waits\n"] * 2
            return process

        yield run
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()

    def test_they_get_the_first_signal_and_end_by_themselves(self, start):
        process = start("ends")
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == "worker got TERM\n" * 2
        assert process.returncode == 143

    def test_the_launcher_gets_the_second(self, start):
        process = start("stays")
        for _ in range(3):
            # Within half a second they are one.
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert [process.stdout.readline() for _ in range(2)] == ["worker got TERM\n"] * 2
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert "launcher got TERM\n" in process.communicate()[0]
        assert process.returncode == 143


class TestRealMpirun:
    def test_main_py_refuses_unknown_flags_itself_and_its_status_comes_back(self):
        try:
            launching.find_launcher("mpirun")
        except UserError as error:
            pytest.skip(str(error))
        command = launching.example_command(
            "vnet_predict.py", "", "predict", argv=list(FOLDERS) + ["--gpus", "2", "--no_such_flag", "1"]
        )
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        assert ended.returncode == 2
        assert "main.py: error: --no_such_flag: no such flag" in ended.stderr

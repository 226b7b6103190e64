import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import pytest
from command_line import PROJECT

from utils.model_dir import lock as run_lock
from utils.system.errors import UserError

HOLDING = """
import sys, time
from utils.model_dir import lock as run_lock
params = dict(model_dir=sys.argv[1], cache_dir=sys.argv[1] + "/cache", folds=0, benchmark=False)
with run_lock.held(params, ["--its", "a b"]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def params(tmp_path):
    folder = str(tmp_path / "model")
    return {
        "model_dir": folder,
        "log_dir": folder,
        "cache_dir": os.path.join(folder, "cache"),
        "folds": 0,
        "benchmark": False,
    }


@pytest.fixture
def other(params):
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLDING, params["model_dir"]]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.fixture
def unwritable():
    """A folder that this process may not write into, the disk's superuser or not."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    shutil.rmtree(folder)


def lock_of(params):
    return os.path.join(params["model_dir"], run_lock.FILE_NAME)


def assert_free(params):
    with run_lock.held(params, []):
        pass


class TestOneAtATime:
    def test_the_second_is_refused_and_told_of_the_first(self, params, other):
        message = (
            r"^--model_dir .*model: .*model is in use by another run \(process {} on {} since \d{{4}}-\d\d-\d\d "
            r"\d\d:\d\d:\d\d: main.py --its 'a b'\): wait for its end, or use another --model_dir$"
        )
        with pytest.raises(UserError, match=message.format(other.pid, os.uname().nodename)):
            assert_free(params)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_it_ends_with_its_process(self, params, other, number):
        other.send_signal(number)
        other.wait()
        # What the killed one has left is no hindrance.
        assert os.path.exists(lock_of(params))
        assert_free(params)
        assert os.listdir(params["model_dir"]) == []

    def test_nothing_is_left_behind(self, params):
        assert_free(params)
        with pytest.raises(ZeroDivisionError), run_lock.held(params, []):
            raise ZeroDivisionError
        assert os.listdir(params["model_dir"]) == []
        assert_free(params)

    def test_the_same_folder_by_another_path(self, params, tmp_path):
        with run_lock.held(params, []):
            os.symlink(params["model_dir"], str(tmp_path / "link"))
            with pytest.raises(UserError, match="link is in use by another run"):
                assert_free(dict(params, model_dir=str(tmp_path / "link")))

    def test_folds_are_held_as_well(self, params):
        with run_lock.held(dict(params, folds=2), []):
            fold = os.path.join(params["model_dir"], "fold_1")
            with pytest.raises(UserError, match="fold_1 is in use by another run"):
                assert_free(dict(params, model_dir=fold))
        with run_lock.held(dict(params, model_dir=fold), []):
            with pytest.raises(UserError, match="^--model_dir .*model: .*fold_1 is in use"):
                assert_free(dict(params, folds=2))
        assert_free(dict(params, folds=2))

    def test_the_first_worker_holds_it_for_all(self, params, monkeypatch):
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
        with run_lock.held(params, []):
            with pytest.raises(UserError, match="in use"):
                assert_free(params)
            monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
            assert_free(params)
            assert os.path.exists(lock_of(params))

    @pytest.mark.parametrize("folder", ["log_dir", "cache_dir"])
    def test_a_benchmark_that_writes_there(self, params, folder, tmp_path):
        benchmark = dict(params, benchmark=True, log_dir=str(tmp_path / "log"), cache_dir=str(tmp_path / "cache"))
        with run_lock.held(params, []):
            assert_free(benchmark)
            with pytest.raises(UserError, match="in use"):
                assert_free(dict(benchmark, **{folder: params[folder]}))

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"host": "here"}', "\udcff"])
    def test_what_is_not_known_of_the_first_is_left_out(self, params, content):
        with run_lock.held(params, []):
            with open(lock_of(params), "wb") as file:
                file.write(content.encode("utf-8", "surrogateescape"))
            with pytest.raises(UserError, match="model is in use by another run: wait"):
                assert_free(params)

    def test_a_long_command_of_several_lines_is_one_short_line(self, params):
        with run_lock.held(params, ["--images"] + ["sc\nan\udcff.nii"] * 1000):
            with pytest.raises(UserError) as refused:
                assert_free(params)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 600

    def test_many_that_come_and_go_are_never_two_at_a_time(self, params, tmp_path):
        # Each makes a folder that must not be there, and removes it.
        code = """
import os, sys, time
from utils.model_dir import lock as run_lock
from utils.system.errors import UserError
params = dict(model_dir=sys.argv[1], cache_dir=sys.argv[1] + "/cache", folds=0, benchmark=False)
end, held = time.monotonic() + 1.0, 0
while time.monotonic() < end:
    try:
        with run_lock.held(params, []):
            os.mkdir(sys.argv[2])
            os.rmdir(sys.argv[2])
            held += 1
    except UserError:
        pass
sys.exit(0 if held > 3 else 3)
"""
        command = [sys.executable, "-c", code, params["model_dir"], str(tmp_path / "alone")]
        processes = [subprocess.Popen(command, cwd=PROJECT) for _ in range(3)]
        assert [process.wait() for process in processes] == [0, 0, 0]


class TestFolder:
    def test_one_that_cannot_be_written(self, params, unwritable):
        params = dict(params, model_dir=os.path.join(unwritable, "model"))
        with pytest.raises(UserError, match=r"^--model_dir .*model: .* cannot be written \(Permission denied\): every"):
            assert_free(params)

    def test_one_on_a_read_only_disk(self, params):
        # Of the kernel's own file systems nobody may write into.
        with pytest.raises(UserError, match=r"^--model_dir /proc/model: .* cannot be written \("):
            assert_free(dict(params, model_dir="/proc/model"))

    def test_without_locks_it_goes_on_with_a_notice(self, params, monkeypatch, capsys):
        def refuse(descriptor, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with run_lock.held(params, []):
            assert_free(params)
        assert "model: this file system has no locks" in capsys.readouterr().out

    @pytest.mark.parametrize("error", [None, ValueError("the parent folder is gone"), UserError("1 of 3 cases")])
    def test_one_that_goes_away(self, params, error):
        with pytest.raises(UserError, match="^--model_dir .*model: was deleted, moved or replaced while") as told:
            with run_lock.held(params, []):
                shutil.rmtree(params["model_dir"])
                os.mkdir(params["model_dir"])
                if error is not None:
                    raise error
        assert ("1 of 3 cases" in str(told.value)) == isinstance(error, UserError)

    def test_a_link_out_of_it_is_not_followed(self, params, tmp_path):
        (tmp_path / "precious").write_text("kept")
        os.mkdir(params["model_dir"])
        os.symlink(str(tmp_path / "precious"), lock_of(params))
        with pytest.raises(UserError, match=r"\.lock cannot be written"):
            assert_free(params)
        assert (tmp_path / "precious").read_text() == "kept"

    def test_its_permissions_are_the_users(self, params):
        before = os.umask(0o027)
        try:
            with run_lock.held(params, []):
                assert stat.S_IMODE(os.stat(lock_of(params)).st_mode) == 0o640
        finally:
            os.umask(before)

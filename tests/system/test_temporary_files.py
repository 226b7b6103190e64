import os
import subprocess
import sys

from utils.system.files import replace_on_success
from utils.system.temporary_files import remove_leftovers, temporary_name

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Begins a file and a folder in the given one, says their names, and waits to be killed.
BEGINS = """
import os, sys
from utils.system.temporary_files import temporary_name
names = [temporary_name(".table.csv"), temporary_name(".saving")]
open(os.path.join(sys.argv[1], names[0]), "w").close()
os.makedirs(os.path.join(sys.argv[1], names[1], "within"))
print(*names, flush=True)
sys.stdin.read()
"""


def begin(folder):
    """A process that has begun to write to a folder, and the names of what it writes."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGINS, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        universal_newlines=True,
        cwd=PROJECT,
    )
    return process, set(process.stdout.readline().split())


class TestLeftovers:
    def test_those_of_a_killed_process_go_and_those_of_a_living_one_stay(self, tmp_path):
        (dead, its_names), (living, other_names) = begin(tmp_path), begin(tmp_path)
        try:
            dead.kill()
            dead.communicate()
            assert len(its_names | other_names) == 4 and set(os.listdir(str(tmp_path))) == its_names | other_names
            remove_leftovers(str(tmp_path))
            assert set(os.listdir(str(tmp_path))) == other_names
        finally:
            living.kill()
            living.communicate()

    def test_those_of_another_machine_stay(self, tmp_path, monkeypatch):
        (tmp_path / temporary_name(".one")).write_text("")
        monkeypatch.setattr("socket.gethostname", lambda: "another")
        remove_leftovers(str(tmp_path))
        assert len(os.listdir(str(tmp_path))) == 1

    def test_those_of_an_earlier_process_with_this_number_go(self, tmp_path):
        # As in a container that is started again.
        (tmp_path / temporary_name(".one")).write_text("")
        remove_leftovers(str(tmp_path))
        assert os.listdir(str(tmp_path)) == []

    def test_nothing_else_goes(self, tmp_path):
        names = {".hidden", ".0123abcd-1-", "case.npy", temporary_name(".x")[1:], ".zzzzzzzz-1-0123456789ab.x"}
        for name in names:
            (tmp_path / name).write_text("")
        remove_leftovers(str(tmp_path))
        assert set(os.listdir(str(tmp_path))) == names

    def test_folders_that_are_not_there(self, tmp_path):
        remove_leftovers(str(tmp_path / "missing"), str(tmp_path))
        assert os.listdir(str(tmp_path)) == []

    def test_what_is_written_by_rename_is_what_would_be_removed(self, tmp_path):
        with replace_on_success(str(tmp_path / "table.csv")) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            remove_leftovers(str(tmp_path))
            assert not os.path.exists(temporary)
            with open(temporary, "w") as file:
                file.write("whole")
        assert (tmp_path / "table.csv").read_text() == "whole"


def test_names_are_new_each_time():
    names = {temporary_name(".x") for _ in range(100)}
    assert len(names) == 100 and all(name.startswith(".") and name.endswith(".x") for name in names)

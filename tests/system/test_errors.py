import os
import re
import subprocess
import sys

import pytest

from utils.system.errors import UserError, last_line, refuse, together


class TestRefuse:
    def test_says_what_is_wrong_in_a_line_each(self, capsys):
        errors = together([UserError("one.nii: is empty"), UserError("two\x1b.nii: is empty")])
        assert refuse("main.py", errors) == 2
        assert capsys.readouterr() == ("", "main.py: error: one.nii: is empty\ntwo\\x1b.nii: is empty\n")

    @pytest.mark.parametrize("error", ["a\nb", UserError("a\nb")])
    def test_says_it_on_one_line(self, capsys, error):
        assert refuse("download_dataset.py", error, lines=False) == 2
        assert capsys.readouterr() == ("", "download_dataset.py: error: a\\nb\n")


def test_the_last_line_of_what_a_library_says():
    assert last_line(RuntimeError("\nitkImage.cxx:71:\nITK ERROR: no such file\n\n")) == "ITK ERROR: no such file"


def test_another_system_is_refused_in_one_line():
    told = subprocess.run(
        [sys.executable, "-c", "import os; os.name = 'nt'; import main"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert re.match("error: this needs Linux: .*\n$", told.stderr)

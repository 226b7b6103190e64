"""Two runs of the tests that share the files among them."""

import glob
import os
import re
import subprocess
import sys

import shared_files
from command_line import PROJECT

FILES = ("test_bounding_box.py", "test_case_table.py")
FOLDERS = ("imaging", "evaluation")


def passed(folder):
    """How many tests of the files pass in a run that shares them with others."""
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--shared_in=" + str(folder)]
    line += [os.path.join(PROJECT, "tests", folder, name) for folder, name in zip(FOLDERS, FILES)]
    output = subprocess.check_output(line, cwd=PROJECT, universal_newlines=True)
    found = re.search(r"(\d+) passed", output)
    return int(found.group(1)) if found else 0


def test_the_longest_come_first():
    found = glob.glob(os.path.join(PROJECT, "tests", "**", "test_*.py"), recursive=True)
    names = sorted(os.path.basename(path) for path in found)
    assert set(shared_files.LONGEST) < set(names)
    assert tuple(sorted(names, key=shared_files.place))[: len(shared_files.LONGEST)] == shared_files.LONGEST


def test_each_file_is_run_by_the_one_that_comes_to_it_first(tmp_path):
    both, one, other = (tmp_path / name for name in ("both", "one", "other"))
    for folder in (both, one, other):
        folder.mkdir()
    (one / FILES[0]).mkdir()
    (other / FILES[1]).mkdir()
    count = passed(both)
    counts = passed(one), passed(other)
    assert min(counts) > 0 and sum(counts) == count
    assert passed(both) == 0
    assert all(sorted(os.listdir(str(folder))) == list(FILES) for folder in (both, one, other))

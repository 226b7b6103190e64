import json
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import PROJECT

from utils.model_dir import provenance


def git(folder, *arguments):
    named = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", "-C", str(folder)] + named + list(arguments), universal_newlines=True)


@pytest.fixture
def checkout(tmp_path):
    """A repository with a main.py at its top, committed."""
    folder = tmp_path / "check out"
    folder.mkdir()
    (folder / "main.py").write_text("print()\n")
    try:
        git(folder, "init", "-q")
    except OSError:
        pytest.skip("git is not installed")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "The first one")
    return folder


class TestAbout:
    def test_versions_and_machine(self):
        about = provenance.about_run("tf2 2.15.1", 2)
        assert about["versions"] == {
            "project": provenance.VERSION,
            "python": platform.python_version(),
            "tensorflow": "tf2 2.15.1",
            "horovod": provenance.horovod_version(),
            "numpy": np.__version__,
            "simpleitk": sitk.Version.VersionString(),
        }
        assert about["host"]["name"] == platform.node() and about["host"]["cores"] > 0 and about["host"]["cpu"]
        assert about["workers"] == 2
        assert json.loads(json.dumps(about, allow_nan=False)) == about

    def test_the_command_can_be_pasted(self, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["/code/main.py", "--images", "two words.nii", "it's.nii"])
        expected = """main.py --images 'two words.nii' 'it'"'"'s.nii'"""
        assert provenance.command_line() == expected
        assert provenance.command_line(sys.argv[1:]) == expected
        assert provenance.about_run("tf2", 1)["command"] == expected

    def test_the_version_is_that_of_the_changelog(self):
        with open(os.path.join(PROJECT, "CHANGELOG.md"), encoding="utf-8") as file:
            first = re.search("^## (.*)$", file.read(), re.MULTILINE).group(1)
        assert (first == "Not yet released") == provenance.VERSION.endswith(".dev0")
        assert first in ("Not yet released", provenance.VERSION)


class TestRevision:
    def test_of_a_checkout(self, checkout):
        commit = git(checkout, "rev-parse", "HEAD").strip()
        assert provenance.revision(str(checkout)) == commit
        (checkout / "results").mkdir()
        (checkout / "results" / "untracked.json").write_text("{}")
        assert provenance.revision(str(checkout)) == commit
        (checkout / "main.py").write_text("print(1)\n")
        assert provenance.revision(str(checkout)) == commit + "-dirty"
        git(checkout, "add", ".")
        assert provenance.revision(str(checkout)) == commit + "-dirty"

    def test_through_a_link(self, checkout, tmp_path):
        os.symlink(str(checkout), str(tmp_path / "link"))
        assert provenance.revision(str(tmp_path / "link")) == git(checkout, "rev-parse", "HEAD").strip()

    def test_a_copy_within_another_repository_has_none(self, checkout):
        for folder in "site-packages", "vendored":
            (checkout / folder).mkdir()
            (checkout / folder / "main.py").write_text("print(2)\n")
        git(checkout, "add", "vendored")
        git(checkout, "commit", "-qm", "Another's code")
        assert provenance.revision(str(checkout / "site-packages")) is None
        assert provenance.revision(str(checkout / "vendored")) is None

    def test_a_copy_at_the_top_of_another_repository_has_none(self, checkout):
        git(checkout, "rm", "-q", "--cached", "main.py")
        (checkout / "other.py").write_text("")
        git(checkout, "add", "other.py")
        git(checkout, "commit", "-qm", "Their own")
        assert provenance.revision(str(checkout)) is None

    def test_variables_of_a_git_hook_do_not_mislead(self, checkout, tmp_path, monkeypatch):
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "main.py").write_text("")
        monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "copy"))
        assert provenance.revision(str(tmp_path / "copy")) is None

    def test_nothing_is_written_and_nothing_started(self, checkout, tmp_path):
        git(checkout, "config", "core.fsmonitor", "touch {}".format(tmp_path / "started"))
        os.utime(str(checkout / "main.py"), (1, 1))
        before = (checkout / ".git" / "index").read_bytes()
        assert provenance.revision(str(checkout))
        assert (checkout / ".git" / "index").read_bytes() == before
        assert not (tmp_path / "started").exists()

    @pytest.mark.parametrize("path", ["", "/nowhere"])
    def test_without_git(self, checkout, monkeypatch, path):
        monkeypatch.setenv("PATH", path)
        assert provenance.revision(str(checkout)) is None

    def test_no_repository(self, tmp_path):
        assert provenance.revision(str(tmp_path)) is None

    def test_a_repository_without_a_commit(self, checkout):
        git(checkout, "update-ref", "-d", "HEAD")
        assert provenance.revision(str(checkout)) is None

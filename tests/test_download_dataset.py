import json
import os
import subprocess
import sys

import pytest
from archive_server import file_member, md5, serving, tar_of

import download_dataset
from utils.fetching import downloads, phantom_stack

PROGRAM = os.path.abspath(download_dataset.__file__)
PART = 2 * downloads.RECEIVED_CHUNK_BYTES
HEART = "Task02_Heart"
HIPPOCAMPUS = "Task04_Hippocampus"


def archive_of(task):
    return tar_of(
        file_member(task + "/dataset.json", json.dumps({"name": task}).encode()),
        file_member(task + "/imagesTr/a.nii.gz", bytes(PART)),
        file_member("._" + task),
    )


@pytest.fixture(autouse=True)
def quick_and_local(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)


@pytest.fixture
def known(monkeypatch):
    """Make the archives of these tests the ones the program knows."""
    for dataset, task in (("heart", HEART), ("hippocampus", HIPPOCAMPUS)):
        monkeypatch.setitem(download_dataset.ARCHIVES, dataset, download_dataset.Archive(task, md5(archive_of(task))))


def run(data_dir, *flags):
    return download_dataset.main(["--data_dir", str(data_dir)] + list(flags))


def only_error(capsys):
    """Return the last line on stderr, which must be the program's one error."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("download_dataset.py: error: ")]
    assert errors == lines[-1:]
    return errors[0]


class TestDownload:
    def test_puts_the_task_there_and_removes_the_archive(self, tmp_path, known, capsys):
        with serving(archive_of(HEART)) as server:
            assert run(tmp_path / "new" / "data", "--dataset", "heart", "--url", server.url) == 0
        assert os.listdir(str(tmp_path / "new" / "data")) == [HEART]
        assert sorted(os.listdir(str(tmp_path / "new" / "data" / HEART))) == ["dataset.json", "imagesTr"]
        assert capsys.readouterr().out == "{} is ready\n".format(tmp_path / "new" / "data" / HEART)

    def test_hippocampus_is_the_default(self, tmp_path, known):
        with serving(archive_of(HIPPOCAMPUS)) as server:
            assert run(tmp_path, "--url", server.url) == 0
        assert os.listdir(str(tmp_path)) == [HIPPOCAMPUS]

    def test_goes_on_after_a_break_of_the_whole_program(self, tmp_path, known):
        content = archive_of(HEART)
        with serving(content, plan=[("break", PART)] + [("break", 0)] * 5) as server:
            assert run(tmp_path, "--dataset", "heart", "--url", server.url) == 2
            assert os.listdir(str(tmp_path)) == [HEART + ".tar.part"]
            assert run(tmp_path, "--dataset", "heart", "--url", server.url) == 0
        assert os.listdir(str(tmp_path)) == [HEART]
        assert server.asked[-1] == "bytes={}-".format(PART)

    def test_does_nothing_where_the_task_is(self, tmp_path, known, capsys):
        with serving(archive_of(HEART)) as server:
            flags = ("--dataset", "heart", "--url", server.url)
            assert [run(tmp_path, *flags), run(tmp_path, *flags)] == [0, 0]
        assert len(server.asked) == 1
        assert capsys.readouterr().out.splitlines()[1:] == [
            "{} is there already; nothing to do".format(tmp_path / HEART)
        ]

    def test_keeps_the_archive_when_told_and_uses_one_that_is_there(self, tmp_path, known):
        with serving(archive_of(HEART)) as server:
            assert run(tmp_path, "--dataset", "heart", "--url", server.url, "--keep_archive") == 0
        archive = tmp_path / (HEART + ".tar")
        assert archive.read_bytes() == archive_of(HEART)
        other = tmp_path / "other"
        other.mkdir()
        archive.rename(other / archive.name)
        assert run(other, "--dataset", "heart", "--url", server.url) == 0
        assert os.listdir(str(other)) == [HEART]

    def test_wrong_checksum(self, tmp_path, known, capsys):
        with serving(archive_of(HIPPOCAMPUS)) as server:
            assert run(tmp_path, "--dataset", "heart", "--url", server.url) == 2
        assert "and was removed" in only_error(capsys)
        assert os.listdir(str(tmp_path)) == []

    def test_an_archive_of_the_users_own_with_a_wrong_checksum_stays(self, tmp_path, capsys):
        (tmp_path / (HEART + ".tar")).write_bytes(b"something")
        assert run(tmp_path, "--dataset", "heart") == 2
        assert "Task02_Heart.tar: has MD5 {}".format(md5(b"something")) in only_error(capsys)
        assert os.listdir(str(tmp_path)) == [HEART + ".tar"]


class TestSources:
    def test_mirror_is_asked_for_the_tasks_folder(self, tmp_path, known, monkeypatch):
        with serving(archive_of(HEART)) as server:
            monkeypatch.setattr(download_dataset, "MIRROR", server.url + "/{}.tar")
            assert run(tmp_path, "--dataset", "heart") == 0
        assert os.listdir(str(tmp_path)) == [HEART]

    @pytest.mark.parametrize("answers", [[404], []], ids=["refuses", "answers without content"])
    def test_hippocampus_comes_from_google_drive_if_the_mirror(self, tmp_path, known, monkeypatch, capsys, answers):
        pytest.importorskip("gdown")
        with serving(archive_of(HIPPOCAMPUS)) as server, serving(b"", plan=answers) as mirror:
            monkeypatch.setattr(download_dataset, "MIRROR", mirror.url)
            monkeypatch.setattr(download_dataset, "GOOGLE_DRIVE", server.url)
            assert run(tmp_path) == 0
        assert os.listdir(str(tmp_path)) == [HIPPOCAMPUS]
        assert "Trying Google Drive instead" in capsys.readouterr().err

    @pytest.mark.parametrize("flags", [("--source", "mirror"), ("--dataset", "heart")])
    def test_there_is_no_second_source_for_others_or_when_one_is_named(
        self, tmp_path, known, monkeypatch, capsys, flags
    ):
        with serving(b"", plan=[404]) as server:
            monkeypatch.setattr(download_dataset, "MIRROR", server.url)
            assert run(tmp_path, *flags) == 2
        assert "404" in only_error(capsys)

    def test_google_drive_without_gdown(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "gdown", None)
        assert run(tmp_path, "--source", "google_drive") == 2
        assert "pip install gdown" in only_error(capsys)

    def test_addresses_are_those_published(self):
        assert len(download_dataset.ARCHIVES) == 10
        for number, archive in enumerate(download_dataset.ARCHIVES.values(), 1):
            assert archive.task.startswith("Task{:02d}_".format(number))
            assert len(archive.md5) == 32 and int(archive.md5, 16)
        assert download_dataset.MIRROR.format(HEART).endswith(".amazonaws.com/Task02_Heart.tar")


class TestPhantom:
    def test_makes_the_task_and_is_content_with_it(self, tmp_path, capsys):
        assert run(tmp_path, "--dataset", "phantom", "--seed", "3") == 0
        assert len(os.listdir(str(tmp_path / "Task00_Phantom" / "imagesTs"))) == 6
        capsys.readouterr()
        assert run(tmp_path, "--dataset", "phantom", "--seed", "3") == 0
        assert capsys.readouterr().out.endswith("Task00_Phantom is there already; nothing to do\n")
        assert run(tmp_path, "--dataset", "phantom") == 2
        assert "was made from seed 3, not seed 0" in only_error(capsys)


class TestPhantomStack:
    def test_makes_the_stack_and_is_content_with_it(self, tmp_path, capsys, monkeypatch):
        sizes = {"small": phantom_stack.Size(40, 2, 1), "large": phantom_stack.Size(48, 2, 1)}
        monkeypatch.setattr(phantom_stack, "SIZES", sizes)
        asked = ("--dataset", "phantom_stack", "--seed", "3")
        assert run(tmp_path, *asked) == 0
        assert "train-volume.tif" in os.listdir(str(tmp_path / "Stack00_Phantom"))
        capsys.readouterr()
        assert run(tmp_path, *asked + ("--size", "small")) == 0
        assert capsys.readouterr().out.endswith("Stack00_Phantom is there already; nothing to do\n")
        assert run(tmp_path, *asked + ("--size", "large")) == 2
        assert "was made from seed 3 and --size small, not seed 3 and --size large" in only_error(capsys)
        assert run(tmp_path / "large", *asked + ("--size", "large")) == 0


class TestRefusals:
    @pytest.mark.parametrize(
        "flags, match",
        [
            (["--dataset", "phantom", "--source", "mirror"], "--source: a phantom is made"),
            (["--dataset", "phantom", "--url", "http://x/"], "--url: a phantom is made"),
            (["--dataset", "phantom", "--keep_archive"], "--keep_archive: a phantom is made"),
            (["--dataset", "phantom", "--seed", "-1"], "--seed: must lie between 0 and 4294967295, not be -1"),
            (["--dataset", "phantom", "--seed", "4294967296"], "--seed: must lie between"),
            (["--dataset", "phantom_stack", "--url", "http://x/"], "--url: a phantom is made"),
            (["--dataset", "phantom_stack", "--seed", "-1"], "--seed: must lie between"),
            (["--dataset", "phantom", "--size", "small"], "--size: is for --dataset phantom_stack alone"),
            (["--seed", "1"], "--seed: is for --dataset phantom and phantom_stack alone"),
            (["--url", "http://x/", "--source", "mirror"], "--url: already says"),
            (["--dataset", "liver", "--source", "google_drive"], "--source: google_drive has no liver"),
        ],
    )
    def test_contradictory_flags(self, tmp_path, capsys, flags, match):
        assert run(tmp_path / "data", *flags) == 2
        assert match in only_error(capsys)
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize(
        "dataset, folder", [("phantom", "Task00_Phantom"), ("phantom_stack", "Stack00_Phantom"), ("heart", HEART)]
    )
    def test_a_folder_that_is_no_task(self, tmp_path, capsys, dataset, folder):
        (tmp_path / folder).mkdir()
        assert run(tmp_path, "--dataset", dataset) == 2
        assert "has no dataset.json; remove it" in only_error(capsys)

    @pytest.mark.parametrize("dataset", ["phantom", "phantom_stack", "heart"])
    def test_a_data_dir_that_is_a_file(self, tmp_path, capsys, dataset):
        (tmp_path / "file").write_text("")
        assert run(tmp_path / "file", "--dataset", dataset) == 2
        assert "choose a folder that can be written" in only_error(capsys)


class TestCommandLine:
    def call(self, *flags):
        return subprocess.run(
            [sys.executable, PROGRAM] + list(flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def test_help_names_every_flag(self):
        result = self.call("--help")
        assert result.returncode == 0
        for flag in ("--data_dir", "--dataset", "--source", "--url", "--keep_archive", "--seed", "--size"):
            assert flag in result.stdout

    def test_an_error_is_one_line_and_status_2(self, tmp_path):
        result = self.call("--data_dir", str(tmp_path), "--seed", "1")
        assert result.returncode == 2
        told = "--seed: is for --dataset phantom and phantom_stack alone; leave it out"
        assert result.stderr == "download_dataset.py: error: {}\n".format(told)

    @pytest.mark.parametrize(
        "flags, match",
        [
            ([], "are required: --data_dir"),
            (["--data_dir", "x", "--dataset", "kidney"], "invalid choice: 'kidney'"),
            (["--data_dir", "x", "--see", "1"], "unrecognized arguments: --see 1"),
            (["--data_dir", "x", "\x1b[2J"], "unrecognized arguments: \\x1b[2J"),
        ],
    )
    def test_flags_that_do_not_parse(self, flags, match):
        result = self.call(*flags)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1 and match in result.stderr
        assert result.stderr.startswith("download_dataset.py: error: ") and "\x1b" not in result.stderr

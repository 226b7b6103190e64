import fcntl
import os
import sys

import pytest
from archive_server import md5, serving

from utils.fetching import downloads
from utils.fetching.transfer import CHUNK_BYTES, MEGABYTE
from utils.system.errors import UserError

# Several chunks long, without a period that a misplaced part could hide in.
CONTENT = os.urandom(3 * CHUNK_BYTES + 12345)
PART = 2 * downloads.RECEIVED_CHUNK_BYTES


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def target(tmp_path):
    return str(tmp_path / "archive.tar")


def fetch(server, target, content=CONTENT, attempts=3):
    downloads.download(server.url, target, md5(content), attempts=attempts, pause=0.0)


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def write(path, content):
    with open(path, "wb") as stream:
        stream.write(content)


class TestDownload:
    def test_brings_the_file_and_leaves_nothing_else(self, target, tmp_path):
        with serving(CONTENT) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert os.listdir(str(tmp_path)) == ["archive.tar"]
        assert server.asked == [None]

    def test_works_with_a_path_in_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with serving(CONTENT) as server:
            fetch(server, "archive.tar")
        assert read("archive.tar") == CONTENT

    def test_shows_plain_lines_where_there_is_no_terminal(self, target, capsys):
        with serving(CONTENT) as server:
            fetch(server, target)
        assert "downloading archive.tar: 3/3 MB (100%)" in capsys.readouterr().err


class TestResume:
    def test_goes_on_where_an_earlier_download_stopped(self, target):
        write(target + ".part", CONTENT[:1000])
        with serving(CONTENT) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert server.asked == ["bytes=1000-"]
        assert server.sent == [len(CONTENT) - 1000]

    def test_a_broken_connection_is_taken_up_again(self, target):
        with serving(CONTENT, plan=[("break", PART), ("break", 3 * PART), None]) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert server.asked == [None, "bytes={}-".format(PART), "bytes={}-".format(4 * PART)]

    def test_breaks_without_end_are_borne_while_each_brings_something(self, target):
        with serving(CONTENT, plan=[("break", PART)] * 7) as server:
            fetch(server, target, attempts=2)
        assert read(target) == CONTENT
        assert len(server.asked) == 8

    def test_gives_up_when_nothing_new_comes_and_keeps_what_came(self, target):
        with serving(CONTENT, plan=[("break", PART)] + [("break", 0)] * 10) as server:
            with pytest.raises(
                downloads.SourceUnavailable, match="ended early, 3 times in a row; run the command again to"
            ):
                fetch(server, target)
            assert len(server.asked) == 4
            assert read(target + ".part") == CONTENT[:PART]
            assert not os.path.exists(target)
            server.plan = []
            fetch(server, target)
        assert read(target) == CONTENT
        assert server.asked[-1] == "bytes={}-".format(PART)

    def test_a_server_without_ranges_starts_over_cleanly(self, target):
        write(target + ".part", b"something else")
        with serving(CONTENT, ranges=False, plan=[("break", PART), None]) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert server.asked == ["bytes=14-", "bytes={}-".format(PART)]
        assert server.sent == [PART, len(CONTENT)]

    def test_another_part_than_was_asked_for_is_not_taken(self, target):
        write(target + ".part", CONTENT[:1000])
        with serving(CONTENT, plan=[("shift", 50), None]) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert server.asked == ["bytes=1000-", None]

    def test_a_server_without_ranges_that_always_breaks_at_one_place_is_given_up(self, target):
        with serving(CONTENT, ranges=False, plan=[("break", PART)] * 20) as server:
            with pytest.raises(downloads.SourceUnavailable, match="3 times in a row"):
                fetch(server, target)
        assert len(server.asked) == 4

    def test_a_partial_file_that_is_complete_is_accepted(self, target):
        write(target + ".part", CONTENT)
        with serving(CONTENT) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert sum(server.sent) == 0

    def test_a_passing_refusal_is_asked_again(self, target):
        with serving(CONTENT, plan=[503, 429, None]) as server:
            fetch(server, target)
        assert read(target) == CONTENT
        assert len(server.asked) == 3


class TestRefusals:
    def test_a_wrong_checksum_removes_what_came_and_says_so(self, target, tmp_path):
        with serving(CONTENT) as server:
            with pytest.raises(UserError, match="MD5 {} instead of {} and was removed".format(md5(CONTENT), md5(b""))):
                fetch(server, target, content=b"")
        assert os.listdir(str(tmp_path)) == []

    def test_a_wrong_start_is_found_by_the_checksum(self, target, tmp_path):
        write(target + ".part", b"?" * 1000)
        with serving(CONTENT) as server:
            with pytest.raises(UserError, match="and was removed"):
                fetch(server, target)
            assert os.listdir(str(tmp_path)) == []
            fetch(server, target)
        assert read(target) == CONTENT

    def test_a_lasting_refusal_is_not_asked_again(self, target, tmp_path):
        with serving(CONTENT, plan=[404]) as server:
            with pytest.raises(downloads.SourceUnavailable, match="the server answered 404 Not Found"):
                fetch(server, target)
        assert len(server.asked) == 1
        assert os.listdir(str(tmp_path)) == []

    def test_nobody_answers(self, target):
        with serving(CONTENT) as server:
            pass
        with pytest.raises(downloads.SourceUnavailable, match="the connection broke .*, 3 times in a row"):
            fetch(server, target)

    @pytest.mark.parametrize("url", ["archive.tar", "ftp://127.0.0.1/archive.tar", "http://", "file:///etc/hostname"])
    def test_what_is_no_web_address(self, target, url):
        with pytest.raises(downloads.SourceUnavailable, match="cannot be asked"):
            downloads.download(url, target, md5(CONTENT), pause=0.0)

    @pytest.mark.parametrize("tells_length", [True, False])
    @pytest.mark.parametrize("arrived", [b"", b"?" * 1000])
    def test_an_answer_without_content(self, target, tmp_path, tells_length, arrived):
        if arrived:
            write(target + ".part", arrived)
        with serving(b"", ranges=False, tells_length=tells_length) as server:
            with pytest.raises(downloads.SourceUnavailable, match="the server sent nothing; choose another --source"):
                fetch(server, target)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == ([arrived] if arrived else [])

    @pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8", "text/plain"])
    def test_a_page_instead_of_an_archive_leaves_what_came_before(self, target, tmp_path, kind):
        write(target + ".part", CONTENT[:1000])
        with serving(CONTENT, kind=kind) as server:
            with pytest.raises(downloads.SourceUnavailable, match=r"the server sent a page \(text/\w+\) instead of"):
                fetch(server, target)
        assert read(target + ".part") == CONTENT[:1000] and os.listdir(str(tmp_path)) == ["archive.tar.part"]

    @pytest.mark.parametrize("tells_length", [True, False])
    def test_more_than_an_archive_can_be(self, target, tmp_path, monkeypatch, tells_length):
        monkeypatch.setattr(downloads, "LARGEST_ARCHIVE", MEGABYTE)
        with serving(CONTENT, tells_length=tells_length) as server:
            with pytest.raises(downloads.SourceUnavailable, match="sends more than 1 MB, which no archive of a task"):
                fetch(server, target)
        received = sum(os.path.getsize(str(path)) for path in tmp_path.iterdir())
        assert received <= (0 if tells_length else MEGABYTE + downloads.RECEIVED_CHUNK_BYTES)

    def test_what_a_server_says_cannot_steer_the_terminal(self, target, capsys):
        with serving(CONTENT) as server:
            with pytest.raises(UserError, match="and was removed"):
                downloads.download(server.url.replace("archive.tar", "a\x1b[2J.tar"), target, md5(b""), pause=0.0)
        assert "\x1b" not in "".join(capsys.readouterr())

    def test_more_than_the_disk_holds(self, target, monkeypatch):
        monkeypatch.setattr(downloads, "LARGEST_ARCHIVE", 10**18)
        with serving(CONTENT, claimed_length=10**18) as server:
            with pytest.raises(UserError, match="needs 1000000000000.0 MB more and has"):
                fetch(server, target)

    def test_two_at_once(self, target):
        with open(target + ".part", "ab") as other, serving(CONTENT) as server:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(UserError, match="another process is downloading it"):
                fetch(server, target)
        assert server.asked == []


class TestGoogleDrive:
    """gdown fetches any address the way it fetches Google Drive's, which lets this machine stand in for it."""

    def test_brings_the_file(self, target, tmp_path):
        pytest.importorskip("gdown")
        with serving(CONTENT) as server:
            downloads.download_from_google_drive(server.url, target, md5(CONTENT))
        assert read(target) == CONTENT
        assert os.listdir(str(tmp_path)) == ["archive.tar"]

    def test_a_wrong_checksum_removes_what_came(self, target, tmp_path):
        pytest.importorskip("gdown")
        with serving(CONTENT) as server:
            with pytest.raises(UserError, match="and was removed"):
                downloads.download_from_google_drive(server.url, target, md5(b""))
        assert os.listdir(str(tmp_path)) == []

    def test_nobody_answers(self, target):
        pytest.importorskip("gdown")
        with serving(CONTENT) as server:
            pass
        with pytest.raises(downloads.SourceUnavailable, match="gdown: [^\n]+$"):
            downloads.download_from_google_drive(server.url, target, md5(CONTENT))

    def test_without_gdown(self, target, monkeypatch):
        monkeypatch.setitem(sys.modules, "gdown", None)
        with pytest.raises(downloads.SourceUnavailable, match="pip install gdown"):
            downloads.download_from_google_drive("http://127.0.0.1/", target, md5(CONTENT))

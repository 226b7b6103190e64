import fcntl
import os
import stat
import sys
import tarfile

import pytest
from archive_server import file_member, md5, odd_member, serving, tar_of

from utils import archives
from utils.errors import UserError

# Several chunks long, without a period that a misplaced part could hide in.
CONTENT = os.urandom(3 * archives.CHUNK_BYTES + 12345)
PART = 2 * archives.RECEIVED_CHUNK_BYTES
TASK = "Task99_Tiny"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def target(tmp_path):
    return str(tmp_path / "archive.tar")


def fetch(server, target, content=CONTENT, attempts=3):
    archives.download(server.url, target, md5(content), attempts=attempts, pause=0.0)


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
                archives.SourceUnavailable, match="ended early, 3 times in a row; run the command again to"
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
            with pytest.raises(archives.SourceUnavailable, match="3 times in a row"):
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
            with pytest.raises(archives.SourceUnavailable, match="the server answered 404 Not Found"):
                fetch(server, target)
        assert len(server.asked) == 1
        assert os.listdir(str(tmp_path)) == []

    def test_nobody_answers(self, target):
        with serving(CONTENT) as server:
            pass
        with pytest.raises(archives.SourceUnavailable, match="the connection broke .*, 3 times in a row"):
            fetch(server, target)

    @pytest.mark.parametrize("url", ["archive.tar", "ftp://127.0.0.1/archive.tar", "http://", "file:///etc/hostname"])
    def test_what_is_no_web_address(self, target, url):
        with pytest.raises(archives.SourceUnavailable, match="cannot be asked"):
            archives.download(url, target, md5(CONTENT), pause=0.0)

    def test_more_than_the_disk_holds(self, target):
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
            archives.download_from_google_drive(server.url, target, md5(CONTENT))
        assert read(target) == CONTENT
        assert os.listdir(str(tmp_path)) == ["archive.tar"]

    def test_a_wrong_checksum_removes_what_came(self, target, tmp_path):
        pytest.importorskip("gdown")
        with serving(CONTENT) as server:
            with pytest.raises(UserError, match="and was removed"):
                archives.download_from_google_drive(server.url, target, md5(b""))
        assert os.listdir(str(tmp_path)) == []

    def test_nobody_answers(self, target):
        pytest.importorskip("gdown")
        with serving(CONTENT) as server:
            pass
        with pytest.raises(archives.SourceUnavailable, match="gdown: [^\n]+$"):
            archives.download_from_google_drive(server.url, target, md5(CONTENT))

    def test_without_gdown(self, target, monkeypatch):
        monkeypatch.setitem(sys.modules, "gdown", None)
        with pytest.raises(archives.SourceUnavailable, match="pip install gdown"):
            archives.download_from_google_drive("http://127.0.0.1/", target, md5(CONTENT))


def good_members():
    return [
        odd_member(TASK, tarfile.DIRTYPE),
        file_member(TASK + "/dataset.json", b"{}"),
        file_member(TASK + "/imagesTr/a.nii.gz", CONTENT),
    ]


@pytest.fixture
def place(tmp_path):
    """A folder to unpack into, with a neighbour that must stay as it is."""
    (tmp_path / "outside.txt").write_text("untouched")
    place = tmp_path / "data"
    place.mkdir()
    return place


def unpack(place, content):
    archive = place.parent / "archive.tar"
    archive.write_bytes(content)
    return archives.unpack(str(archive), TASK, str(place))


def files_below(directory):
    return sorted(
        os.path.relpath(os.path.join(folder, name), str(directory))
        for folder, _, names in os.walk(str(directory))
        for name in names
    )


class TestUnpack:
    @pytest.mark.parametrize("prefix", ["", "./"])
    def test_the_folder_appears_with_its_content(self, place, prefix):
        members = good_members()
        for member, _ in members:
            member.name = prefix + member.name
        assert unpack(place, tar_of(*members)) == str(place / TASK)
        assert files_below(place) == [TASK + "/dataset.json", TASK + "/imagesTr/a.nii.gz"]
        assert (place / TASK / "imagesTr" / "a.nii.gz").read_bytes() == CONTENT

    def test_permissions_are_those_of_new_files(self, place):
        member, content = file_member(TASK + "/program", b"x")
        member.mode = 0o6777
        unpack(place, tar_of(*(good_members() + [(member, content)])))
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE(os.stat(str(place / TASK / "program")).st_mode) == 0o666 & ~umask
        assert stat.S_IMODE(os.stat(str(place / TASK)).st_mode) == 0o777 & ~umask

    def test_the_files_that_macos_adds_are_left_out(self, place):
        extra = [file_member("._" + TASK), file_member(TASK + "/imagesTr/._a.nii.gz"), file_member(TASK + "/._x/y")]
        unpack(place, tar_of(*(good_members() + extra)))
        assert files_below(place) == [TASK + "/dataset.json", TASK + "/imagesTr/a.nii.gz"]

    def test_a_folder_that_is_there_stays(self, place):
        (place / TASK).mkdir()
        (place / TASK / "mine").write_text("mine")
        with pytest.raises(OSError):
            unpack(place, tar_of(*good_members()))
        assert files_below(place) == [TASK + "/mine"]
        assert os.listdir(str(place)) == [TASK]


def sparse_member(name):
    # The first of the four places that the header has for parts of a sparse file, and the size it would have.
    member, content = file_member(name, b"x" * 512)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\x0000000001000\x00"
    header[483:495] = b"77777777777\x00"
    return with_checksum(header) + content


def with_checksum(header):
    header[148:156] = b" " * 8
    header[148:156] = "{:06o}".format(sum(header)).encode() + b"\0 "
    return bytes(header)


def negative_member(name):
    member, _ = file_member(name)
    member.size = -1024
    return member.tobuf(tarfile.GNU_FORMAT)


class TestHostileArchives:
    def refuse(self, place, content, match):
        before = files_below(place.parent)
        with pytest.raises(UserError, match=match) as caught:
            unpack(place, content)
        assert "\n" not in str(caught.value)
        assert files_below(place.parent) == sorted(before + ["archive.tar"])
        assert os.listdir(str(place)) == []
        assert (place.parent / "outside.txt").read_text() == "untouched"

    @pytest.mark.parametrize(
        "name, match",
        [
            ("{}/outside.txt", "has an absolute name"),
            ("//{}/outside.txt", "has an absolute name"),
            ("../outside.txt", "leads out of the folder"),
            (TASK + "/../../outside.txt", "leads out of the folder"),
            (TASK + "/..", "leads out of the folder"),
        ],
    )
    def test_names_that_lead_out(self, place, name, match):
        bad = file_member(name.format(place.parent), b"overwritten")
        self.refuse(place, tar_of(*(good_members() + [bad])), match)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
    @pytest.mark.parametrize("target", ["../../outside.txt", "{}/outside.txt", ".."])
    def test_links_that_lead_out(self, place, kind, target):
        link = odd_member(TASK + "/link", kind, target.format(place.parent))
        through = file_member(TASK + "/link/outside.txt", b"overwritten")
        self.refuse(place, tar_of(*(good_members() + [link, through])), "'Task99_Tiny/link' is a link, to '")

    @pytest.mark.parametrize(
        "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=["char", "block", "fifo"]
    )
    def test_devices_and_pipes(self, place, kind):
        self.refuse(
            place, tar_of(*(good_members() + [odd_member(TASK + "/odd", kind)])), "is neither a file nor a folder"
        )

    def test_the_bad_member_may_come_first(self, place):
        bad = file_member("../outside.txt", b"overwritten")
        self.refuse(place, tar_of(*([bad] + good_members())), "leads out of the folder")

    def test_a_file_made_of_holes(self, place):
        self.refuse(
            place, sparse_member(TASK + "/holes") + tar_of(*good_members()), "size other than the archive holds"
        )

    def test_a_negative_size(self, place):
        self.refuse(
            place, negative_member(TASK + "/less") + tar_of(*good_members()), "size other than the archive holds"
        )

    def test_a_compressed_archive_of_zeros(self, place):
        self.refuse(
            place,
            tar_of(file_member(TASK + "/zeros", bytes(20 * archives.CHUNK_BYTES)), mode="w:gz"),
            "is not an intact tar file",
        )

    def test_a_size_beyond_the_archive(self, place):
        member, _ = file_member(TASK + "/big")
        member.size = 2**40
        self.refuse(place, member.tobuf(tarfile.GNU_FORMAT) + bytes(1024), "is not an intact tar file")

    def test_an_archive_that_ends_early(self, place):
        self.refuse(place, tar_of(*good_members())[: len(CONTENT) // 2], "is not an intact tar file")

    @pytest.mark.parametrize("second", [TASK + "/dataset.json", TASK + "/dataset.json/below", TASK])
    def test_a_name_that_comes_twice(self, place, second):
        self.refuse(place, tar_of(*(good_members() + [file_member(second)])), "comes twice")

    def test_a_name_that_no_file_can_have(self, place):
        # A name beyond ASCII gets a header that can hold a zero byte.
        bad = file_member(TASK + "/\u00e9\0.nii.gz")
        self.refuse(place, tar_of(*(good_members() + [bad]), format=tarfile.PAX_FORMAT), "is not an intact tar file")

    def test_something_else(self, place):
        self.refuse(place, b"<html>quota exceeded</html>" * 100, "is not an intact tar file")

    def test_another_task(self, place):
        self.refuse(place, tar_of(file_member("Task98_Other/dataset.json")), "holds no folder Task99_Tiny")

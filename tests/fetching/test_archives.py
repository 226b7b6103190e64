import os
import stat
import tarfile

import pytest
from archive_server import file_member, odd_member, tar_of

from utils.fetching import archives
from utils.system.errors import UserError

CONTENT = os.urandom(3 * archives.CHUNK_BYTES + 12345)
TASK = "Task99_Tiny"


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
        self.refuse(place, tar_of(*(good_members() + [bad]), format=tarfile.PAX_FORMAT), "cannot be shown in its name")

    @pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202egnp.exe", "\udcff"])
    def test_names_that_would_disturb_a_terminal(self, place, name):
        bad = file_member("{}/{}.nii.gz".format(TASK, name))
        members = good_members() + [bad]
        self.refuse(place, tar_of(*members, format=tarfile.GNU_FORMAT), "cannot be shown in its name")

    @pytest.mark.parametrize("name", ["a" * 256, "\u00e9" * 128, "/".join(["a"] * 501)])
    def test_names_longer_than_a_file_can_have(self, place, name):
        bad = file_member("{}/{}".format(TASK, name))
        self.refuse(place, tar_of(*(good_members() + [bad])), "has too long a name")

    @pytest.mark.parametrize("size", [2**40, 2 * archives.CHUNK_BYTES, -512])
    @pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
    def test_a_header_that_claims_to_be_long_takes_no_memory(self, place, kind, size):
        member, _ = odd_member("././@LongLink", kind)
        member.size = size
        self.refuse(place, member.tobuf(tarfile.GNU_FORMAT) + tar_of(*good_members()), "is not an intact tar file")

    def test_headers_without_end(self, place):
        member, _ = odd_member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
        member.size = 1
        chain = (member.tobuf(tarfile.GNU_FORMAT) + b"a" + bytes(511)) * 2000
        self.refuse(place, chain + tar_of(*good_members()), "is not an intact tar file")

    def test_more_members_than_a_task_has(self, place, monkeypatch):
        monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
        self.refuse(place, tar_of(*good_members()), "holds more than 2 files and folders")

    def test_what_is_unpacked_is_no_larger_than_the_archive(self, place):
        content = tar_of(*good_members())
        unpack(place, content)
        assert sum(os.path.getsize(str(place / name)) for name in files_below(place)) <= len(content)

    def test_something_else(self, place):
        self.refuse(place, b"<html>quota exceeded</html>" * 100, "is not an intact tar file")

    def test_another_task(self, place):
        self.refuse(place, tar_of(file_member("Task98_Other/dataset.json")), "holds no folder Task99_Tiny")

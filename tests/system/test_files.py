import contextlib
import errno
import json
import os

import pytest
from full_disk import no_file_above

from utils.system.errors import CannotWrite, UserError
from utils.system.files import read_json, replace_on_success, write_json_atomically


class TestReplaceOnSuccess:
    def test_file_appears_with_what_was_written(self, tmp_path):
        path = tmp_path / "new" / "folder" / "mask.nii.gz"
        with replace_on_success(str(path)) as temporary:
            with open(temporary, "w") as stream:
                stream.write("voxels")
            assert not path.exists()
        assert path.read_text() == "voxels"
        assert os.listdir(str(path.parent)) == ["mask.nii.gz"]

    def test_temporary_lies_beside_the_file_and_keeps_the_extension(self, tmp_path):
        with replace_on_success(str(tmp_path / "mask.nii.gz")) as temporary:
            assert os.path.dirname(temporary) == str(tmp_path)
            assert temporary.endswith(".nii.gz")
            open(temporary, "w").close()

    def test_temporary_of_another_extension(self, tmp_path):
        with replace_on_success(str(tmp_path / "mask.nii.gz"), ".nii") as temporary:
            assert temporary.endswith(".nii") and not temporary.endswith("mask.nii")
            open(temporary, "w").close()
        assert os.listdir(str(tmp_path)) == ["mask.nii.gz"]

    @pytest.mark.parametrize("error", [ValueError("broken volume"), KeyboardInterrupt()])
    def test_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, error):
        path = tmp_path / "mask.nii"
        path.write_text("old")
        with pytest.raises(type(error)):
            with replace_on_success(str(path)) as temporary:
                with open(temporary, "w") as stream:
                    stream.write("half")
                raise error
        assert path.read_text() == "old"
        assert os.listdir(str(tmp_path)) == ["mask.nii"]

    def test_path_relative_to_the_working_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with replace_on_success("notes.txt") as temporary:
            open(temporary, "w").close()
        assert os.listdir(str(tmp_path)) == ["notes.txt"]

    def test_the_umask_decides_the_permissions(self, tmp_path):
        path = tmp_path / "notes.txt"
        before = os.umask(0o027)
        try:
            with replace_on_success(str(path)) as temporary:
                open(temporary, "w").close()
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o640

    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "mask.nii"
        path.write_text("old")
        with no_file_above(1000), pytest.raises(CannotWrite, match=r"mask\.nii: cannot be written: File too large$"):
            with replace_on_success(str(path)) as temporary, open(temporary, "wb") as stream:
                stream.write(bytes(2000))
        assert path.read_text() == "old"
        assert os.listdir(str(tmp_path)) == ["mask.nii"]

    @pytest.mark.parametrize("durable, calls", [(True, 1), (False, 0)])
    def test_it_is_on_the_disk_before_it_has_its_name(self, tmp_path, monkeypatch, durable, calls):
        path, found = tmp_path / "notes.txt", []
        monkeypatch.setattr(os, "fsync", lambda descriptor: found.append((os.fstat(descriptor).st_size, path.exists())))
        with replace_on_success(str(path), durable=durable) as temporary:
            with open(temporary, "w") as stream:
                stream.write("notes")
        assert found == [(5, False)] * calls and path.read_text() == "notes"

    @pytest.mark.parametrize("code, kept", [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.ENOSPC, False)])
    def test_a_file_system_without_fsync_does_and_one_that_is_full_by_then_does_not(
        self, tmp_path, monkeypatch, code, kept
    ):
        def refuse(descriptor):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", refuse)
        expected = contextlib.ExitStack() if kept else pytest.raises(CannotWrite, match="No space left")
        with expected, replace_on_success(str(tmp_path / "notes.txt")) as temporary:
            open(temporary, "w").close()
        assert os.listdir(str(tmp_path)) == (["notes.txt"] if kept else [])

    @pytest.mark.parametrize("name", [248 * "n" + ".nii.gz", 123 * "é" + ".json", "n" * 255])
    def test_names_as_long_as_may_be(self, tmp_path, name):
        with replace_on_success(str(tmp_path / name)) as temporary:
            open(temporary, "w").close()
        assert os.listdir(str(tmp_path)) == [name]

    def test_a_refusal_of_the_system_names_the_file(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(UserError, match=r"taken/mask.nii: cannot be written: .*"):
            with replace_on_success(str(tmp_path / "taken" / "mask.nii")):
                pytest.fail("must not get here")


class TestJson:
    def test_round_trip(self, tmp_path):
        value = {"name": "hippocampus, H\u00e4lfte", "dice": [0.5, None], "labels": {"1": True}}
        path = str(tmp_path / "value.json")
        write_json_atomically(path, value)
        assert read_json(path) == value

    @pytest.mark.parametrize("value, error", [({"dice": float("nan")}, ValueError), ({"case": object()}, TypeError)])
    def test_what_json_cannot_hold_leaves_the_old_file(self, tmp_path, value, error):
        path = tmp_path / "value.json"
        path.write_text("[1]")
        with pytest.raises(error):
            write_json_atomically(str(path), value)
        assert json.loads(path.read_text()) == [1]
        assert os.listdir(str(tmp_path)) == ["value.json"]

    def test_names_that_are_no_utf_8_come_back(self, tmp_path):
        # A file's name as Linux may have it: latin-1.
        name = os.fsdecode(b'sc\xe4n \\ "1"')
        value = {name: ["\ud800", "\u00e4", "\U0001f600"]}
        path = tmp_path / "value.json"
        write_json_atomically(str(path), value)
        assert read_json(str(path)) == value
        assert "\\udce4n" in path.read_bytes().decode("utf-8")

    @pytest.mark.parametrize("content", [b'{"a": ', b"", b'"\xfc"', b"[" * 100000])
    def test_a_damaged_file_is_named(self, tmp_path, content):
        path = tmp_path / "value.json"
        path.write_bytes(content)
        with pytest.raises(UserError, match="value.json: is damaged"):
            read_json(str(path))

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_a_byte_order_mark_is_named(self, tmp_path, encoding):
        (tmp_path / "value.json").write_bytes('{"a": 1}'.encode(encoding))
        with pytest.raises(UserError, match="value.json: begins with a byte order mark: save it anew, as UTF-8"):
            read_json(str(tmp_path / "value.json"))

    def test_bytes_that_are_no_utf_8_are_told_as_such(self, tmp_path):
        (tmp_path / "value.json").write_bytes('{"name": "H\u00e4lfte"}'.encode("latin-1"))
        with pytest.raises(UserError, match="value.json: is damaged, no valid JSON, as it is not in UTF-8: save it"):
            read_json(str(tmp_path / "value.json"))

    def test_a_key_that_comes_twice_is_named(self, tmp_path):
        (tmp_path / "value.json").write_text('{"labels": {"0": "a", "1": "b", "1": "c"}}')
        with pytest.raises(UserError, match="the key '1' comes twice in an object: correct it, or get it again"):
            read_json(str(tmp_path / "value.json"))

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(UserError, match="none.json: cannot be read: No such file"):
            read_json(str(tmp_path / "none.json"))

import os

import pytest

from utils.system.folders import folder_on_success


class TestFolderOnSuccess:
    def test_appears_when_it_is_filled_open_to_others_as_new_folders_are(self, tmp_path):
        target = tmp_path / "new" / "folder"
        with folder_on_success(str(target)) as unfinished:
            with open(os.path.join(unfinished, "file"), "w") as stream:
                stream.write("content")
            assert not target.exists()
        assert (target / "file").read_text() == "content"
        assert os.stat(str(target)).st_mode == os.stat(str(tmp_path / "new")).st_mode
        assert os.listdir(str(tmp_path / "new")) == ["folder"]

    def test_a_failure_leaves_nothing(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            with folder_on_success(str(tmp_path / "folder")) as unfinished:
                os.mkdir(os.path.join(unfinished, "part"))
                raise KeyboardInterrupt
        assert os.listdir(str(tmp_path)) == []

    def test_one_that_is_there_stays(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("kept")
        with pytest.raises(OSError):
            with folder_on_success(str(tmp_path / "folder")):
                pass
        assert (tmp_path / "folder" / "file").read_text() == "kept"
        assert os.listdir(str(tmp_path)) == ["folder"]

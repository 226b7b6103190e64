import os
import shutil

import numpy as np
import pytest

from utils.model_dir import checkpoints
from utils.system.errors import UserError
from utils.tf_runtime import tf


class Model:
    """A graph of one large variable and a step, whose checkpoints go into a folder."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.told = []

    def save(self, *steps, kept=3, **options):
        """Save checkpoints in which the variable is the step."""
        with tf.Graph().as_default(), tf.Session() as session:
            step = tf.train.create_global_step()
            weights = tf.get_variable("weights", [1000])
            saver = tf.train.Saver(sharded=True)
            for number in steps:
                session.run([tf.assign(step, number), tf.assign(weights, np.full(1000, number))])
                checkpoints.save(saver, session, self.folder, number, kept, **options)

    def file(self, step, ending):
        """The path of one of a checkpoint's files."""
        (name,) = [name for name in os.listdir(self.folder) if name.startswith("model.ckpt-{}.{}".format(step, ending))]
        return os.path.join(self.folder, name)

    def last_good(self, **options):
        """The step of the last good checkpoint, whose values are those that were saved."""
        path = checkpoints.last_good(self.folder, tell=self.told.append, **options)
        step = checkpoints.step_of(path)
        np.testing.assert_array_equal(tf.train.load_variable(path, "weights"), np.full(1000, step))
        return step


@pytest.fixture
def model(tmp_path):
    return Model(tmp_path / "model")


def cut(path, share=0.5):
    with open(path, "r+b") as file:
        file.truncate(int(os.path.getsize(path) * share))


def change(path, position=0.5):
    with open(path, "r+b") as file:
        file.seek(int(os.path.getsize(path) * position))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))


DAMAGES = {
    "index cut": lambda model: cut(model.file(8, "index")),
    "index empty": lambda model: cut(model.file(8, "index"), 0),
    "index missing": lambda model: os.remove(model.file(8, "index")),
    "index changed": lambda model: change(model.file(8, "index"), 0.3),
    "data cut": lambda model: cut(model.file(8, "data")),
    "data empty": lambda model: cut(model.file(8, "data"), 0),
    "data missing": lambda model: os.remove(model.file(8, "data")),
    "data changed": lambda model: change(model.file(8, "data")),
    "data of another": lambda model: shutil.copy(model.file(4, "data"), model.file(8, "data")),
}
UNLISTED = {
    "missing": lambda path: os.remove(path),
    "empty": lambda path: cut(path, 0),
    "cut": lambda path: cut(path, 0.1),
    "no text": lambda path: open(path, "wb").write(b"\xff\x00" * 30),
}


class TestSaving:
    def test_the_last_ones_stay(self, model):
        model.save(0, 4, 8, 12, 16)
        assert checkpoints.steps_in(model.folder) == [8, 12, 16]
        assert model.last_good() == 16 and model.told == []
        assert {name.split(".")[1] for name in os.listdir(model.folder) if name != "checkpoint"} == {
            "ckpt-8",
            "ckpt-12",
            "ckpt-16",
        }

    def test_tensorflow_finds_them(self, model, tmp_path):
        model.save(4, 8)
        moved = str(tmp_path / "moved")
        os.rename(model.folder, moved)
        state = tf.train.get_checkpoint_state(moved)
        assert tf.train.latest_checkpoint(moved) == os.path.join(moved, "model.ckpt-8")
        assert [os.path.basename(path) for path in state.all_model_checkpoint_paths] == ["model.ckpt-4", "model.ckpt-8"]

    def test_what_is_not_listed_goes(self, model):
        model.save(4, 8)
        # Those of a process that was killed on its way, or that could not be read.
        for name in ("model.ckpt-6.index", "model.ckpt-7.data-00000-of-00001", "model.ckpt-2.json"):
            open(os.path.join(model.folder, name), "w").close()
        for name in ("model.ckpt-6.index.mine", "notes.txt"):
            open(os.path.join(model.folder, name), "w").close()
        model.save(12)
        names = os.listdir(model.folder)
        assert checkpoints.steps_in(model.folder) == [4, 8, 12]
        assert {"model.ckpt-6.index.mine", "notes.txt"} < set(names)
        assert not [name for name in names if "-7." in name or "-2." in name]

    def test_one_of_the_same_step_is_replaced(self, model):
        model.save(4, 8)
        cut(model.file(8, "data"))
        model.save(8)
        assert checkpoints.steps_in(model.folder) == [4, 8] and model.last_good() == 8

    def test_a_note_goes_with_it(self, model):
        model.save(4, note={"loss": 0.1})
        model.save(8)
        paths = [checkpoints.path_of(model.folder, step) for step in (4, 8)]
        assert [checkpoints.note_of(path) for path in paths] == [{"loss": 0.1}, None]
        model.save(12, 16)
        assert not os.path.exists(paths[0] + ".json")

    def test_something_is_done_before_it_is_listed(self, model):
        model.save(4)
        seen = []
        model.save(8, before_listed=lambda: seen.append((self.listed(model), checkpoints.steps_in(model.folder))))
        assert seen == [(4, [4, 8])] and self.listed(model) == 8

    def listed(self, model):
        return checkpoints.step_of(checkpoints.last_listed(model.folder))

    @pytest.mark.parametrize("name", ["index", "data", "checkpoint"])
    def test_whatever_it_is_killed_at_the_one_before_is_there(self, model, monkeypatch, name):
        model.save(4)

        def replace(source, target):
            if name in os.path.basename(target):
                raise KeyboardInterrupt
            os.rename(source, target)

        monkeypatch.setattr(checkpoints.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            model.save(8)
        monkeypatch.undo()
        assert model.last_good() == 4 and model.told == []
        model.save(8)
        assert model.last_good() == 8
        assert not [entry for entry in os.listdir(model.folder) if entry.startswith(".")]


class TestDamage:
    @pytest.mark.parametrize("damage", sorted(DAMAGES))
    def test_the_one_before_is_used_and_it_says_so(self, model, damage):
        model.save(0, 4, 8)
        DAMAGES[damage](model)
        assert model.last_good() == 4
        (line,) = model.told
        assert line.startswith("{}: model.ckpt-8 ".format(model.folder)) and line.endswith(": using model.ckpt-4")
        assert "\n" not in line

    @pytest.mark.parametrize("damage", sorted(UNLISTED))
    def test_without_their_list_the_last_one_is_used_and_it_says_so(self, model, damage):
        model.save(4, 8, 12)
        UNLISTED[damage](os.path.join(model.folder, "checkpoint"))
        assert model.last_good() == 12
        told = '{}: no file "checkpoint" says which is the last: using model.ckpt-12'
        assert model.told == [told.format(model.folder)]

    def test_none_is_good(self, model):
        model.save(4, 8)
        cut(model.file(4, "index")), os.remove(model.file(8, "data"))
        message = r"no checkpoint that can be read \(model.ckpt-8 is damaged .*; model.ckpt-4 is damaged .*\): put one"
        with pytest.raises(UserError, match=message):
            model.last_good()

    def test_there_is_none(self, tmp_path):
        with pytest.raises(UserError, match='has no checkpoint that can be read .no file "checkpoint" says'):
            checkpoints.last_good(str(tmp_path))

    def test_training_goes_on_from_it(self, model):
        model.save(4, 8, 12)
        cut(model.file(12, "data"))
        assert checkpoints.go_on_from_last_good(model.folder, model.told.append).endswith("-8")
        assert tf.train.latest_checkpoint(model.folder).endswith("model.ckpt-8")
        model.told.clear()
        assert model.last_good() == 8 and model.told == []
        # Of which the next one takes the place.
        model.save(12)
        assert checkpoints.steps_in(model.folder) == [4, 8, 12] and model.last_good() == 12

    def test_the_list_is_followed_where_it_can_be(self, model):
        model.save(4, 8, 12)
        checkpoints.write_list(model.folder, [4, 8])
        assert model.last_good() == 8 and model.told == []

    def test_the_one_asked_for_comes_first(self, model):
        model.save(4, 8)
        assert model.last_good(first=4) == 4 and model.told == []

    @pytest.mark.parametrize(
        "damage, problem", [(None, "is not there"), ("index", "has lost its index"), ("data", "is damaged (")]
    )
    def test_without_the_one_asked_for_the_listed_one_is_used_and_it_says_so(self, model, damage, problem):
        model.save(4, 6, 8, 12)
        checkpoints.write_list(model.folder, [4, 8])
        for ending in (damage,) if damage else ("index", "meta", "data"):
            os.remove(model.file(6, ending))
        assert model.last_good(first=6) == 8
        (line,) = model.told
        assert line.startswith("{}: model.ckpt-6 {}".format(model.folder, problem))
        assert line.endswith(": using model.ckpt-8")

    def test_lists_that_tensorflow_wrote(self, model):
        model.save(4, 8)
        for relative in (True, False):
            paths = [("" if relative else "/elsewhere/") + "model.ckpt-{}".format(step) for step in (4, 8)]
            tf.train.update_checkpoint_state(model.folder, paths[0], paths)
            assert model.last_good() == 4 and model.told == []

    def test_every_changed_byte_is_found(self, model):
        """Of the index all, of the data some: no changed value is ever read."""
        model.save(4)
        path = checkpoints.path_of(model.folder, 4)
        for ending, count in (("index", 300), ("data", 100)):
            file = model.file(4, ending)
            with open(file, "rb") as stream:
                content = stream.read()
            for position in np.linspace(0, len(content) - 1, min(count, len(content))).astype(int):
                changed = bytearray(content)
                changed[position] ^= 0x41
                with open(file, "wb") as stream:
                    stream.write(changed)
                if checkpoints.damage(path) is None:
                    values = tf.train.load_variable(path, "weights"), tf.train.load_variable(path, "global_step")
                    np.testing.assert_array_equal(values[0], np.full(1000, 4), err_msg=(ending, position))
                    assert values[1] == 4
            with open(file, "wb") as stream:
                stream.write(content)
        assert checkpoints.damage(path) is None

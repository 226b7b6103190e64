import gzip
import os
import threading

import numpy as np
import pytest
from synthetic import SHAPE, SPACING, image_of, scan, write_image

from utils.imaging import large_scan_turns
from utils.imaging.tasks import Case
from utils.preprocessing import cache
from utils.preprocessing.border_weights import border_weights
from utils.preprocessing.cache import keep, keep_in_turn
from utils.preprocessing.pipeline import prepare_case
from utils.system.errors import UserError

SETTINGS = {
    "input_shape": (4, 6, 5),
    "resize_interpolator": "linear",
    "fit": "resize",
    "spacing": None,
    "intensities": None,
    "classes": 3,
    "channels": 1,
}


@pytest.fixture
def cases(tmp_path):
    """Three labelled cases and one without a label."""
    made = []
    for number in range(4):
        rng = np.random.RandomState(number)
        image = write_image(image_of(scan(number)), tmp_path / ("image_{}.nii.gz".format(number)))
        values = rng.randint(0, 3, SHAPE).astype(np.uint8)
        label = write_image(image_of(values), tmp_path / ("label_{}.nii.gz".format(number))) if number < 3 else None
        made.append(Case("case_{}".format(number), image, label))
    return made


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "new" / "kept")


@pytest.fixture
def prepared(monkeypatch):
    """The names of the cases that were really preprocessed, and not found."""
    names = []

    def counting(case, settings):
        names.append(case.name)
        return prepare_case(case, settings)

    monkeypatch.setattr(cache, "prepare_case", counting)
    return names


def copies_in(directory):
    """The names of what is kept there, without the notes of what is in the cases' files."""
    return sorted(name for name in os.listdir(directory) if not name.endswith(".content.npy"))


def files_of(kept):
    facts = [one.image.replace(".image.npy", ".facts.npy") for one in kept]
    return facts + [path for one in kept for path in (one.image, one.label) if path]


def load(path):
    return np.load(path, mmap_mode="r", allow_pickle=False)


class TestKeep:
    def test_copies_are_what_preprocessing_gives_in_the_order_of_the_cases(self, cases, directory):
        cases = [cases[index] for index in (2, 0, 3, 1)]
        kept = keep(cases, SETTINGS, directory)
        assert [one.case for one in kept] == cases
        for one in kept:
            image, label, _ = prepare_case(one.case, SETTINGS)
            np.testing.assert_array_equal(load(one.image), image)
            assert load(one.image).dtype == np.float32 and load(one.image).flags.c_contiguous
            if label is None:
                assert one.label is None
            else:
                np.testing.assert_array_equal(load(one.label), label)
                assert load(one.label).dtype == np.uint8

    def test_files_are_named_after_the_case_and_nothing_else_is_left(self, cases, directory):
        kept = keep(cases, SETTINGS, directory)
        assert copies_in(directory) == sorted(os.path.basename(path) for path in files_of(kept))
        for one in kept:
            assert os.path.basename(one.image).startswith(one.case.name + "-")
            assert one.image.endswith(".image.npy")
            assert one.label is None or one.label == one.image.replace(".image.npy", ".label.npy")

    def test_what_the_voxels_tell_is_known_again_from_a_copy(self, cases, directory, prepared):
        first = keep(cases, SETTINGS, directory)
        assert [one.facts for one in keep(cases, SETTINGS, directory)] == [one.facts for one in first]
        assert len(prepared) == len(cases)
        for number, one in enumerate(first):
            values = scan(number)
            assert one.facts.intensities == [(values.min(), values.max())]
            assert (one.facts.voxels is None) == (one.case.label is None)

    def test_a_copy_that_does_not_know_it_is_made_anew(self, cases, directory, prepared):
        facts = keep(cases, SETTINGS, directory)[1].image.replace(".image.npy", ".facts.npy")
        for damage in (os.remove, lambda path: os.truncate(path, 20)):
            damage(facts)
            del prepared[:]
            assert keep(cases, SETTINGS, directory)[1].facts.voxels and prepared == ["case_1"]

    def test_progress_is_told_for_each_case_by_the_calling_thread(self, cases, directory):
        calls = []
        keep(cases, SETTINGS, directory, lambda *numbers: calls.append((numbers, threading.current_thread())))
        assert calls == [((done, 4), threading.current_thread()) for done in (1, 2, 3, 4)]

    @pytest.mark.parametrize("spacing, waits", [(2.0, False), (0.1, True)])
    def test_a_scan_that_becomes_large_waits_for_its_turn(self, cases, directory, monkeypatch, spacing, waits):
        seen, prepare = [], cache.prepare_case
        monkeypatch.setattr(large_scan_turns, "LARGE", 10**4)
        monkeypatch.setattr(
            cache, "prepare_case", lambda *given: seen.append(large_scan_turns._turn.locked()) or prepare(*given)
        )
        keep(cases[:2], dict(SETTINGS, fit="spacing", spacing=(spacing,) * 3, input_shape=(None,) * 3), directory)
        assert seen == [waits] * 2

    def test_no_cases(self, directory):
        assert keep([], SETTINGS, directory) == []

    def test_settings_from_json_are_the_same_settings(self, cases, directory, prepared):
        first = keep(cases, SETTINGS, directory)
        again = keep(cases, dict(SETTINGS, input_shape=[4, 6, 5], batch_size=2), directory)
        assert again == first and len(prepared) == 4

    def test_the_files_are_known_by_their_content_and_read_for_it_once(self, cases, directory, monkeypatch):
        hashed, read = [], cache._hash_of_file
        monkeypatch.setattr(cache, "_hash_of_file", lambda path: hashed.append(path) or read(path))
        contents = [one.content for one in keep(cases, SETTINGS, directory)]
        assert sorted(hashed) == sorted(path for case in cases for path in (case.image, case.label) if path)
        assert len(set(contents)) == len(cases) and all(len(content) == 32 for content in contents)
        # Whatever is made of them, and wherever they are.
        other = dict(SETTINGS, input_shape=(4, 4, 4))
        assert [one.content for one in keep(cases, other, directory)] == contents
        moved = []
        for case in cases:
            os.rename(case.image, case.image + ".moved.nii.gz")
            moved.append(case._replace(name="moved", image=case.image + ".moved.nii.gz"))
        assert [one.content for one in keep(moved, SETTINGS, directory)] == contents
        assert keep([cases[0]._replace(image=moved[1].image)], SETTINGS, directory)[0].content not in contents

    @pytest.mark.parametrize("changed", ["image", "label"])
    def test_the_same_content_compressed_anew_is_the_same(self, cases, directory, changed, prepared):
        first = keep(cases, SETTINGS, directory)
        path = getattr(cases[1], changed)
        with gzip.open(path) as file:
            content = file.read()
        with open(path, "wb") as file:
            file.write(gzip.compress(content, 1))
        again = keep(cases, SETTINGS, directory)
        assert len(prepared) == len(cases)
        assert [one._replace(former=None) for one in again] == [one._replace(former=None) for one in first]
        assert [one.former == other.former for one, other in zip(again, first)] == [True, False, True, True]

    def test_what_is_in_a_file_is_looked_at_once(self, cases, directory, monkeypatch):
        unpacked, read = [], cache.hash_of
        monkeypatch.setattr(cache, "hash_of", lambda path: unpacked.append(path) or read(path))
        first = keep(cases, SETTINGS, directory)
        assert len(unpacked) == 7
        assert keep(cases, SETTINGS, directory) == first and len(unpacked) == 7
        for name in set(os.listdir(directory)) - set(copies_in(directory)):
            with open(os.path.join(directory, name), "wb") as file:
                file.write(b"damaged")
        assert keep(cases, SETTINGS, directory) == first and len(unpacked) == 14


class TestKeepInTurn:
    def test_hands_out_what_keep_returns(self, cases, directory, prepared):
        found = list(keep_in_turn(cases, SETTINGS, directory, 2))
        assert len(prepared) == len(cases)
        assert found == keep(cases, SETTINGS, directory)
        assert len(prepared) == len(cases)

    def test_a_bad_case_comes_in_its_place_as_an_error(self, cases, directory):
        open(cases[2].image, "wb").close()
        found = list(keep_in_turn(cases, SETTINGS, directory, 2))
        assert isinstance(found[2], UserError) and "image_2.nii.gz: is empty" in str(found[2])
        # Nothing of the volumes stays with it.
        assert found[2].__traceback__ is None and found[2].__cause__ is None
        good = [kept for kept in found if not isinstance(kept, UserError)]
        assert [kept.case.name for kept in good] == ["case_0", "case_1", "case_3"]

    def test_a_directory_that_cannot_be_made(self, cases, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(UserError, match="taken: cannot be made"):
            list(keep_in_turn(cases, SETTINGS, str(tmp_path / "taken"), 2))


class TestCropped:
    # Of five voxels along x three are seen.
    PADDED = dict(SETTINGS, fit="pad", spacing=SPACING, input_shape=(3, 7, 4))

    @pytest.fixture
    def looked_at(self, monkeypatch):
        """The names of the cases whose share was really counted, and not found."""
        names, count = [], cache.cropped_share
        monkeypatch.setattr(cache, "cropped_share", lambda case, *given: names.append(case.name) or count(case, *given))
        return names

    def test_is_the_share_of_the_structures(self, cases, directory, looked_at):
        kept = keep(cases, self.PADDED, directory)
        for number, one in enumerate(kept[:3]):
            truth = np.random.RandomState(number).randint(0, 3, SHAPE) > 0
            assert one.cropped == pytest.approx(truth[[0, 4]].sum() / truth.sum())
            assert 0 < one.cropped < 1
        assert kept[3].cropped == 0
        assert sorted(looked_at) == ["case_0", "case_1", "case_2"]

    def test_is_counted_once(self, cases, directory, prepared, looked_at):
        first = keep(cases, self.PADDED, directory)
        del looked_at[:], prepared[:]
        assert keep(cases, self.PADDED, directory) == first == list(keep_in_turn(cases, self.PADDED, directory, 2))
        assert looked_at == prepared == []

    def test_a_copy_that_is_kept_without_it_gets_it(self, cases, directory, prepared, looked_at):
        first = keep(cases, self.PADDED, directory)
        os.remove(first[1].label.replace(".label.npy", ".cropped.npy"))
        del looked_at[:], prepared[:]
        assert keep(cases, self.PADDED, directory) == first
        assert looked_at == ["case_1"] and prepared == []

    @pytest.mark.parametrize("changes", [{"fit": "resize"}, {"fit": "spacing", "input_shape": (None,) * 3}])
    def test_nothing_is_where_scans_are_seen_whole(self, cases, directory, looked_at, changes):
        kept = keep(cases, dict(self.PADDED, **changes), directory)
        assert [one.cropped for one in kept] == [0] * 4 and looked_at == []


class TestSecondRun:
    def test_everything_is_found(self, cases, directory, prepared):
        calls = []
        first = keep(cases, SETTINGS, directory)
        times = [os.stat(path).st_mtime_ns for path in files_of(first)]
        second = keep(cases, SETTINGS, directory, lambda *numbers: calls.append(numbers))
        assert second == first and len(prepared) == 4
        assert [os.stat(path).st_mtime_ns for path in files_of(second)] == times
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]

    @pytest.mark.parametrize(
        "changes",
        [
            {"input_shape": (6, 4, 5)},
            {"resize_interpolator": "nearest_neighbor"},
            {"classes": 4},
        ],
    )
    def test_another_setting_makes_others(self, cases, directory, changes, prepared):
        first = keep(cases, SETTINGS, directory)
        second = keep(cases, dict(SETTINGS, **changes), directory)
        assert not set(files_of(first)) & set(files_of(second))
        assert len(prepared) == 8
        assert keep(cases, SETTINGS, directory) == first and len(prepared) == 8

    @pytest.mark.parametrize("changed", ["image", "label"])
    def test_a_changed_file_is_prepared_anew(self, cases, directory, changed, prepared):
        first = keep(cases, SETTINGS, directory)
        path = getattr(cases[1], changed)
        stat = os.stat(path)
        values = scan(9) if changed == "image" else np.full(SHAPE, 2, np.uint8)
        write_image(image_of(values), path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        del prepared[:]
        second = keep(cases, SETTINGS, directory)
        assert prepared == ["case_1"]
        assert [old == new for old, new in zip(first, second)] == [True, False, True, True]
        image, label, _ = prepare_case(cases[1], SETTINGS)
        np.testing.assert_array_equal(load(second[1].image), image)
        np.testing.assert_array_equal(load(second[1].label), label)

    def test_another_version_of_preprocessing_makes_others(self, cases, directory, monkeypatch):
        first = keep(cases, SETTINGS, directory)
        monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)
        assert not set(files_of(first)) & set(files_of(keep(cases, SETTINGS, directory)))

    def test_image_and_label_do_not_stand_for_each_other(self, tmp_path, directory):
        path = write_image(image_of(np.zeros(SHAPE, np.uint8)), tmp_path / "zeros.nii.gz")
        kept = keep([Case("a", path, path), Case("a", path, None)], SETTINGS, directory)
        assert kept[0].image != kept[1].image


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [b"", b"\x93NUMPY", b"PK\x03\x04 no archive", b"text", None],
        ids=["empty", "start", "archive", "text", "cut off"],
    )
    @pytest.mark.parametrize("part", ["image", "label"])
    def test_a_damaged_copy_is_made_anew(self, cases, directory, part, content, prepared):
        kept = keep(cases, SETTINGS, directory)
        path = getattr(kept[2], part)
        with open(path, "rb") as file:
            whole = file.read()
        with open(path, "wb") as file:
            file.write(whole[:-1] if content is None else content)
        del prepared[:]
        assert keep(cases, SETTINGS, directory) == kept and prepared == ["case_2"]
        with open(path, "rb") as file:
            assert file.read() == whole

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((4, 6, 5), np.float32),
            np.zeros((4, 6, 5, 1), np.float64),
            np.zeros((4, 6, 5, 1), ">f4"),
            np.zeros((4, 6, 5, 1), np.float32, order="F"),
            np.array([None]),
        ],
        ids=["shape", "type", "byte order", "order", "objects"],
    )
    def test_another_array_is_made_anew(self, cases, directory, array):
        kept = keep(cases, SETTINGS, directory)
        np.save(kept[0].image, array)
        keep(cases, SETTINGS, directory)
        np.testing.assert_array_equal(load(kept[0].image), prepare_case(cases[0], SETTINGS)[0])
        assert load(kept[0].image).flags.c_contiguous

    @pytest.mark.parametrize("part", ["image", "label"])
    def test_a_missing_copy_is_made_anew(self, cases, directory, part):
        kept = keep(cases, SETTINGS, directory)
        os.remove(getattr(kept[1], part))
        assert keep(cases, SETTINGS, directory) == kept
        assert all(os.path.isfile(path) for path in files_of(kept))


class TestErrors:
    def test_all_bad_cases_are_told_in_their_order(self, cases, directory):
        open(cases[2].image, "wb").close()
        os.remove(cases[0].image)
        write_image(image_of(np.full(SHAPE, 7, np.uint8)), cases[1].label)
        with pytest.raises(UserError) as caught:
            keep(cases, SETTINGS, directory)
        lines = str(caught.value).splitlines()
        assert lines[0] == "3 of 4 cases cannot be used:"
        assert "image_0.nii.gz: cannot be read" in lines[1]
        assert "label_1.nii.gz: has the value 7" in lines[2]
        assert "image_2.nii.gz: is empty" in lines[3]
        assert len(lines) == 4

    def test_the_good_ones_are_kept_all_the_same(self, cases, directory, prepared):
        open(cases[2].image, "wb").close()
        with pytest.raises(UserError, match="^1 of 4 cases"):
            keep(cases, SETTINGS, directory)
        good = [case for case in cases if case.name != "case_2"]
        del prepared[:]
        keep(good, SETTINGS, directory)
        assert prepared == []

    def test_a_bug_is_no_bad_case(self, cases, directory, monkeypatch):
        def broken(case, settings):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(cache, "prepare_case", broken)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            keep(cases, SETTINGS, directory)

    def test_a_directory_that_cannot_be_made(self, cases, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(UserError, match="taken: cannot be made"):
            keep(cases, SETTINGS, str(tmp_path / "taken"))

    def test_a_copy_that_cannot_be_written(self, cases, directory):
        kept = keep(cases, SETTINGS, directory)
        os.remove(kept[0].image)
        os.mkdir(kept[0].image)
        with pytest.raises(UserError, match=r"^\S+image\.npy: cannot be written: Is a directory$"):
            keep(cases, SETTINGS, directory)
        assert copies_in(directory) == sorted(os.path.basename(path) for path in files_of(kept))


class TestPositions:
    """Voxels of the structures, for the places of patches."""

    PATCHES = dict(SETTINGS, fit="spacing", spacing=(1.0, 1.0, 1.0), input_shape=(None,) * 3, positions=True)

    def test_lie_beside_the_label_at_the_spacing(self, cases, directory):
        for one in keep(cases[:3], self.PATCHES, directory):
            label, positions = load(one.label), load(one.positions)
            assert label.shape == load(one.image).shape[:3] == (3, 8, 12)
            assert positions.dtype == np.int32 and len(positions) == np.count_nonzero(label)
            np.testing.assert_array_equal(label[tuple(positions[:, 1:].T)], positions[:, 0])

    def test_are_made_where_they_are_missing_and_are_always_the_same(self, cases, directory, prepared, monkeypatch):
        monkeypatch.setattr(cache.foreground.positions, "__defaults__", (50,))
        assert keep(cases[:1], dict(self.PATCHES, positions=False), directory)[0].positions is None
        (one,) = keep(cases[:1], self.PATCHES, directory)
        first = load(one.positions).copy()
        os.remove(one.positions)
        (again,) = keep(cases[:1], self.PATCHES, directory)
        np.testing.assert_array_equal(load(again.positions), first)
        assert prepared == ["case_0"] and 0 < len(first) <= 100 < np.count_nonzero(load(one.label))

    @pytest.mark.parametrize("content", [b"", b"damaged", None])
    def test_a_damaged_file_is_made_anew(self, cases, directory, content):
        (one,) = keep(cases[:1], self.PATCHES, directory)
        before = load(one.positions).copy()
        if content is None:
            np.save(one.positions, before[:, :2])
        else:
            with open(one.positions, "wb") as file:
                file.write(content)
        np.testing.assert_array_equal(load(keep(cases[:1], self.PATCHES, directory)[0].positions), before)


class TestSlices:
    """Cases of which the network sees slices."""

    @pytest.fixture
    def kept(self, cases, directory):
        def make(shape, trained_on=None):
            return keep(cases[:2], dict(SETTINGS, input_shape=shape, borders=True), directory, trained_on=trained_on)

        return make

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_borders_are_those_of_each_slice_by_itself(self, kept, axis):
        shape = [8, 8, 8]
        shape[axis] = None
        for one in kept(shape):
            label, borders = np.load(one.label), np.load(one.borders)
            assert borders.shape == label.shape and borders.dtype == np.float32
            assert len(np.unique(label)) > 2 and borders.max() > 0
            for place in range(label.shape[axis]):
                expected = border_weights(label.take(place, axis=axis))
                np.testing.assert_array_equal(borders.take(place, axis=axis), expected)

    def test_of_whole_cases_they_are_those_of_volumes(self, kept):
        first, _ = kept([8, 8, 8])
        np.testing.assert_array_equal(np.load(first.borders), border_weights(np.load(first.label)))

    def test_only_what_is_trained_on_has_them(self, kept):
        first, second = kept([8, 8, None], trained_on=1)
        assert os.path.exists(first.borders) and second.borders is None

    def test_a_slice_across_z_lies_in_one_piece(self, kept):
        """Read by itself, it takes what it holds from the disk, not a little from every page of the file."""
        first = kept([8, 8, None])[0]
        for path in (first.image, first.label, first.borders):
            array = np.load(path, mmap_mode="r")
            assert array.flags.f_contiguous and not array.flags.c_contiguous
        whole = kept([8, 8, 8])[0]
        assert np.load(whole.image, mmap_mode="r").flags.c_contiguous

    def test_what_is_kept_is_found_again(self, kept):
        first = kept([8, 8, None])
        changed = {path: os.stat(path).st_mtime_ns for one in first for path in (one.image, one.label, one.borders)}
        again = kept([8, 8, None])
        assert again == first
        assert changed == {path: os.stat(path).st_mtime_ns for path in changed}

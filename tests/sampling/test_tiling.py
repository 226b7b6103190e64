import itertools

import numpy as np
import pytest

from utils.sampling import sliding_window
from utils.sampling.tiling import Patches, Slices, Whole, feeding_of, fit_of, items_of, put_together

SHAPES = [(5, 7, 4), (5, 7, 1), (5, 7, 9)]
AXES = pytest.mark.parametrize("axis", [0, 1, 2])


def slices_of(axis):
    """Slices of 5 x 7 across one of the axes."""
    return Slices([5, 7][:axis] + [1] + [5, 7][axis:], axis)


def case_of(number, axis, count, channels=2):
    """A random image of so many slices across the axis."""
    shape = [5, 7][:axis] + [count] + [5, 7][axis:]
    return np.random.RandomState(number).rand(*shape + [channels]).astype(np.float32)


class TestWhole:
    def test_a_case_is_an_item(self):
        image = np.arange(24.0).reshape(2, 3, 4, 1)
        feeding = Whole([2, 3, 4])
        assert feeding.item_shape == feeding.case_shape == (2, 3, 4)
        (item,) = items_of(image, feeding)
        np.testing.assert_array_equal(item, image)
        assert np.shares_memory(item, image)


class TestSlices:
    @AXES
    def test_every_slice_is_an_item_in_order(self, axis):
        image = case_of(0, axis, 4)
        items = list(items_of(image, slices_of(axis)))
        assert [item.shape[:3] for item in items] == [slices_of(axis).item_shape] * 4
        np.testing.assert_array_equal(np.concatenate(items, axis=axis), image)

    @AXES
    def test_a_case_keeps_its_number_of_slices(self, axis):
        assert slices_of(axis).case_shape == tuple([5, 7][:axis] + [None] + [5, 7][axis:])


class TestPatches:
    SHAPES = [(9, 7, 4), (3, 12, 8), (5, 5, 5)]

    def feeding(self, tmp_path, overlap=0.5):
        return Patches([5, 6, 4], overlap, str(tmp_path))

    def test_a_case_has_any_size(self, tmp_path):
        assert self.feeding(tmp_path).case_shape == (None, None, None)
        assert self.feeding(tmp_path).item_shape == (5, 6, 4)

    def test_around_a_smaller_case_is_what_there_is_around_its_channels_and_no_structure(self, tmp_path):
        feeding = self.feeding(tmp_path)
        feeding.filling = np.array([-2.0, 3.0], np.float32)
        image, label = np.ones((3, 6, 4, 2), np.float32), np.ones((3, 6, 4), np.uint8)
        (corner,) = feeding.corners(label.shape)
        np.testing.assert_array_equal(feeding.cut(image, corner)[:, 0, 0], [[-2, 3], [1, 1], [1, 1], [1, 1], [-2, 3]])
        np.testing.assert_array_equal(feeding.cut(label, corner)[:, 0, 0], [0, 1, 1, 1, 0])

    @pytest.mark.parametrize("in_memory", [0, 1 << 27])
    @pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
    def test_of_all_cases_come_back_what_was_cut(self, tmp_path, monkeypatch, overlap, in_memory):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", in_memory)
        feeding = self.feeding(tmp_path, overlap)
        images = [np.random.RandomState(0).rand(*shape + (2,)).astype(np.float32) for shape in self.SHAPES]
        cases = iter(list(enumerate(self.SHAPES)))
        items = itertools.chain.from_iterable(items_of(image, feeding) for image in images)
        found = list(put_together(items, lambda: next(cases), feeding))
        assert [number for number, _ in found] == [0, 1, 2]
        for (_, whole), image in zip(found, images):
            np.testing.assert_allclose(whole, image, atol=1e-6)


class TestPutTogether:
    @pytest.mark.parametrize("feeding", [slices_of(0), Patches([2, 5, 7], 0.5, "unused")])
    @pytest.mark.parametrize("missing", [1, 3])
    def test_a_case_that_lacks_an_item_does_not_come(self, feeding, missing):
        images = [case_of(number, 0, 6) for number in range(2)]
        cases = iter([(number, image.shape[:3]) for number, image in enumerate(images)])
        items = list(itertools.chain.from_iterable(items_of(image, feeding) for image in images))
        found = list(put_together(iter(items[:-missing]), lambda: next(cases), feeding))
        assert [number for number, _ in found] == [0]
        np.testing.assert_allclose(found[0][1], images[0], atol=1e-6)

    @AXES
    @pytest.mark.parametrize("counts", [(4,), (1, 1), (3, 1, 6)])
    def test_gives_back_what_was_cut(self, axis, counts):
        feeding = slices_of(axis)
        images = [case_of(number, axis, count) for number, count in enumerate(counts)]
        cases = iter(list(enumerate(image.shape[:3] for image in images)))
        items = itertools.chain.from_iterable(items_of(image, feeding) for image in images)
        found = list(put_together(items, lambda: next(cases), feeding))
        assert [number for number, _ in found] == list(range(len(counts)))
        for (_, whole), image in zip(found, images):
            np.testing.assert_array_equal(whole, image)

    def test_a_whole_case_is_handed_on_as_it_came(self):
        predictions = [np.ones((2, 2, 2, 3)), np.zeros((2, 2, 2, 3))]
        cases = iter([("a", (2, 2, 2)), ("b", (2, 2, 2))])
        found = list(put_together(iter(predictions), lambda: next(cases), Whole((2, 2, 2))))
        assert [name for name, _ in found] == ["a", "b"]
        assert all(whole is prediction for (_, whole), prediction in zip(found, predictions))

    def test_asks_for_a_case_once_its_first_item_has_come(self):
        """A case is known no sooner than that where others read it meanwhile."""
        asked, feeding = [], slices_of(2)

        def predictions():
            for number in range(2):
                assert len(asked) == number
                for _ in range(3):
                    yield np.zeros((5, 7, 1, 2))

        def next_case():
            asked.append(len(asked))
            return asked[-1], (5, 7, 3)

        assert [case for case, _ in put_together(predictions(), next_case, feeding)] == [0, 1]


class TestFeedingOf:
    def test_vnet_sees_whole_cases(self):
        feeding = feeding_of({"model": "vnet", "input_shape": [8, 6, 4], "slice_axis": "x", "sampling": "resize"})
        assert type(feeding) is Whole and feeding.item_shape == (8, 6, 4)

    @AXES
    def test_unet_sees_slices(self, axis):
        shape = list(slices_of(axis).item_shape)
        feeding = feeding_of({"model": "unet", "input_shape": shape, "slice_axis": "xyz"[axis]})
        assert feeding.case_shape == slices_of(axis).case_shape and feeding.axis == axis

    def test_vnet_sees_patches_of_cases_at_their_spacing(self, tmp_path):
        params = {"model": "vnet", "input_shape": [8, 6, 4], "sampling": "patch", "fit": "pad"}
        feeding = feeding_of(dict(params, patch_overlap=0.25, cache_dir=str(tmp_path)))
        assert type(feeding) is Patches and feeding.item_shape == (8, 6, 4)
        assert feeding.corners((14, 6, 4)) == [(0, 0, 0), (6, 0, 0)]
        assert fit_of(params) == "spacing" and fit_of(dict(params, sampling="resize")) == "pad"

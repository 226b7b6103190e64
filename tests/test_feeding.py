import itertools

import numpy as np
import pytest

from utils.feeding import Slices, Whole, feeding_of, items_of, put_together

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


class TestPutTogether:
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
        feeding = feeding_of({"model": "vnet", "input_shape": [8, 6, 4], "slice_axis": "x"})
        assert type(feeding) is Whole and feeding.item_shape == (8, 6, 4)

    @AXES
    def test_unet_sees_slices(self, axis):
        shape = list(slices_of(axis).item_shape)
        feeding = feeding_of({"model": "unet", "input_shape": shape, "slice_axis": "xyz"[axis]})
        assert feeding.case_shape == slices_of(axis).case_shape and feeding.axis == axis

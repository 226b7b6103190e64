import numpy as np
import pytest

from utils.components import largest_components

SHAPE = (9, 13, 7)


def boxes(*parts):
    """A mask of boxes: (value, first corner, last corner)."""
    mask = np.zeros(SHAPE, np.uint8)
    for value, first, last in parts:
        mask[tuple(slice(low, high + 1) for low, high in zip(first, last))] = value
    return mask


LARGE = (1, (0, 0, 0), (3, 4, 2))


class TestBasic:
    def test_a_smaller_part_becomes_background(self):
        mask = boxes(LARGE, (1, (6, 9, 4), (7, 10, 5)))
        np.testing.assert_array_equal(largest_components(mask, 2), boxes(LARGE))

    @pytest.mark.parametrize("value", [1, 2])
    def test_each_structure_by_itself(self, value):
        other = (3 - value, (5, 6, 4), (5, 6, 4))
        mask = boxes((value,) + LARGE[1:], other, (value, (8, 12, 6), (8, 12, 6)))
        np.testing.assert_array_equal(largest_components(mask, 3), boxes((value,) + LARGE[1:], other))

    def test_one_part_stays_as_it_is_and_the_mask_given_too(self):
        mask = boxes(LARGE, (2, (4, 0, 0), (5, 5, 5)))
        before = mask.copy()
        cleared = largest_components(mask, 3)
        np.testing.assert_array_equal(cleared, before)
        np.testing.assert_array_equal(mask, before)
        assert cleared.dtype == np.uint8 and cleared is not mask

    def test_clearing_again_changes_nothing(self):
        mask = np.random.RandomState(0).randint(0, 4, SHAPE).astype(np.uint8)
        cleared = largest_components(mask, 4)
        np.testing.assert_array_equal(largest_components(cleared, 4), cleared)


class TestEdgeCases:
    def test_corners_connect(self):
        mask = boxes((1, (0, 0, 0), (1, 1, 1)), (1, (2, 2, 2), (2, 2, 2)))
        np.testing.assert_array_equal(largest_components(mask, 2), mask)

    def test_an_empty_mask(self):
        assert not largest_components(boxes(), 3).any()

    def test_of_equal_parts_one_stays(self):
        mask = boxes((1, (0, 0, 0), (1, 1, 1)), (1, (5, 5, 5), (6, 6, 6)))
        assert largest_components(mask, 2).sum() == 8

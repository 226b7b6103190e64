import numpy as np
import pytest
import SimpleITK as sitk

from utils.inference import components
from utils.inference.components import clear_smaller_parts

SHAPE = (9, 13, 7)


def boxes(*parts):
    """A mask of boxes: (value, first corner, last corner)."""
    mask = np.zeros(SHAPE, np.uint8)
    for value, first, last in parts:
        mask[tuple(slice(low, high + 1) for low, high in zip(first, last))] = value
    return mask


def largest_components(mask, classes):
    """A copy of a mask, cleared."""
    cleared = mask.copy()
    clear_smaller_parts(cleared, classes)
    return cleared


def by_relabelling(mask, classes):
    """The same by ITK's own way of finding the largest part, of the whole volume."""
    kept = np.zeros_like(mask)
    for value in range(1, classes):
        found = sitk.GetImageFromArray((mask == value).astype(np.uint8))
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(found, True), sortByObjectSize=True)
        kept[sitk.GetArrayFromImage(parts) == 1] = value
    return kept


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

    def test_one_part_stays_as_it_is(self):
        mask = boxes(LARGE, (2, (4, 0, 0), (5, 5, 5)))
        before = mask.copy()
        assert not clear_smaller_parts(mask, 3).any()
        np.testing.assert_array_equal(mask, before)

    def test_the_slices_that_changed_are_told(self):
        mask = boxes(LARGE, (1, (6, 9, 4), (7, 10, 5)), (2, (8, 0, 3), (8, 0, 4)), (2, (8, 12, 1), (8, 12, 1)))
        before = mask.copy()
        changed = clear_smaller_parts(mask, 3)
        assert np.flatnonzero(changed).tolist() == [1, 4, 5]
        np.testing.assert_array_equal(changed, (mask != before).any(axis=(0, 1)))

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

    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("values_at_once", [1, 100, 1 << 22])
    @pytest.mark.parametrize("seed", range(4))
    def test_equal_parts_anywhere(self, monkeypatch, seed, values_at_once, order):
        monkeypatch.setattr(components, "VOXELS_AT_ONCE", values_at_once)
        random = np.random.RandomState(seed)
        mask = np.array(random.choice(3, SHAPE, p=(0.95, 0.03, 0.02)).astype(np.uint8), order=order)
        np.testing.assert_array_equal(largest_components(mask, 3), by_relabelling(mask, 3))

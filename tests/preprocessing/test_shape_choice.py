import numpy as np
import pytest

from utils.preprocessing import shape_choice

CUBE = (1.0, 1.0, 1.0)


def voxels_up_to(most):
    return lambda shape: np.prod(shape) <= most


class TestLevels:
    @pytest.mark.parametrize("sizes, levels", [((5, 50, 50), 1), ((12, 30, 40), 2), ((24, 30, 40), 3), ((200,) * 3, 4)])
    def test_leave_three_voxels_along_each_axis(self, sizes, levels):
        assert shape_choice.levels_for(sizes) == levels
        assert min(sizes) // 2**levels >= 3 or levels == 1

    @pytest.mark.parametrize("shape, levels", [((48, 48, 48), 4), ((40, 56, 40), 3), ((36, 48, 48), 2), ((6, 6, 6), 1)])
    def test_of_a_shape_that_is_settled(self, shape, levels):
        assert shape_choice.levels_within(shape) == levels
        assert all(size % 2**levels == 0 for size in shape)


class TestWhole:
    SIZES = np.array([[30, 44, 20], [33, 50, 22], [36, 52, 23], [39, 70, 31]])

    def test_has_room_for_three_in_four(self):
        shape = shape_choice.whole(self.SIZES)
        assert ((self.SIZES <= shape).mean(axis=0) >= 0.75).all()
        assert shape == [40, 64, 32]

    @pytest.mark.parametrize("levels", [1, 3, 5])
    def test_can_be_halved_as_often_as_is_asked(self, levels):
        shape = shape_choice.whole(self.SIZES, levels)
        assert all(size % 2**levels == 0 and size > 0 for size in shape)
        assert all(size - room < 2**levels for size, room in zip(shape, np.percentile(self.SIZES, 75, axis=0)))


class TestPatch:
    SIZES = np.array([[512, 480, 90], [500, 512, 110], [512, 512, 100]])

    def test_is_about_as_long_along_each_axis_in_mm(self):
        spacing = np.array([0.8, 0.8, 2.5])
        shape = shape_choice.patch(self.SIZES, spacing, voxels_up_to(2**18))
        extent = shape * spacing
        assert 0.6 * 2**18 < np.prod(shape) <= 2**18 and extent.max() < 1.5 * extent.min()

    def test_is_no_larger_than_the_median_scan(self):
        shape = shape_choice.patch(self.SIZES, np.array(CUBE), voxels_up_to(10**9))
        assert np.array_equal(shape, [512, 512, 96])
        assert shape_choice.levels_for(shape) == 4

    def test_of_few_slices_keeps_them(self):
        shape = shape_choice.patch(np.array([[300, 300, 14]]), np.array([0.8, 0.8, 5.0]), voxels_up_to(30000))
        assert shape[2] == 12 and min(shape[:2]) >= 48

    @pytest.mark.parametrize("levels", [1, 2, 4])
    def test_can_be_halved_as_often_as_is_asked(self, levels):
        shape = shape_choice.patch(self.SIZES, np.array(CUBE), voxels_up_to(2**16), levels)
        assert all(size % 2**levels == 0 for size in shape) and np.prod(shape) <= 2**16

    def test_where_nothing_fits_it_is_the_smallest(self):
        assert shape_choice.patch(self.SIZES, np.array(CUBE), lambda shape: False, 2) == [4, 4, 4]

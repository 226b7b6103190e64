import numpy as np
import pytest

from utils.visualization import planes

SHAPE = (20, 31, 14)


def box(start, size):
    marked = np.zeros(SHAPE, bool)
    marked[tuple(slice(first, first + extent) for first, extent in zip(start, size))] = True
    return marked


class TestMiddle:
    def test_centre_of_what_is_marked(self):
        assert planes.middle_of(SHAPE, box((4, 6, 3), (5, 9, 3))) == (6, 10, 4)

    def test_middle_of_the_image_where_nothing_is(self):
        assert planes.middle_of(SHAPE, np.zeros(SHAPE, bool)) == (10, 15, 7)

    def test_two_halves_are_not_cut_between(self):
        marked = box((4, 6, 3), (2, 2, 2)) | box((16, 28, 10), (2, 2, 2))
        for axis, index in enumerate(planes.middle_of(SHAPE, marked)):
            assert marked.take(index, axis=axis).any()


class TestCut:
    @pytest.mark.parametrize("across, up, through", planes.PLANES)
    def test_shows_its_two_axes_at_the_middle(self, across, up, through):
        # In the order of an image's voxels.
        volume, middle = np.arange(np.prod(SHAPE)).reshape(SHAPE[::-1]).transpose(2, 1, 0), (3, 17, 9)
        found = planes.cut(volume, through, middle)
        assert found.shape == (SHAPE[across], SHAPE[up])
        assert found[middle[across], middle[up]] == volume[middle]
        # Scans of hundreds of megabytes are not copied for it.
        assert np.shares_memory(found, volume)


class TestGreyWindow:
    def test_leaves_out_a_few_extremes(self):
        image = np.linspace(0.0, 1000.0, 8000).reshape(20, 20, 20)
        assert planes.grey_window(image) == pytest.approx((5.0, 995.0), abs=0.5)

    @pytest.mark.parametrize("value", [0.0, -3.0])
    def test_a_constant_image_lies_in_its_middle(self, value):
        assert planes.grey_window(np.full(SHAPE, value)) == (value - 0.5, value + 0.5)

    def test_what_is_not_finite_does_not_count(self):
        image = np.full((4, 4, 4), np.nan)
        image[0, 0, :2] = 1.0, 2.0
        low, high = planes.grey_window(image)
        assert 1.0 <= low < high <= 2.0

    def test_nothing_finite(self):
        assert planes.grey_window(np.full((3, 3, 3), np.inf)) == (0.0, 1.0)

    def test_a_large_volume_is_sampled_to_the_same(self):
        large = np.random.RandomState(0).uniform(0.0, 1000.0, (130, 120, 110))
        assert planes.grey_window(large) == pytest.approx((5.0, 995.0), abs=2.0)


class TestColours:
    def test_are_distinct_and_start_again(self):
        colours = [planes.colour_of(number) for number in range(1, len(planes.COLOURS) + 1)]
        assert len(set(colours)) == len(colours)
        assert planes.colour_of(len(colours) + 1) == colours[0]

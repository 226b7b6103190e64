import numpy as np
import pytest

from utils.mirroring import (
    framed,
    input_size,
    is_input_size,
    margin,
    mirrored_indices,
    output_size,
    unframed,
    window,
)

LEVELS = range(1, 7)
BOTH = pytest.mark.parametrize("padding", ["valid", "same"])


def labelled(size, levels, padding):
    """Return how many pixels come out of so many, block by block; None where a pooling cannot halve them."""
    taken = 4 if padding == "valid" else 0
    for _ in range(levels):
        size -= taken
        if size <= 0 or size % 2:
            return None
        size //= 2
    size -= taken
    for _ in range(levels):
        if size <= 0:
            return None
        size = 2 * size - taken
    return size if size > 0 else None


def mirrored_by_steps(size, place):
    """Return where a walk from pixel 0 to `place` ends that turns back at the outermost pixels."""
    at, direction = 0, 1 if place > 0 else -1
    for _ in range(abs(place)):
        if not 0 <= at + direction < size:
            direction = -direction
        at += direction if size > 1 else 0
    return at


def mirrored(image, before, after):
    """Return an image with so many pixels more at both ends of x and y, mirrored by steps."""
    for axis in (0, 1):
        size = image.shape[axis]
        image = image.take([mirrored_by_steps(size, at) for at in range(-before[axis], size + after[axis])], axis)
    return image


class TestSizes:
    def test_those_of_the_paper(self):
        assert margin(4, "valid") == 184
        assert input_size(388, 4, "valid") == 572 and output_size(572, 4, "valid") == 388

    @BOTH
    @pytest.mark.parametrize("levels", LEVELS)
    def test_are_those_that_come_out_block_by_block(self, levels, padding):
        for size in range(1, 900):
            expected = labelled(size, levels, padding)
            assert is_input_size(size, levels, padding) == (expected is not None), size
            if expected is not None:
                assert output_size(size, levels, padding) == expected

    @BOTH
    @pytest.mark.parametrize("levels", LEVELS)
    def test_an_input_is_the_smallest_that_labels_enough(self, levels, padding):
        sizes = {size: labelled(size, levels, padding) for size in range(1, 1300)}
        for wanted in range(1, 400):
            enough = [size for size, out in sizes.items() if out is not None and out >= wanted]
            assert input_size(wanted, levels, padding) == min(enough), wanted


class TestMirroredIndices:
    @pytest.mark.parametrize("size", range(1, 7))
    def test_turn_back_at_the_outermost_pixels_as_often_as_it_takes(self, size):
        found = mirrored_indices(size, -25, size + 25).tolist()
        assert found == [mirrored_by_steps(size, place) for place in range(-25, size + 25)]

    def test_within_the_axis_nothing_changes(self):
        assert mirrored_indices(9, 2, 7).tolist() == [2, 3, 4, 5, 6]


class TestWindow:
    def test_takes_any_part_with_its_mirrored_surroundings(self):
        image = np.random.RandomState(0).rand(5, 7, 2)
        around = mirrored(image, (20, 20), (20, 20))
        for corner in ((0, 0), (-20, 3), (2, -11), (4, 6), (9, -4)):
            found = window(image, corner, (6, 11))
            x, y = corner[0] + 20, corner[1] + 20
            np.testing.assert_array_equal(found, around[x : x + 6, y : y + 11])

    def test_of_an_image_and_of_its_label_show_the_same_places(self):
        image = np.arange(12).reshape(3, 4)
        label = (image % 5).astype(np.uint8)
        found = window(label, (-7, 2), (20, 9))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, window(image, (-7, 2), (20, 9)) % 5)


class TestFramed:
    @BOTH
    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 50), (40, 17), (64, 64), (101, 90)])
    @pytest.mark.parametrize("levels", [1, 2, 4])
    def test_every_pixel_gets_the_label_of_its_own_place(self, shape, levels, padding):
        """Of a network that labels each pixel with what is there, and loses what unpadded convolutions take."""
        image = np.random.RandomState(sum(shape)).rand(*shape + (2,))
        seen = framed(image, levels, padding)
        assert all(is_input_size(size, levels, padding) for size in seen.shape[:2])
        lost = margin(levels, padding) // 2
        output = seen[lost : seen.shape[0] - lost, lost : seen.shape[1] - lost]
        np.testing.assert_array_equal(unframed(output, shape), image)

    def test_mirrors_on_all_sides_alike(self):
        image = np.arange(12.0).reshape(4, 3)
        np.testing.assert_array_equal(framed(image, 1, "valid"), mirrored(image, (8, 8), (8, 9)))

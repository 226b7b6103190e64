import pytest

from model.mirroring import framing, input_size, margin, mirrored_indices

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


class TestSizes:
    def test_those_of_the_paper(self):
        assert margin(4, "valid") == 184
        assert input_size(388, 4, "valid") == 572

    @BOTH
    @pytest.mark.parametrize("levels", LEVELS)
    def test_a_margin_less_comes_out_block_by_block(self, levels, padding):
        for size in range(1, 900):
            found = labelled(size, levels, padding)
            assert found in (None, size - margin(levels, padding)), size

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


class TestFraming:
    @BOTH
    @pytest.mark.parametrize("size", [1, 3, 9, 17, 40, 64, 101])
    @pytest.mark.parametrize("levels", [1, 2, 4])
    def test_every_pixel_gets_the_label_of_its_own_place(self, size, levels, padding):
        """Of a network that labels each pixel with what is there, and loses what unpadded convolutions take."""
        pixels, first = framing(size, levels, padding)
        assert labelled(len(pixels), levels, padding) is not None
        assert len(pixels) == input_size(size, levels, padding)
        lost = margin(levels, padding) // 2
        output = pixels[lost : len(pixels) - lost]
        assert output[first : first + size].tolist() == list(range(size))

    def test_mirrors_on_both_sides_alike(self):
        pixels, first = framing(5, 1, "valid")
        assert pixels.tolist() == [mirrored_by_steps(5, place) for place in range(-8, 14)] and first == 0

    def test_an_axis_that_fits_stays_as_it_is(self):
        pixels, first = framing(16, 3, "same")
        assert (pixels.tolist(), first) == (list(range(16)), 0)

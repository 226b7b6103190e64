import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from utils.visualization.overlays import LEAST_SIDE, OPACITY, overlay, overlay_png
from utils.visualization.planes import COLOURS, PLANES

SHAPE = (8, 12, 5)
TIMES = 11


def labels(value=1, start=(2, 3, 1), end=(5, 9, 4)):
    made = np.zeros(SHAPE, np.uint8)
    made[tuple(slice(*ends) for ends in zip(start, end))] = value
    return made


def nothing():
    return np.zeros(SHAPE, np.uint8)


def black():
    """An image whose voxels are drawn black, but for a bright edge no slice goes through."""
    image = np.zeros(SHAPE, np.float32)
    image[-1, -1, [0, 1, 3, 4]] = 1.0
    return image


class TestBasic:
    def test_three_slices_side_by_side_large_enough_to_see(self):
        pixels = overlay(black(), nothing(), nothing())
        assert TIMES * max(SHAPE) >= LEAST_SIDE > (TIMES - 1) * max(SHAPE)
        assert pixels.shape == (TIMES * 12, TIMES * (8 + 1 + 8 + 1 + 12 + 1), 3)

    @pytest.mark.parametrize("value", [1, 2])
    def test_the_mask_is_tinted_in_the_colour_of_its_structure(self, value):
        pixels = overlay(black(), labels(value), nothing())
        tinted = np.isclose(pixels, OPACITY * np.array(to_rgb(COLOURS[value - 1]))).all(axis=-1)
        extents = (3, 6, 3)
        assert tinted.sum() == TIMES**2 * sum(extents[across] * extents[up] for across, up, _ in PLANES)
        assert (pixels[~tinted] == 0.0).all()

    def test_lies_where_the_structure_is_with_the_second_axis_upwards(self):
        pixels = overlay(black(), labels(), nothing())
        rows, columns = np.nonzero(pixels[:, : TIMES * 8].any(axis=-1))
        assert (columns.min(), columns.max() + 1) == (TIMES * 2, TIMES * 5)
        assert (rows.min(), rows.max() + 1) == (TIMES * (12 - 9), TIMES * (12 - 3))

    def test_of_a_page_the_second_axis_is_downwards(self):
        pixels = overlay(black(), labels(), nothing(), page=True)
        assert pixels.shape == (TIMES * 12, TIMES * (8 + 1), 3)
        rows, columns = np.nonzero(pixels.any(axis=-1))
        assert (columns.min(), columns.max() + 1) == (TIMES * 2, TIMES * 5)
        assert (rows.min(), rows.max() + 1) == (TIMES * 3, TIMES * 9)

    def test_the_truth_is_a_white_outline(self):
        pixels = overlay(black(), nothing(), labels())
        white = (pixels == 1.0).all(axis=-1)
        height, width = TIMES * 6, TIMES * 3
        assert white[:, : TIMES * 8].sum() == 2 * (height + width) - 4
        assert (pixels[~white] == 0.0).all()

    def test_touching_structures_are_told_apart(self):
        one, two = labels(1, end=(5, 6, 4)), labels(2, start=(2, 6, 1))
        both = (overlay(black(), nothing(), one + two) == 1.0).sum()
        assert both > (overlay(black(), nothing(), labels()) == 1.0).sum()


class TestEdgeCases:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
    def test_images_without_contrast(self, value):
        pixels = overlay(np.full(SHAPE, value, np.float32), labels(), labels(2))
        assert np.isfinite(pixels).all() and pixels.min() >= 0.0 and pixels.max() <= 1.0

    def test_a_volume_larger_than_the_picture_is_not_shrunk(self):
        shape = (140, 3, 2)
        empty = np.zeros(shape, np.uint8)
        assert overlay(np.zeros(shape), empty, empty).shape[1] == 140 + 1 + 140 + 1 + 3 + 1


class TestRoundTrip:
    def test_the_png_holds_the_picture(self):
        arguments = np.random.RandomState(0).normal(size=SHAPE), labels(2), labels(1)
        png, height, width = overlay_png(*arguments)
        read = imread(io.BytesIO(png))
        assert read.shape == (height, width, 4)
        np.testing.assert_allclose(read[..., :3], overlay(*arguments), atol=1.0 / 255.0)

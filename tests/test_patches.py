import numpy as np
import pytest

from utils.augmentation import UNCHANGED, Augmentation, Draw, augmented, draws
from utils.foreground import positions
from utils.patches import Spot, changed_patch, corner, margin, spots
from utils.sliding_window import cut, starts

SHAPE = (31, 26, 22)
PATCH = (12, 8, 10)
FILLING = np.array([-3.0, 7.0], np.float32)
ANYWHERE = Spot(False, 0.0, 0.0, (0.0, 0.0, 0.0))


def case(shape=SHAPE, seed=0):
    random = np.random.RandomState(seed)
    return random.randn(*shape + (2,)).astype(np.float32), random.randint(3, size=shape).astype(np.uint8)


class TestSpots:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.5, 0.9, 1.0])
    def test_any_run_of_patches_has_its_share_on_structures(self, share):
        for seed in range(5):
            chosen = [spot.on_structure for spot in spots(200, share, np.random.RandomState(seed))]
            for length in (1, 2, 7, 60, 200):
                found = np.convolve(chosen, np.ones(length), "valid")
                assert found.min() >= np.floor(length * share - 1e-9) and found.max() <= np.ceil(length * share + 1e-9)

    def test_few_have_it_on_the_average(self):
        found = [spots(1, 0.33, np.random.RandomState(seed))[0].on_structure for seed in range(2000)]
        assert abs(np.mean(found) - 0.33) < 0.03

    def test_follow_from_their_numbers_and_lie_where_they_lie_whatever_the_share(self):
        one, again, other = (spots(20, share, np.random.RandomState(4)) for share in (0.2, 0.2, 0.8))
        assert one == again and one != other
        assert [spot[1:] for spot in one] == [spot[1:] for spot in other]


class TestCorner:
    def test_lies_anywhere_within_the_case(self):
        found = np.array([corner(spot, SHAPE, PATCH, np.zeros((0, 4))) for spot in spots(3000, 1, np.random)])
        np.testing.assert_array_equal(found.min(axis=0), 0)
        np.testing.assert_array_equal(found.max(axis=0), np.subtract(SHAPE, PATCH))

    @pytest.mark.parametrize("shape", [SHAPE, (5, 26, 22), (3, 3, 3)])
    def test_is_centred_on_a_structure_as_far_as_the_case_reaches(self, shape):
        label = case(shape)[1]
        found = positions(label, 3, 0)
        for spot in spots(200, 1.0, np.random.RandomState(0)):
            first = corner(spot, shape, PATCH, found)
            middle = np.array(first) + np.array(PATCH) // 2
            for start, size, length in zip(first, shape, PATCH):
                assert [start] == starts(size, length, 0.5) if size <= length else 0 <= start <= size - length
            near_border = [
                start in (0, size - length) or size < length for start, size, length in zip(first, shape, PATCH)
            ]
            seen = found[:, 1:][(found[:, 0] == 1 + int(spot.structure * 2))]
            agrees = (seen == middle) | near_border
            assert agrees.all(axis=1).any()

    def test_small_structures_come_up_as_often_as_large_ones(self):
        label = np.ones((40, 40, 40), np.uint8)
        label[7, 30, 20] = 2
        found = positions(label, 3, 0)
        corners = [corner(spot, label.shape, PATCH, found) for spot in spots(600, 1, np.random.RandomState(0))]
        share = np.mean([tuple(first) == (1, 26, 15) for first in corners])
        assert abs(share - 0.5) < 0.07

    def test_a_case_without_structures_gives_patches_from_anywhere(self):
        spot = ANYWHERE._replace(on_structure=True, place=(0.5, 0.99, 0.0))
        assert corner(spot, SHAPE, PATCH, np.zeros((0, 4), np.int32)) == (10, 18, 0)


class TestChangedPatch:
    @pytest.mark.parametrize("window", [(0, 0, 0), (19, 18, 12), (4, 7, 3)])
    def test_unchanged_it_is_the_part_of_the_case(self, window):
        image, label = case()
        part = tuple(slice(start, start + length) for start, length in zip(window, PATCH))
        found = changed_patch(image, label, window, PATCH, FILLING, UNCHANGED)
        np.testing.assert_array_equal(found[0], image[part])
        np.testing.assert_array_equal(found[1], label[part])

    def test_a_smaller_case_is_filled_up_as_in_prediction(self):
        image, label = case((31, 5, 9))
        window = corner(ANYWHERE, image.shape[:3], PATCH, [])
        found = changed_patch(image, label, window, PATCH, FILLING, UNCHANGED)
        np.testing.assert_array_equal(found[0], cut(image, window, PATCH, FILLING))
        np.testing.assert_array_equal(found[1], cut(label, window, PATCH, 0))

    @pytest.mark.parametrize("seed", range(8))
    def test_changed_it_is_the_part_of_the_changed_surroundings(self, seed):
        # A wide field about the patch, in whose middle it stays, is changed as the patch alone is.
        image, label = case((60, 61, 62), seed)
        strength = Augmentation(flips=(True,) * 3, rotation=20, scaling=0.3, shift=2, share=1, spacing=(1, 1.3, 2))
        (draw,) = draws(strength._replace(channels=2), 1, np.random.RandomState(seed))
        window = (22, 27, 24)
        field = tuple(slice(start - 20, start + length + 20) for start, length in zip(window, PATCH))
        whole = augmented(image[field], label[field], draw)
        found = changed_patch(image, label, window, PATCH, FILLING, draw)
        np.testing.assert_allclose(found[0], whole[0][20:-20, 20:-20, 20:-20], atol=1e-4)
        assert np.mean(found[1] != whole[1][20:-20, 20:-20, 20:-20]) < 1e-3

    @pytest.mark.parametrize("shape", [SHAPE, (9, 26, 6)])
    def test_beyond_the_case_its_outermost_voxels_go_on(self, shape):
        image, label = np.ones(shape + (2,), np.float32), np.full(shape, 2, np.uint8)
        window = corner(ANYWHERE, shape, PATCH, [])
        found = changed_patch(
            image, label, window, PATCH, np.float32([1, 1]), Draw(angles=(30.0, 40.0, -20.0), scale=0.5)
        )
        np.testing.assert_allclose(found[0], 1.0, atol=1e-6)
        filled = [size < length for size, length in zip(shape, PATCH)]
        assert (found[1] == 2).all() or any(filled)

    def test_intensities_are_changed_in_the_patch_alone(self):
        image, label = case()
        (draw,) = draws(Augmentation(brightness=0.5, gamma=0.3, noise=0.2, channels=2), 1, np.random.RandomState(1))
        assert draw.intensities
        part = tuple(slice(3, 3 + length) for length in PATCH)
        expected = augmented(image[part], label[part], draw)
        found = changed_patch(image, label, (3, 3, 3), PATCH, FILLING, draw)
        np.testing.assert_array_equal(found[0], expected[0])

    def test_only_what_it_takes_is_read(self):
        assert margin(UNCHANGED._replace(flips=(True,) * 3), PATCH) == (0, 0, 0)
        assert margin(Draw(scale=2.0), PATCH) == (0, 0, 0)
        assert margin(Draw(scale=0.5), PATCH) == (6, 4, 5)
        assert margin(Draw(shift=(0.0, 1.2, 0.0)), PATCH) == (0, 2, 0)

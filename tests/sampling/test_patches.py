import numpy as np
import pytest

from utils.preprocessing.foreground import positions
from utils.sampling.augmentation import UNCHANGED, Augmentation, Draw, augmented, draws
from utils.sampling.patches import Place, centred, changed_patch, corner, margin, middle, on_structures
from utils.sampling.sliding_window import cut, starts

SHAPE = (31, 26, 22)
PATCH = (12, 8, 10)
FILLING = np.array([-3.0, 7.0], np.float32)
NOWHERE = np.zeros((0, 4), np.int32)


def case(shape=SHAPE, seed=0):
    random = np.random.RandomState(seed)
    return random.randn(*shape + (2,)).astype(np.float32), random.randint(3, size=shape).astype(np.uint8)


class TestOnStructures:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.5, 0.9, 1.0])
    def test_any_run_of_patches_has_its_share(self, share):
        for seed in range(5):
            chosen = on_structures(200, share, np.random.RandomState(seed))
            for length in (1, 2, 7, 60, 200):
                found = np.convolve(chosen, np.ones(length), "valid")
                assert found.min() >= np.floor(length * share - 1e-9) and found.max() <= np.ceil(length * share + 1e-9)

    def test_few_have_it_on_the_average(self):
        found = [on_structures(1, 0.33, np.random.RandomState(seed))[0] for seed in range(2000)]
        assert abs(np.mean(found) - 0.33) < 0.03


class TestCorner:
    def corners(self, count, shape, found, seed=0, window=PATCH):
        random = np.random.RandomState(seed)
        return np.array([corner(shape, PATCH, window, found, random) for _ in range(count)])

    def test_lies_anywhere_within_the_case(self):
        found = self.corners(3000, SHAPE, NOWHERE)
        np.testing.assert_array_equal(found.min(axis=0), 0)
        np.testing.assert_array_equal(found.max(axis=0), np.subtract(SHAPE, PATCH))

    @pytest.mark.parametrize("shape", [SHAPE, (5, 26, 22), (3, 3, 3)])
    def test_is_centred_on_a_voxel_as_far_as_the_case_reaches(self, shape):
        voxel = (shape[0] - 1, shape[1] // 2, 0)
        (first,) = self.corners(1, shape, np.array([(2,) + voxel]))
        assert tuple(first) == centred(voxel, shape, PATCH, PATCH)
        for start, size, length, place in zip(first, shape, PATCH, voxel):
            if size <= length:
                assert [start] == starts(size, length, 0.5)
            else:
                assert 0 <= start <= size - length and start <= place < start + length
                assert start + length // 2 == place or start in (0, size - length)

    def test_one_that_is_smaller_than_a_window_lies_anywhere_in_it(self):
        shape, window = (10, 26, 3), (16, 20, 12)
        found = self.corners(1000, shape, NOWHERE, window=window)
        np.testing.assert_array_equal(found.min(axis=0), [-3, 0, -4])
        # Along z its middle stays on the case.
        np.testing.assert_array_equal(found.max(axis=0), [-3 + 16 - 12, 26 - 8, 2 - 5])
        (about,) = self.corners(1, shape, np.array([[1, 0, 20, 2]]), window=window)
        assert tuple(about) == centred((0, 20, 2), shape, PATCH, window) == (-3, 16, -3)

    def test_small_structures_come_up_as_often_as_large_ones(self):
        label = np.ones((40, 40, 40), np.uint8)
        label[7, 30, 20] = 3
        found = self.corners(600, label.shape, positions(label, 5, 0))
        share = np.mean([tuple(first) == (1, 26, 15) for first in found])
        assert abs(share - 0.5) < 0.07

    def test_all_voxels_of_a_structure_come_up(self):
        label = np.zeros((30, 30, 30), np.uint8)
        label[10:13, 9:11, 20] = 1
        found = self.corners(200, label.shape, positions(label, 2, 0))
        assert len(np.unique(found, axis=0)) == 6

    def test_follows_from_the_random_numbers(self):
        found = positions(case()[1], 3, 0)
        np.testing.assert_array_equal(self.corners(20, SHAPE, found), self.corners(20, SHAPE, found))
        assert not np.array_equal(self.corners(20, SHAPE, found), self.corners(20, SHAPE, found, seed=1))


class TestMiddle:
    def test_is_a_voxel_of_a_structure(self):
        label = np.zeros((20, 10, 10), np.uint8)
        label[2:5, 4:7, 3:6] = 1
        assert middle(label.shape, positions(label, 2, 0)) == (3, 5, 4)
        label[14:17, 4:7, 3:6] = 2
        assert label[middle(label.shape, positions(label, 3, 0))] > 0

    def test_is_that_of_the_case_without_structures(self):
        assert middle((20, 11, 1), NOWHERE) == (10, 5, 0)


class TestChangedPatch:
    @pytest.mark.parametrize("window", [(0, 0, 0), (19, 18, 12), (4, 7, 3)])
    def test_unchanged_it_is_the_part_of_the_case(self, window):
        image, label = case()
        part = tuple(slice(start, start + length) for start, length in zip(window, PATCH))
        found = changed_patch(image, label, Place(window, PATCH, PATCH), FILLING, UNCHANGED)
        np.testing.assert_array_equal(found[0], image[part])
        np.testing.assert_array_equal(found[1], label[part])

    def test_a_smaller_case_is_filled_up_as_in_prediction(self):
        image, label = case((31, 5, 9))
        window = corner(image.shape[:3], PATCH, PATCH, NOWHERE, np.random.RandomState(0))
        found = changed_patch(image, label, Place(window, PATCH, PATCH), FILLING, UNCHANGED)
        np.testing.assert_array_equal(found[0], cut(image, window, PATCH, FILLING))
        np.testing.assert_array_equal(found[1], cut(label, window, PATCH, 0))

    def test_of_a_smaller_case_it_is_a_part_of_the_window_of_prediction(self):
        image, label = case((31, 5, 9))
        window, first = (20, 16, 12), (7, -3, 1)
        part = (slice(0, 12), slice(-3 + 5, -3 + 5 + 8), slice(1 + 1, 1 + 1 + 10))
        found = changed_patch(image, label, Place(first, PATCH, window), FILLING, UNCHANGED)
        np.testing.assert_array_equal(found[0], cut(image, (7, -5, -1), window, FILLING)[part])
        np.testing.assert_array_equal(found[1], cut(label, (7, -5, -1), window, 0)[part])

    @pytest.mark.parametrize("seed", range(8))
    def test_changed_it_is_the_part_of_the_changed_surroundings(self, seed):
        # A wide field about the patch, in whose middle it stays, is changed as the patch alone is.
        image, label = case((60, 61, 62), seed)
        strength = Augmentation(flips=(True,) * 3, rotation=20, scaling=0.3, shift=2, share=1, spacing=(1, 1.3, 2))
        (draw,) = draws(strength._replace(channels=2), 1, np.random.RandomState(seed))
        window = (22, 27, 24)
        field = tuple(slice(start - 20, start + length + 20) for start, length in zip(window, PATCH))
        whole = augmented(image[field], label[field], draw)
        found = changed_patch(image, label, Place(window, PATCH, PATCH), FILLING, draw)
        np.testing.assert_allclose(found[0], whole[0][20:-20, 20:-20, 20:-20], atol=1e-4)
        assert np.mean(found[1] != whole[1][20:-20, 20:-20, 20:-20]) < 1e-3

    @pytest.mark.parametrize("shape", [SHAPE, (9, 26, 6)])
    def test_beyond_the_case_and_its_filling_the_outermost_voxels_go_on(self, shape):
        image, label = np.ones(shape + (2,), np.float32), np.full(shape, 2, np.uint8)
        first = corner(shape, PATCH, PATCH, NOWHERE, np.random.RandomState(0))
        draw = Draw(angles=(30.0, 40.0, -20.0), scale=0.5)
        found = changed_patch(image, label, Place(first, PATCH, PATCH), np.float32([5, 5]), draw)
        filled = any(size < length for size, length in zip(shape, PATCH))
        assert set(np.unique(found[1])) == ({0, 2} if filled else {2})
        assert found[0].min() == pytest.approx(1.0, abs=1e-5) and found[0].max() <= 5.0 + 1e-5
        assert (found[0].max() > 4.9) == filled

    @pytest.mark.parametrize("on_structure", [True, False])
    def test_of_a_case_that_is_much_smaller_it_has_the_middle(self, on_structure):
        # Less than half of a patch, in a window of four patches.
        image, label = case((5, 26, 4))
        window = (48, 32, 40)
        whole = cut(image, (-21, -3, -18), window, FILLING), cut(label, (-21, -3, -18), window, 0)
        positions_of = positions(label, 3, 0) if on_structure else NOWHERE
        for seed in range(50):
            first = corner(label.shape, PATCH, window, positions_of, np.random.RandomState(seed))
            part = tuple(slice(low + more, low + more + size) for low, more, size in zip(first, (21, 3, 18), PATCH))
            found = changed_patch(image, label, Place(first, PATCH, window), FILLING, UNCHANGED)
            np.testing.assert_array_equal(found[0], whole[0][part])
            np.testing.assert_array_equal(found[1], whole[1][part])
            assert found[1].any()

    def test_intensities_are_changed_in_the_patch_alone(self):
        image, label = case()
        (draw,) = draws(Augmentation(brightness=0.5, gamma=0.3, noise=0.2, channels=2), 1, np.random.RandomState(1))
        assert draw.intensities
        part = tuple(slice(3, 3 + length) for length in PATCH)
        expected = augmented(image[part], label[part], draw)
        found = changed_patch(image, label, Place((3, 3, 3), PATCH, PATCH), FILLING, draw)
        np.testing.assert_array_equal(found[0], expected[0])

    def test_only_what_it_takes_is_read(self):
        assert margin(UNCHANGED._replace(flips=(True,) * 3), PATCH) == (0, 0, 0)
        assert margin(Draw(scale=2.0), PATCH) == (0, 0, 0)
        assert margin(Draw(scale=0.5), PATCH) == (6, 4, 5)
        assert margin(Draw(shift=(0.0, 1.2, 0.0)), PATCH) == (0, 2, 0)

    def test_more_channels_move_as_the_image_does(self):
        image, label = case((9, 26, 22))
        draw = Draw(angles=(10.0, -5.0, 20.0), scale=0.8, flips=(True, False, True))
        place = Place(corner(label.shape, PATCH, PATCH, NOWHERE, np.random.RandomState(0)), PATCH, PATCH)
        alone = changed_patch(image, label, place, np.zeros(2), draw)
        together = changed_patch(image[..., :1], label, place, np.zeros(1), draw, [image[..., 1]])
        np.testing.assert_array_equal(alone[0], together[0])
        np.testing.assert_array_equal(alone[1], together[1])

import numpy as np
import pytest
from random_labels import SHAPE, one_hot, random_label, random_probabilities

from utils.evaluation.scores import hard_dice
from utils.evaluation.uncertainty import Uncertainty


def uncertainty(mask, probabilities):
    """Return that of a mask, int [X, Y, Z], and probabilities, float [X, Y, Z, K], put at once."""
    gathered = Uncertainty(mask.shape[-1], probabilities.shape[-1])
    gathered.put(0, mask, probabilities)
    return gathered.result()


class TestOfAWholeMask:
    def test_by_hand(self):
        probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]]).reshape(3, 1, 1, 2)
        mask = np.array([1, 0, 0]).reshape(3, 1, 1)
        np.testing.assert_allclose(uncertainty(mask, probabilities), [1 - 2 * 1.5 / (2 + 1.7), 1 - 2 * 0.8 / (1 + 1.3)])

    def test_none_where_the_network_is_certain_of_its_mask(self):
        mask = random_label(0)
        np.testing.assert_array_equal(uncertainty(mask, one_hot(mask, 3)), [0, 0, 0])

    def test_all_where_it_is_certain_of_another(self):
        mask = random_label(0)
        np.testing.assert_array_equal(uncertainty(mask, one_hot((mask + 1) % 3, 3)), [1, 1, 1])

    @pytest.mark.parametrize("seed", range(3))
    def test_rises_with_doubt(self, seed):
        probabilities = random_probabilities(seed)
        mask = probabilities.argmax(axis=-1)
        certain = one_hot(mask, 3)
        found = [uncertainty(mask, (1 - doubt) * certain + doubt * probabilities) for doubt in (0.0, 0.3, 0.6, 1.0)]
        assert found[0].tolist() == [0, 0, 0] and (np.diff(found, axis=0) > 0).all() and (found[-1] < 1).all()

    def test_it_is_the_dice_to_expect(self):
        # Truths drawn voxel by voxel from the probabilities themselves.
        probabilities = random_probabilities(0, classes=2, shape=(20, 20, 20))
        mask = probabilities.argmax(axis=-1)
        drawn = [np.random.RandomState(seed).rand(20, 20, 20) < probabilities[..., 1] for seed in range(5)]
        expected = np.mean([hard_dice(mask, truth.astype(int), 2) for truth in drawn], axis=0)
        np.testing.assert_allclose(1 - uncertainty(mask, probabilities), expected, atol=0.01)

    def test_half_precision_does_not_overflow(self):
        mask = np.ones((50, 50, 50), np.uint8)
        assert uncertainty(mask, one_hot(mask, 2).astype(np.float16))[1] == 0

    def test_never_below_zero(self):
        mask = np.ones(SHAPE, int)
        assert uncertainty(mask, np.nextafter(one_hot(mask, 2).astype(np.float32), np.float32(2)))[1] == 0

    @pytest.mark.parametrize("share, expected", [(0.01, np.nan), (0.3, 1.0)])
    def test_of_a_structure_that_the_mask_has_nowhere(self, share, expected):
        mask = np.zeros(SHAPE, int)
        probabilities = np.stack([np.full(SHAPE, 1 - share), np.full(SHAPE, share)], axis=-1)
        np.testing.assert_array_equal(uncertainty(mask, probabilities)[1], expected)

    def test_of_a_network_that_has_diverged(self):
        mask = np.zeros(SHAPE, int)
        np.testing.assert_array_equal(uncertainty(mask, np.full(SHAPE + (2,), np.nan)), [1, 1])

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"probabilities of shape \(5, 7, 3\) and mask of shape \(5, 3, 7\)"):
            uncertainty(np.zeros((5, 3, 7), int), np.zeros(SHAPE + (2,)))

    @pytest.mark.parametrize("voxels, expected", [(0, np.nan), (1, np.nan), (4, 1.0)])
    def test_of_a_structure_in_no_voxel_of_the_mask(self, voxels, expected):
        probabilities = np.zeros(SHAPE + (2,))
        probabilities[0, :voxels, 0, 1] = 0.3
        probabilities[..., 1] += 0.001
        probabilities[..., 0] = 1 - probabilities[..., 1]
        np.testing.assert_array_equal(uncertainty(np.zeros(SHAPE, int), probabilities)[1], expected)


class TestSlabs:
    DEPTH = 11

    def gathered(self, mask, probabilities, step, order=1):
        result = Uncertainty(self.DEPTH, probabilities.shape[-1])
        for first in list(range(0, self.DEPTH, step))[::order]:
            slices = slice(first, first + step)
            result.put(first, mask[..., slices], probabilities[..., slices, :])
        return result

    @pytest.mark.parametrize("step", [1, 2, 4, 11])
    @pytest.mark.parametrize("classes", [2, 3, 7])
    def test_their_thickness_and_order_make_no_difference_at_all(self, step, classes):
        shape = (31, 17, self.DEPTH)
        probabilities = random_probabilities(0, classes, shape).astype(np.float32)
        # One structure is in no voxel, another in the upper slices alone.
        mask = np.where(np.arange(self.DEPTH) > 5, probabilities.argmax(axis=-1), 0) % (classes - 1)
        whole = uncertainty(mask, probabilities)
        for order in (1, -1):
            np.testing.assert_array_equal(self.gathered(mask, probabilities, step, order).result(), whole)

    def test_slices_can_be_put_anew(self):
        shape = SHAPE[:2] + (self.DEPTH,)
        probabilities, mask = random_probabilities(0, shape=shape), random_label(1, shape=shape)
        changed = mask.copy()
        changed[:, :, 3:6] = 0
        gathered = self.gathered(mask, probabilities, 4)
        gathered.put(3, changed[:, :, 3:6], probabilities[:, :, 3:6])
        np.testing.assert_array_equal(gathered.result(), uncertainty(changed, probabilities))

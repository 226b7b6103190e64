import tracemalloc

import numpy as np
import pytest
from random_labels import SHAPE, one_hot, random_label, random_probabilities

from utils.evaluation import scores
from utils.evaluation.scores import hard_dice, mean_of_defined, soft_dice, volumes_ml, voxel_counts


class TestSoftDice:
    def test_by_hand(self):
        probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]]).reshape(3, 1, 1, 2)
        label = np.array([1, 1, 0]).reshape(3, 1, 1)
        expected = [2 * 0.9 / (0.04 + 0.36 + 0.81 + 1), 2 * 1.2 / (0.64 + 0.16 + 0.01 + 2)]
        np.testing.assert_allclose(soft_dice(probabilities, label), expected)

    def test_certain_and_right_is_one(self):
        label = random_label(0)
        np.testing.assert_array_equal(soft_dice(one_hot(label, 3), label), [1, 1, 1])

    def test_certain_equals_hard(self):
        mask, truth = random_label(0), random_label(1)
        np.testing.assert_allclose(soft_dice(one_hot(mask, 3), truth), hard_dice(mask, truth, 3))

    @pytest.mark.parametrize("seed", range(3))
    def test_within_zero_and_one_and_independent_of_order(self, seed):
        probabilities, label = random_probabilities(seed), random_label(seed)
        found = soft_dice(probabilities, label)
        assert found.dtype == np.float64 and found.shape == (3,)
        assert ((found > 0) & (found < 1)).all()
        order = np.random.RandomState(9).permutation(label.size)
        shuffled = probabilities.reshape(-1, 3)[order].reshape(SHAPE + (3,)), label.ravel()[order].reshape(SHAPE)
        np.testing.assert_allclose(soft_dice(*shuffled), found)

    @pytest.mark.parametrize("at_once", [1, 100, 250])
    def test_does_not_depend_on_how_much_is_looked_at_at_a_time(self, monkeypatch, at_once):
        probabilities, label = random_probabilities(0), random_label(0)
        whole = soft_dice(probabilities, label)
        monkeypatch.setattr(scores, "VALUES_AT_ONCE", at_once)
        np.testing.assert_allclose(soft_dice(probabilities, label), whole, rtol=1e-12)

    def test_takes_little_memory_beside_a_large_volume(self, monkeypatch):
        monkeypatch.setattr(scores, "VALUES_AT_ONCE", 1 << 14)
        label = np.zeros((64, 64, 64), np.uint8)
        probabilities = np.full(label.shape + (3,), 1 / 3, np.float32)
        tracemalloc.start()
        soft_dice(probabilities, label)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < probabilities.nbytes / 4

    def test_half_precision_input_does_not_overflow(self):
        label = np.ones((50, 50, 50), np.uint8)
        probabilities = one_hot(label, 2).astype(np.float16)
        assert soft_dice(probabilities, label)[1] == 1.0


class TestHardDice:
    def test_by_hand(self):
        mask = np.array([0, 1, 1, 2]).reshape(4, 1, 1)
        truth = np.array([0, 0, 1, 1]).reshape(4, 1, 1)
        np.testing.assert_allclose(hard_dice(mask, truth, 3), [2 / 3, 2 / 4, 0])

    def test_is_symmetric_and_one_with_itself(self):
        mask, truth = random_label(0), random_label(1)
        np.testing.assert_array_equal(hard_dice(mask, truth, 3), hard_dice(truth, mask, 3))
        np.testing.assert_array_equal(hard_dice(mask, mask, 3), [1, 1, 1])

    def test_unsigned_masks_do_not_overflow(self):
        mask = np.ones((20, 20, 20), np.uint8)
        assert hard_dice(mask, mask, 2)[1] == 1.0


class TestAbsentStructures:
    def test_absent_from_both_is_undefined(self):
        label = np.zeros(SHAPE, int)
        probabilities = np.stack([np.full(SHAPE, 0.9), np.full(SHAPE, 0.1)], axis=-1)
        assert np.isnan(soft_dice(probabilities, label)[1])
        assert np.isnan(hard_dice(label, label, 2)[1])

    def test_predicted_but_not_there_is_zero(self):
        truth = np.zeros(SHAPE, int)
        mask = truth.copy()
        mask[2, 3, 1] = 1
        assert hard_dice(mask, truth, 2)[1] == 0
        assert soft_dice(one_hot(mask, 2), truth)[1] == 0

    def test_there_but_not_predicted_is_zero_when_hard_and_small_when_soft(self):
        truth = np.zeros(SHAPE, int)
        truth[2, 3, 1] = 1
        probabilities = np.stack([np.full(SHAPE, 0.9), np.full(SHAPE, 0.1)], axis=-1)
        assert hard_dice(np.zeros_like(truth), truth, 2)[1] == 0
        assert 0 < soft_dice(probabilities, truth)[1] < 0.2


class TestShapes:
    def test_soft(self):
        with pytest.raises(ValueError, match=r"probabilities of shape \(5, 7, 3\) and label of shape \(5, 3, 7\)"):
            soft_dice(np.zeros(SHAPE + (2,)), np.zeros((5, 3, 7), int))

    def test_hard(self):
        with pytest.raises(ValueError, match=r"mask of shape \(5, 7, 3\) and truth of shape \(5, 7, 1\)"):
            hard_dice(np.zeros(SHAPE, int), np.zeros((5, 7, 1), int), 2)


@pytest.mark.filterwarnings("error")
class TestMeanOfDefined:
    VALUES = np.array([[0.5, np.nan, np.nan], [1.0, 0.25, np.nan]])

    def test_along_an_axis(self):
        np.testing.assert_array_equal(mean_of_defined(self.VALUES, axis=0), [0.75, 0.25, np.nan])
        np.testing.assert_allclose(mean_of_defined(self.VALUES, axis=1), [0.5, 0.625])

    def test_of_all(self):
        assert mean_of_defined(self.VALUES) == pytest.approx(1.75 / 3)

    @pytest.mark.parametrize("values", [[], [np.nan], np.zeros((0, 3))])
    def test_of_none(self, values):
        assert np.isnan(mean_of_defined(values))

    def test_of_no_cases_per_structure(self):
        assert np.isnan(mean_of_defined(np.zeros((0, 2)), axis=0)).tolist() == [True, True]


class TestVolumes:
    def test_in_ml(self):
        mask = np.zeros(SHAPE, np.uint8)
        mask[:, :2] = 2
        found = volumes_ml(mask, 4, (0.5, 2.0, 4.0))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, [(105 - 30) * 0.004, 0, 30 * 0.004, 0])

    def test_all_voxels_are_of_some_class(self):
        assert voxel_counts(random_label(0), 3).sum() == 105
        assert volumes_ml(random_label(0), 3, (1, 10, 100)).sum() == pytest.approx(105)

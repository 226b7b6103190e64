import numpy as np
import pytest

from utils.evaluation import statistics
from utils.evaluation.statistics import bootstrap_interval, rank_correlation


def normal(count, seed=0):
    return np.random.RandomState(seed).normal(loc=3.0, scale=2.0, size=count)


class TestBootstrapInterval:
    def test_is_that_of_the_normal_approximation_for_many_cases(self):
        values = normal(400)
        half = 1.96 * values.std() / np.sqrt(values.size)
        expected = [values.mean() - half, values.mean() + half]
        np.testing.assert_allclose(bootstrap_interval(values), expected, atol=0.1 * half)

    def test_covers_the_true_mean_about_as_often_as_it_says(self):
        intervals = np.array([bootstrap_interval(normal(30, seed)) for seed in range(60)])
        covered = (intervals[:, 0] < 3.0) & (3.0 < intervals[:, 1])
        assert 0.85 < covered.mean() <= 1

    def test_of_two_values_by_hand(self):
        # A quarter of the resamples are twice the first, a quarter twice the second.
        np.testing.assert_array_equal(bootstrap_interval([1.0, 2.0]), [1.0, 2.0])

    def test_leans_as_the_values_do(self):
        values = [0.9] * 19 + [0.1]
        low, high = bootstrap_interval(values)
        assert np.mean(values) - low > high - np.mean(values) and high == pytest.approx(0.9)

    def test_is_the_same_each_time_and_whatever_is_drawn_elsewhere(self):
        first = bootstrap_interval(normal(20))
        np.random.seed(5)
        np.testing.assert_array_equal(bootstrap_interval(normal(20)), first)

    def test_many_cases_are_drawn_in_parts(self, monkeypatch):
        expected = bootstrap_interval(normal(20))
        monkeypatch.setattr(statistics, "DRAWN", 999)
        np.testing.assert_array_equal(bootstrap_interval(normal(20)), expected)

    @pytest.mark.parametrize("values", [[], [0.5]])
    def test_too_few(self, values):
        assert np.isnan(bootstrap_interval(values)).tolist() == [True, True]


class TestRankCorrelation:
    def test_depends_on_the_order_alone(self):
        values = normal(12)
        assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
        assert rank_correlation(values, -(values**3)) == pytest.approx(-1)

    def test_by_hand(self):
        # Without ties: 1 - 6 sum(d^2) / (n (n^2 - 1)), here with d = 0, 1, 1, 1, 1.
        assert rank_correlation([1, 2, 3, 4, 5], [10, 30, 20, 60, 40]) == pytest.approx(1 - 6 * 4 / (5 * 24))

    def test_equal_values_share_the_mean_of_their_ranks(self):
        expected = np.corrcoef([1, 2.5, 2.5, 4, 5], [2, 2, 2, 5, 4])[0, 1]
        assert rank_correlation([0.1, 0.2, 0.2, 0.3, 0.9], [7, 7, 7, 9, 8]) == pytest.approx(expected)

    def test_undefined_pairs_are_left_out(self):
        first, second = normal(6, 1), normal(6, 2)
        with_gaps = np.r_[first, np.nan, 3.0], np.r_[second, 1.0, np.nan]
        assert rank_correlation(*with_gaps) == pytest.approx(rank_correlation(first, second))

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("pair", [([], []), ([1, 2], [2, 1]), ([1, 2, np.nan], [1, 2, 3]), ([1, 2, 3], [5, 5, 5])])
    def test_nothing_to_rank(self, pair):
        assert np.isnan(rank_correlation(*pair))

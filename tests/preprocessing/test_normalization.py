import numpy as np
import pytest
from synthetic import scan

from utils.preprocessing.normalization import clipped, clipped_channels, filling, normalized, zscore


class TestClippedChannels:
    @pytest.mark.parametrize(
        "flag, modalities, expected",
        [
            ("zscore", ["CT"], [False]),
            ("ct", ["MRI", "T2"], [True, True]),
            ("auto", ["CT"], [True]),
            ("auto", ["ct "], [True]),
            ("auto", ["MRI"], [False]),
            ("auto", ["CT", "PET"], [True, False]),
            ("auto", ["FLAIR", "Direct"], [False, False]),
        ],
    )
    def test_go_by_the_flag_and_the_modalities(self, flag, modalities, expected):
        assert clipped_channels(flag, modalities) == expected


class TestZscore:
    @pytest.mark.parametrize("scale, offset", [(1, 0), (1e-30, 0), (1e30, -1e30), (3, 1e6), (1000, -7)])
    def test_mean_zero_deviation_one(self, scale, offset):
        values = zscore((np.random.RandomState(0).rand(9, 8, 7) * scale + offset).astype(np.float32))
        assert values.dtype == np.float32
        assert abs(values.mean(dtype=np.float64)) < 1e-4 and abs(values.std(dtype=np.float64) - 1) < 1e-4

    @pytest.mark.parametrize("value", [0, 1, -0.1, 1e-40, 123456.789, 3e38])
    def test_a_constant_becomes_zeros(self, value):
        volume = np.full((5, 6, 7), value, np.float32)
        np.testing.assert_array_equal(zscore(volume), np.zeros((5, 6, 7), np.float32))

    def test_rounding_of_a_constant_is_not_blown_up(self):
        volume = np.full((5, 6, 7), 0.1, np.float32)
        volume[::2] = np.nextafter(volume[0, 0, 0], np.float32(1))
        assert not zscore(volume).any()

    def test_order_of_the_values_is_kept(self):
        volume = scan()
        np.testing.assert_array_equal(np.argsort(zscore(volume), axis=None), np.argsort(volume, axis=None))

    @pytest.mark.parametrize("shape", [(9, 8, 7), (64, 31, 50)])
    def test_is_the_textbook_formula_to_the_last_bit(self, shape):
        volume = (np.random.RandomState(0).rand(*shape) * 1000 - 300).astype(np.float32)
        values = volume.astype(np.float64)
        np.testing.assert_array_equal(normalized(volume), ((values - values.mean()) / values.std()).astype(np.float32))
        np.testing.assert_array_equal(values, volume)


class TestClipped:
    def test_the_structures_come_to_mean_zero_and_deviation_one(self):
        values = np.random.RandomState(0).normal(60, 25, (20, 20, 20)).astype(np.float32)
        found = normalized(values, [-10.0, 130.0, 60.0, 25.0])
        assert found.dtype == np.float32
        assert abs(found.mean()) < 0.02 and abs(found.std() - 1) < 0.02

    def test_what_is_outside_the_percentiles_is_clipped(self):
        channel = [-50.0, 150.0, 50.0, 20.0]
        volume = np.array([[[-1024.0, -50.0, 50.0, 90.0, 150.0, 3000.0]]], np.float32)
        np.testing.assert_allclose(clipped(volume, channel), [[[-5, -5, 0, 2, 5, 5]]])
        assert filling(channel) == -5 and filling() == 0
        assert volume[0, 0, 0] == -1024

    def test_equal_intensities_stay_numbers(self):
        volume = np.array([[[-3.0, 7.0, 9.0]]], np.float32)
        np.testing.assert_array_equal(clipped(volume, [7.0, 7.0, 7.0, 0.0]), np.zeros((1, 1, 3)))

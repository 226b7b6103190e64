import numpy as np
import pytest
from synthetic import scan

from utils.sampling.augmentation import Intensity
from utils.sampling.intensities import blurred, changed, with_gamma

SHAPE = (9, 14, 6)
CHANGES = {
    "noise": Intensity(noise=0.3),
    "blur": Intensity(blur=0.8),
    "contrast": Intensity(contrast=1.4),
    "brightness": Intensity(brightness=-0.6),
    "gamma": Intensity(gamma=0.7),
    "all": Intensity(0.2, 0.6, 0.8, 0.4, 1.3),
}


@pytest.fixture
def channel():
    """One of several channels, float32 of mean 0 and standard deviation 1, that cannot be written to."""
    image = np.random.RandomState(0).gamma(2, size=SHAPE + (2,)).astype(np.float32)
    image = (image - image.mean()) / image.std()
    image.setflags(write=False)
    return image[..., 1]


class TestChanged:
    def test_nothing_asked_for_is_the_channel_itself(self, channel):
        assert changed(channel, Intensity(), [0, 0]) is channel

    @pytest.mark.parametrize("name", sorted(CHANGES))
    def test_is_a_channel_again_and_follows_from_its_arguments(self, channel, name):
        result = changed(channel, CHANGES[name], [3, 1])
        assert (result.shape, result.dtype) == (SHAPE, np.float32)
        assert not np.array_equal(result, channel)
        np.testing.assert_array_equal(result, changed(channel, CHANGES[name], [3, 1]))

    @pytest.mark.parametrize("contrast, brightness", [(1.0, 0.5), (1.25, 0.0), (0.8, -0.75)])
    def test_contrast_is_of_the_spread_and_brightness_of_the_mean(self, channel, contrast, brightness):
        moved = channel + np.float32(2)
        result = changed(moved, Intensity(contrast=contrast, brightness=brightness), [0, 0])
        assert result.mean() == pytest.approx(moved.mean() + brightness, abs=1e-5)
        assert result.std() == pytest.approx(moved.std() * contrast, rel=1e-5)
        np.testing.assert_allclose(result - result.mean(), contrast * (moved - moved.mean()), atol=1e-5)


class TestNoise:
    def test_is_gaussian_of_that_spread(self):
        flat = np.full((40, 30, 20), 5, np.float32)
        noise = changed(flat, Intensity(noise=0.25), [1, 0]) - flat
        assert abs(noise.mean()) < 0.01
        assert noise.std() == pytest.approx(0.25, rel=0.02)
        assert (np.abs(noise) < 0.25).mean() == pytest.approx(0.683, abs=0.01)

    def test_follows_from_every_part_of_the_seed(self, channel):
        found = [changed(channel, Intensity(noise=0.1), seed) for seed in ([1, 0], [1, 1], [2, 0])]
        assert not any(np.array_equal(found[one], found[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


class TestBlurred:
    @pytest.mark.parametrize("deviation", [0.7, 1.0, 2.0])
    def test_a_point_becomes_a_gaussian(self, deviation):
        point = np.zeros((25, 27, 29), np.float32)
        point[12, 13, 14] = 1
        spread = blurred(point, deviation)
        assert spread.sum() == pytest.approx(1, rel=1e-4)
        for axis, middle in enumerate((12, 13, 14)):
            along = spread.sum(axis=tuple(other for other in range(3) if other != axis))
            places = np.arange(len(along)) - middle
            assert np.dot(along, places) == pytest.approx(0, abs=1e-5)
            assert np.dot(along, places**2) == pytest.approx(deviation**2, rel=0.1)

    def test_a_constant_stays_up_to_the_edges(self):
        np.testing.assert_allclose(blurred(np.full((3, 5, 4), 7.5, np.float32), 1.5), 7.5, rtol=1e-6)

    def test_hardly_any_changes_hardly_anything(self, channel):
        np.testing.assert_allclose(blurred(channel, 1e-3), channel, atol=1e-6)

    def test_detail_goes_and_the_coarse_stays(self):
        x = np.arange(48, dtype=np.float32).reshape(-1, 1, 1) * np.ones((1, 3, 2), np.float32)
        fine, coarse = np.sin(2 * np.pi * x / 3), np.sin(2 * np.pi * x / 24)
        assert blurred(fine, 1.0)[6:-6].std() < 0.2 * fine[6:-6].std()
        assert blurred(coarse, 1.0)[6:-6].std() > 0.9 * coarse[6:-6].std()


class TestWithGamma:
    @pytest.mark.parametrize("exponent", [0.6, 1.5, 2.5])
    def test_keeps_mean_spread_and_order(self, channel, exponent):
        moved = channel * np.float32(3) + np.float32(10)
        result = with_gamma(moved, exponent)
        assert result.mean() == pytest.approx(moved.mean(), rel=1e-5)
        assert result.std() == pytest.approx(moved.std(), rel=1e-5)
        assert not np.allclose(result, moved, atol=0.05)
        order = np.argsort(moved, axis=None)
        assert (np.diff(result.ravel()[order]) >= 0).all()

    def test_exponent_one_is_the_same(self, channel):
        np.testing.assert_allclose(with_gamma(channel, 1.0), channel, atol=1e-5)

    def test_small_exponents_spread_the_dark_and_large_ones_the_bright(self):
        ramp = scan(shape=(20, 10, 10))
        dark, bright = np.sort(ramp.ravel())[[0, 500]], np.sort(ramp.ravel())[[-500, -1]]
        for exponent, wider, narrower in ((0.5, dark, bright), (2.0, bright, dark)):
            curved = dict(zip(ramp.ravel().tolist(), with_gamma(ramp, exponent).ravel().tolist()))
            widths = [curved[high] - curved[low] for low, high in (wider.tolist(), narrower.tolist())]
            assert widths[0] > 1.2 * widths[1]

    def test_a_constant_stays(self):
        flat = np.full((3, 4, 5), 2.5, np.float32)
        np.testing.assert_array_equal(with_gamma(flat, 2.0), flat)

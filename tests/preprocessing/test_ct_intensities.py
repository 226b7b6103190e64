import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import image_of, write_image

from utils.imaging.tasks import Case
from utils.preprocessing.ct_intensities import changes, common, figures, in_words, of_structures, voxels_per_case
from utils.preprocessing.normalization import normalized
from utils.system.errors import UserError

SETTINGS = {"classes": 3, "channels": 1}
SHAPE = (13, 9, 11)


def write_case(folder, name, image, label):
    paths = [
        write_image(image_of(array), folder / (name + part))
        for array, part in ((image, ".nii.gz"), (label, "_label.nii.gz"))
    ]
    return Case(name, *paths)


def body(seed, shape=SHAPE):
    """(image, label): air about -1000, structures about 50 and 80."""
    random = np.random.RandomState(seed)
    label = random.randint(3, size=shape).astype(np.uint8)
    means = np.array([-1000, 50, 80])
    return (means[label] + random.randint(-20, 20, shape)).astype(np.int16), label


class TestOfStructures:
    def test_are_the_intensities_of_all_structures_and_of_nothing_else(self, tmp_path):
        arrays = [body(seed) for seed in range(3)]
        cases = [write_case(tmp_path, "case_{}".format(number), *one) for number, one in enumerate(arrays)]
        for (image, label), found in zip(arrays, of_structures(cases, SETTINGS, 10**4, 2)):
            assert found.dtype == np.float32 and found.shape[1] == 1
            np.testing.assert_array_equal(np.sort(found[:, 0]), np.sort(image[label > 0]))

    def test_are_a_sample_of_many_that_is_the_same_each_time(self, tmp_path):
        image, label = body(0, (30, 20, 25))
        case = write_case(tmp_path, "case", image, label)
        (one,), (again,) = (of_structures([case], SETTINGS, 2000, 1) for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert 1500 < len(one) <= 2000 and one.min() > 0
        assert abs(one.mean() - image[label > 0].mean()) < 1.5

    def test_are_of_every_channel_at_the_same_voxels(self, tmp_path):
        label = body(0)[1]
        voxels = np.arange(label.size, dtype=np.float32).reshape(SHAPE)
        image = sitk.JoinSeries([image_of(channel) for channel in (voxels, -voxels)])
        path = write_image(image, tmp_path / "two.nii.gz")
        marked = write_image(image_of(label), tmp_path / "label.nii.gz")
        (found,) = of_structures([Case("two", path, marked)], dict(SETTINGS, channels=2), 100, 1)
        np.testing.assert_array_equal(found[:, 0], -found[:, 1])

    def test_a_bad_case_is_told_in_its_turn(self, tmp_path):
        good = write_case(tmp_path, "good", *body(0))
        bad = write_case(tmp_path, "bad", body(0)[0], body(0)[1][:-1])
        first, second, third = of_structures([good, bad, good], SETTINGS, 100, 2)
        np.testing.assert_array_equal(first, third)
        assert isinstance(second, UserError) and "bad_label.nii.gz: has the size" in str(second)

    def test_a_case_without_structures_has_none(self, tmp_path):
        image, label = body(0)
        (found,) = of_structures([write_case(tmp_path, "empty", image, 0 * label)], SETTINGS, 100, 1)
        assert found.shape == (0, 1)

    @pytest.mark.parametrize("cases, voxels", [(1, 10**4), (100, 10**4), (500, 2000), (10**5, 100)])
    def test_memory_is_bounded(self, cases, voxels):
        assert voxels_per_case(cases) == voxels


class TestFigures:
    def test_are_percentiles_mean_and_deviation(self):
        values = np.random.RandomState(0).randint(-200, 300, (5000, 2)).astype(np.float32)
        first, second = figures(values, [True, False])
        assert second is None
        np.testing.assert_allclose(first[:2], np.percentile(values[:, 0], [0.5, 99.5]), atol=1e-6)
        np.testing.assert_allclose(
            first[2:], [values[:, 0].mean(dtype=float), values[:, 0].std(dtype=float)], atol=1e-6
        )

    def test_do_not_depend_on_the_order(self):
        values = np.random.RandomState(0).randn(5000, 1).astype(np.float32) * 1000
        assert figures(values, [True]) == figures(values[::-1], [True]) == figures(np.roll(values, 77, axis=0), [True])

    def test_may_be_small_numbers(self):
        values = np.random.RandomState(0).uniform(1e-9, 3e-9, (5000, 1))
        (found,) = figures(values, [True])
        np.testing.assert_allclose(found, [1.01e-9, 2.99e-9, 2e-9, 2e-9 / np.sqrt(12)], rtol=0.05)

    def test_of_one_value_tell_nothing(self):
        values = np.stack([np.arange(100), np.full(100, 7.5)], axis=-1)
        assert figures(values, [True, False])[1] is None
        with pytest.raises(UserError, match="channel 1 is 7.5 in almost all .* or use zscore$"):
            figures(values, [True, True])

    def test_need_a_voxel(self):
        with pytest.raises(UserError, match="--data_normalization: .* mark no voxel"):
            figures(np.zeros((0, 1)), [True])

    def test_are_told(self):
        (line,) = in_words([None, [-57.0, 164.0, 100.3, 37.2]], ["PET", "CT"])
        assert line == "intensities of CT: clipped to -57 up to 164; mean 100.3, standard deviation 37.2"


class TestSeveralModels:
    """An image that is normalised once, for all of them, becomes that of each."""

    MODELS = ([[-50.0, 150.0, 60.0, 30.0], None], [[-70.0, 120.0, 50.0, 40.0], None], [[7.0, 7.0, 7.0, 0.0], None])

    @pytest.mark.parametrize("own", MODELS)
    def test_is_what_each_was_trained_with(self, own):
        given = common(self.MODELS)
        volume = np.linspace(-1024, 1024, 300, dtype=np.float32).reshape(10, 6, 5)
        image = np.stack([normalized(volume, channel) for channel in given], axis=-1)
        low, high, factor, added = changes(given, own)
        found = np.minimum(np.maximum(image, low), high) * factor + added
        for number, channel in enumerate(own):
            np.testing.assert_allclose(found[..., number], normalized(volume, channel), atol=1e-5)

    def test_where_all_are_the_same_nothing_changes(self):
        given = common([self.MODELS[0]] * 3)
        assert given == self.MODELS[0] and changes(given, self.MODELS[0]) is None

    def test_images_by_themselves_stay_what_they_are(self):
        assert common([None, None]) is None and changes(None, None) is None

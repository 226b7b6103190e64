import numpy as np
import pytest
from synthetic import SHAPE, SPACING, blob, image_of, raw_nifti, scan, write_image, written

from utils.imaging.geometry import resample_image, resample_label
from utils.imaging.nifti import to_array
from utils.imaging.tasks import Case
from utils.preprocessing.normalization import zscore
from utils.preprocessing.pipeline import check_memory, cropped_share, prepare_case, prepare_image
from utils.system.errors import UserError


def settings(**changes):
    values = {
        "input_shape": (8, 6, 4),
        "resize_interpolator": "linear",
        "fit": "resize",
        "spacing": None,
        "intensities": None,
        "classes": 3,
        "channels": 1,
    }
    return dict(values, **changes)


class TestPrepareImage:
    @pytest.mark.parametrize("interpolator", ["linear", "nearest_neighbor"])
    @pytest.mark.parametrize("input_shape", [(8, 6, 4), (3, 9, 5), [4, 4, 4]])
    def test_shape_type_and_order(self, input_shape, interpolator):
        image = prepare_image(
            [image_of(scan(1)), image_of(scan(2))],
            settings(input_shape=input_shape, resize_interpolator=interpolator, channels=2),
        )
        assert image.shape == tuple(input_shape) + (2,)
        assert image.dtype == np.float32 and image.flags.c_contiguous

    def test_each_channel_is_resampled_then_normalised_by_itself(self):
        channels = [image_of(scan(1)), image_of(100 * scan(2) - 7)]
        image = prepare_image(channels, settings(channels=2))
        for index, channel in enumerate(channels):
            expected = zscore(to_array(resample_image(channel, (8, 6, 4), "linear")))
            np.testing.assert_array_equal(image[..., index], expected)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1000.3])
    def test_a_constant_channel_becomes_zeros(self, value):
        image = prepare_image([image_of(np.full(SHAPE, value, np.float32))], settings())
        np.testing.assert_array_equal(image, 0)

    def test_an_unknown_choice_is_no_default(self):
        with pytest.raises(KeyError):
            prepare_image([image_of(scan())], settings(resize_interpolator="cubic"))

    def test_channels_of_ct_are_normalised_by_what_is_known_of_them(self):
        known = [None, [0.2, 0.7, 0.5, 0.1]]
        channels = [image_of(scan(1)), image_of(scan(2))]
        image = prepare_image(channels, settings(channels=2, intensities=known))
        first, second = (to_array(resample_image(channel, (8, 6, 4), "linear")) for channel in channels)
        np.testing.assert_array_equal(image[..., 0], zscore(first))
        np.testing.assert_allclose(image[..., 1], (np.clip(second, 0.2, 0.7) - 0.5) / 0.1, atol=1e-5)

    def test_around_ct_is_air_and_around_others_their_mean(self):
        padded = settings(channels=2, intensities=[None, [-100.0, 200.0, 50.0, 50.0]], fit="pad", spacing=(1, 1, 1))
        channels = [image_of(1000 * scan(seed, (4, 4, 2)), "identity", (1, 1, 1)) for seed in (1, 2)]
        image = prepare_image(channels, padded)
        np.testing.assert_array_equal(image[[0, 1, 6, 7]], np.full((4, 6, 4, 2), [0, -3], np.float32))
        assert image[2:6, 1:5, 1:3].std() > 0.5


class TestPrepareCase:
    def case(self, tmp_path, image, label=None):
        return Case(
            "scan",
            write_image(image, tmp_path / "scan.nii.gz"),
            None if label is None else write_image(label, tmp_path / "label.nii.gz"),
        )

    def test_image_and_label(self, tmp_path):
        values = (2 * blob((15, 11, 9), (7, 5, 4), (5, 4, 3))).round().astype(np.uint8)
        image, label, _ = prepare_case(
            self.case(tmp_path, image_of(scan(shape=values.shape)), image_of(values)), settings()
        )
        assert image.shape == (8, 6, 4, 1) and label.shape == (8, 6, 4)
        assert label.dtype == np.uint8 and label.flags.c_contiguous
        np.testing.assert_array_equal(label, resample_label(image_of(values), (8, 6, 4), 3))
        assert label.max() > 0

    def test_without_label(self, tmp_path):
        image, label, _ = prepare_case(self.case(tmp_path, image_of(scan())), settings())
        assert label is None and image.shape == (8, 6, 4, 1)

    @pytest.mark.parametrize("found, expected", [(1, 4), (4, 1), (2, 3)])
    def test_another_number_of_channels(self, tmp_path, found, expected):
        array = scan(shape=SHAPE + (found,)) if found > 1 else scan()
        case = Case("scan", written(tmp_path / "scan.nii.gz", raw_nifti(array=array)), None)
        message = r"scan\.nii\.gz: has {} channels? where {} .* expected".format(found, expected)
        with pytest.raises(UserError, match=message):
            prepare_case(case, settings(channels=expected))

    def test_a_label_of_another_grid(self, tmp_path):
        label = image_of(np.zeros(SHAPE, np.uint8), "flipped")
        with pytest.raises(UserError, match=r"label\.nii\.gz: has the direction"):
            prepare_case(self.case(tmp_path, image_of(scan()), label), settings())

    def test_a_label_with_too_many_classes(self, tmp_path):
        label = image_of(np.full(SHAPE, 3, np.uint8))
        with pytest.raises(UserError, match=r"label\.nii\.gz: has the value 3"):
            prepare_case(self.case(tmp_path, image_of(scan()), label), settings())


class TestCroppedShare:
    def case(self, tmp_path, values):
        label = write_image(image_of(values), tmp_path / "label.nii.gz")
        return Case("scan", write_image(image_of(scan(shape=values.shape)), tmp_path / "scan.nii.gz"), label)

    @pytest.mark.parametrize("scale", [1, 2])
    def test_is_that_of_the_voxels_of_structures(self, tmp_path, scale):
        values = np.zeros((12, 6, 4), np.uint8)
        # About the centre, 8 of 12 slices are seen along x.
        values[1:5, 2, 2] = values[9:12, 3, 3] = 1
        values[5:8, 2, 1] = 2
        spacing = tuple(step / scale for step in SPACING)
        shape = (8 * scale, 6 * scale, 4 * scale)
        padded = settings(fit="pad", spacing=spacing, input_shape=shape)
        assert cropped_share(self.case(tmp_path, values), padded) == 3 / 10

    def test_background_does_not_count(self, tmp_path):
        padded = settings(fit="pad", spacing=SPACING, input_shape=(8, 6, 4))
        values = np.zeros((12, 6, 4), np.uint8)
        assert cropped_share(self.case(tmp_path, values), padded) == 0
        values[2:10] = 1
        assert cropped_share(self.case(tmp_path, values), padded) == 0

    def test_the_label_is_read_only_where_the_scan_is_cropped(self, tmp_path):
        case = self.case(tmp_path, np.full((12, 6, 4), 1, np.uint8))
        (tmp_path / "label.nii.gz").write_bytes(b"")
        padded = settings(fit="pad", spacing=SPACING, input_shape=(12, 6, 4))
        assert cropped_share(case, padded) == 0
        with pytest.raises(UserError, match=r"label\.nii\.gz: is empty"):
            cropped_share(case, dict(padded, input_shape=(11, 6, 4)))


class TestMemory:
    def check(self, monkeypatch, limit, **changes):
        monkeypatch.setattr("utils.system.memory.limit", lambda: limit)
        at_spacing = settings(fit="spacing", spacing=(1.0, 1.0, 1.0), input_shape=(None,) * 3)
        check_memory("scan.nii.gz", (100, 90, 40), (2.0, 1.0, 1.0), dict(at_spacing, **changes))

    def test_a_scan_counts_at_its_spacing(self, monkeypatch):
        self.check(monkeypatch, 4 * 200 * 90 * 40)
        with pytest.raises(UserError, match=r"^--spacing 1 1 1: scan.nii.gz would have 200 x 90 x 40 .* a larger one$"):
            self.check(monkeypatch, 4 * 200 * 90 * 40 - 1)

    def test_so_do_the_slices_that_patches_reach_with_all_their_classes(self, monkeypatch):
        for patch, depth in (((8, 8, 8), 8), ((8, 8, 64), 40)):
            needed = 4 * 200 * 90 * depth * 50
            self.check(monkeypatch, needed, patch=patch, classes=50)
            with pytest.raises(UserError, match="use a larger one$"):
                self.check(monkeypatch, needed - 1, patch=patch, classes=50)

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import DIRECTIONS, ORIGIN, image_of, scan

from utils.imaging.geometry import restore_slab
from utils.preprocessing import fitting
from utils.preprocessing.fitting import Restored, fit_array, fit_image, fit_label, resampled_shape, seen

SHAPES = [(5, 7, 4), (8, 6, 9), (1, 12, 4), (6, 6, 6)]
CLASSES = 3


def settings(shape, spacing=(1.0, 1.0, 1.0), **changes):
    values = {"input_shape": list(shape), "fit": "pad", "spacing": list(spacing), "classes": CLASSES}
    return dict(dict(values, resize_interpolator="linear"), **changes)


def unchanged(volume):
    return volume


def labels(shape, seed=0):
    return np.random.RandomState(seed).randint(0, CLASSES, shape).astype(np.uint8)


def one_hot(label):
    return np.eye(CLASSES, dtype=np.float32)[label]


def restore_probabilities(probabilities, image, chosen):
    """All slabs, one after another."""
    restored = Restored(probabilities, image, chosen)
    return np.concatenate([restored.slab(slices) for slices in restored.slabs], axis=2)


class TestFitArray:
    @pytest.mark.parametrize("old, new", list(itertools.product(SHAPES, SHAPES)))
    def test_what_both_grids_hold_is_where_it_was(self, old, new):
        array = scan(shape=old) + 1
        fitted = fit_array(array, new, 0)
        assert fitted.shape == new and fitted.dtype == array.dtype
        common = tuple(min(pair) for pair in zip(old, new))
        assert (fitted != 0).sum() == np.prod(common)
        back = fit_array(fitted, old, 0)
        np.testing.assert_array_equal(back[back != 0], array[back != 0])
        assert (back != 0).sum() == np.prod(common)

    @pytest.mark.parametrize("old, new", [((5, 7, 4), (8, 8, 8)), ((4, 6, 2), (5, 9, 7))])
    def test_both_sides_get_as_much_but_for_an_odd_voxel(self, old, new):
        inside = np.argwhere(fit_array(np.ones(old), new, 0))
        before, after = inside.min(axis=0), np.array(new) - 1 - inside.max(axis=0)
        assert set(after - before) <= {0, 1}

    def test_trailing_axes_stay_and_are_filled_one_by_one(self):
        fitted = fit_array(np.zeros((2, 3, 4, 2)), (4, 3, 4), np.array([5.0, 7.0]))
        np.testing.assert_array_equal(fitted[0], np.broadcast_to([5.0, 7.0], (3, 4, 2)))
        np.testing.assert_array_equal(fitted[1:3], 0)

    @pytest.mark.parametrize("old, new", list(itertools.product(SHAPES, SHAPES)))
    def test_slices_are_those_of_the_whole(self, old, new):
        array = scan(shape=old) + 1
        whole = fit_array(array, new, 0)
        for first, end in itertools.combinations(range(new[2] + 1), 2):
            np.testing.assert_array_equal(fit_array(array, new, 0, range(first, end)), whole[:, :, first:end])

    def test_the_same_shape_is_a_view_of_the_same_array(self):
        array = scan()
        fitted = fit_array(array, array.shape, 0)
        assert np.shares_memory(fitted, array) and fitted.flags.c_contiguous
        np.testing.assert_array_equal(fitted, array)


class TestResampledShape:
    @pytest.mark.parametrize(
        "size, spacing, wanted, expected",
        [
            ((35, 51, 36), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (35, 51, 36)),
            ((35, 51, 36), (0.999999, 1.000001, 1.0), (1.0, 1.0, 1.0), (35, 51, 36)),
            ((10, 20, 30), (2.0, 0.5, 1.0), (1.0, 1.0, 1.5), (20, 10, 20)),
            ((2, 2, 2), (0.1, 0.1, 0.1), (1.0, 1.0, 1.0), (1, 1, 1)),
        ],
    )
    def test_is_the_field_of_view_in_voxels_of_the_spacing(self, size, spacing, wanted, expected):
        image = sitk.Image(list(size), sitk.sitkFloat32)
        image.SetSpacing(spacing)
        assert resampled_shape(image, settings((8, 8, 8), wanted)) == expected

    def test_resizing_takes_the_networks(self):
        image = sitk.Image([5, 6, 7], sitk.sitkFloat32)
        assert resampled_shape(image, dict(settings((8, 9, 4)), fit="resize", spacing=None)) == (8, 9, 4)


class TestSeen:
    @pytest.mark.parametrize("old, new", list(itertools.product(SHAPES, SHAPES)))
    def test_is_what_comes_back(self, old, new):
        left = np.argwhere(fit_array(fit_array(np.ones(old), new, 0), old, 0))
        expected = tuple(range(first, last + 1) for first, last in zip(left.min(axis=0), left.max(axis=0)))
        assert seen(old, (1.0, 1.0, 1.0), settings(new)) == expected

    def test_is_where_the_centres_of_the_scans_voxels_lie(self):
        # 40 voxels of 1 mm about the centre of 50, which 25 of 2 mm and 100 of 0.5 mm are.
        found = seen((25, 100, 40), (2.0, 0.5, 1.0), settings((40, 40, 40)))
        assert found == (range(2, 22), range(10, 90), range(40))

    @pytest.mark.parametrize("size", [1, 2, 7, 29, 100])
    @pytest.mark.parametrize("spacing", [0.3, 0.999999, 1.7])
    def test_is_all_where_nothing_is_cropped(self, size, spacing):
        sizes, spacings = (size,) * 3, (spacing,) * 3
        whole = (range(size),) * 3
        assert seen(sizes, spacings, settings((200, 171, 180))) == whole
        assert seen(sizes, spacings, settings((None, None, None), fit="spacing")) == whole
        assert seen(sizes, spacings, settings((8, 8, 8), fit="resize")) == whole
        assert seen(sizes, spacings, settings((8, 8, None)))[2] == range(size)


class TestPadding:
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_voxels_of_the_wanted_spacing_stay_as_they_are(self, direction):
        array = scan(shape=(5, 7, 4)) + 1
        spacing = (0.7, 1.1, 2.9)
        fitted = fit_image(image_of(array, direction, spacing), settings((8, 8, 8), spacing), unchanged)
        assert fitted.shape == (8, 8, 8) and fitted.dtype == np.float32
        np.testing.assert_array_equal(fit_array(fitted, array.shape, 0), array)
        assert (fitted == 0).sum() == 8**3 - array.size

    def test_normalisation_sees_the_scan_without_its_padding(self):
        array = scan(shape=(5, 7, 4)) + 3
        fitted = fit_image(
            image_of(array, spacing=(1, 1, 1)), settings((8, 8, 8)), lambda volume: volume - volume.mean()
        )
        assert abs(fitted.sum()) < 1e-3 and abs(fit_array(fitted, array.shape, 0).mean()) < 1e-5

    def test_a_label_gets_background_around_it(self):
        label = labels((5, 7, 4)) % 2 + 1
        fitted = fit_label(image_of(label.astype(np.uint8), spacing=(1, 1, 1)), settings((8, 8, 8)))
        np.testing.assert_array_equal(fit_array(fitted, label.shape, 0), label)
        assert fitted.dtype == np.uint8 and (fitted == 0).sum() == 8**3 - label.size

    def test_image_and_label_keep_together_at_another_spacing(self):
        body = np.zeros((12, 9, 15), np.uint8)
        body[3:9, 2:6, 5:12] = 1
        chosen = settings((16, 16, 16), (0.8, 1.3, 0.9))
        spacing = (1.1, 0.9, 0.7)
        image = fit_image(image_of(body.astype(np.float32), spacing=spacing), chosen, unchanged)
        np.testing.assert_array_equal(image > 0.5, fit_label(image_of(body, spacing=spacing), chosen) == 1)


class TestRoundTrip:
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    @pytest.mark.parametrize("shape", [(16, 16, 16), (8, 16, 8)])
    def test_a_mask_comes_back_to_its_voxels(self, direction, shape):
        label = labels((7, 13, 8))
        image = image_of(label, direction, (1.0, 0.7, 2.0), ORIGIN)
        chosen = settings(shape, (1.0, 0.7, 2.0))
        restored = restore_probabilities(one_hot(fit_label(image, chosen)), image, chosen)
        assert restored.shape == label.shape + (CLASSES,) and restored.dtype == np.float32
        np.testing.assert_array_equal(restored.argmax(axis=-1), label)

    def test_what_the_network_did_not_see_is_background(self):
        label = np.full((9, 13, 8), 2, np.uint8)
        image = image_of(label, spacing=(1, 1, 1))
        chosen = settings((4, 8, 4))
        restored = restore_probabilities(one_hot(fit_label(image, chosen)), image, chosen)
        assert (restored.argmax(axis=-1) == 2).sum() == 4 * 8 * 4
        np.testing.assert_allclose(restored.sum(axis=-1), 1)
        np.testing.assert_array_equal(restored[0, 0, 0], [1, 0, 0])

    @pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.5, 0.8, 1.2)])
    def test_another_spacing_keeps_a_smooth_body(self, spacing):
        axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (24, 31, 19)), indexing="ij")
        body = (sum(axis**2 for axis in axes) < 0.5).astype(np.uint8)
        image = image_of(body, spacing=(1, 1, 1))
        chosen = settings((64, 64, 64), spacing)
        mask = restore_probabilities(one_hot(fit_label(image, chosen)), image, chosen).argmax(axis=-1)
        assert 2 * (mask * body).sum() / (mask.sum() + body.sum()) > 0.95


@pytest.mark.parametrize("direction", ["identity", "oblique_left_handed"])
@pytest.mark.parametrize(
    "chosen",
    [
        dict(settings((16, 8, 24)), fit="resize", spacing=None),
        dict(settings((7, 13, 5)), fit="resize", spacing=None),
        settings((16, 16, 8), (1.0, 0.7, 2.0)),
        settings((32, 8, 8), (0.6, 1.3, 0.9)),
        settings((8, 8, 8), (3.1, 2.2, 3.3)),
    ],
    ids=lambda chosen: "{} {}".format(chosen["fit"], chosen["spacing"] or chosen["input_shape"]),
)
class TestSlabs:
    SHAPE = (7, 13, 9)

    def make(self, direction, chosen):
        image = image_of(np.zeros(self.SHAPE, np.float32), direction, (1.0, 0.7, 2.0))
        probabilities = np.random.RandomState(0).dirichlet([0.3] * CLASSES, chosen["input_shape"]).astype(np.float32)
        return probabilities, image, chosen

    @pytest.mark.parametrize("values_at_once", [1, 1000, 10**9])
    def test_their_thickness_makes_no_difference_at_all(self, monkeypatch, direction, chosen, values_at_once):
        scan = self.make(direction, chosen)
        whole = restore_probabilities(*scan)
        monkeypatch.setattr(fitting, "VALUES_AT_ONCE", values_at_once)
        np.testing.assert_array_equal(restore_probabilities(*scan), whole)

    def test_they_are_as_many_as_it_takes(self, monkeypatch, direction, chosen):
        slice_of = 7 * 13 * CLASSES
        for values_at_once, thickness in ((1, 1), (2 * slice_of + 5, 2), (10**9, 9)):
            monkeypatch.setattr(fitting, "VALUES_AT_ONCE", values_at_once)
            slabs = Restored(*self.make(direction, chosen)).slabs
            assert sum(map(list, slabs), []) == list(range(9))
            assert {len(slices) for slices in slabs[:-1]} <= {thickness} and len(slabs[-1]) <= thickness

    def test_the_padded_whole_is_fitted_first(self, monkeypatch, direction, chosen):
        probabilities, image, _ = scan = self.make(direction, chosen)
        whole = fit_array(probabilities, resampled_shape(image, chosen), np.eye(CLASSES, dtype=np.float32)[0])
        expected = restore_slab(whole, 0, whole.shape[:3], self.SHAPE, range(9))
        monkeypatch.setattr(fitting, "VALUES_AT_ONCE", 1)
        np.testing.assert_array_equal(restore_probabilities(*scan), expected)


class TestSpacing:
    """Where patches are cut out, a scan is brought to the spacing, whatever its size."""

    SETTINGS = {"input_shape": [None] * 3, "fit": "spacing", "spacing": [0.5, 2.0, 1.0], "classes": CLASSES}

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_images_labels_and_what_comes_back(self, direction):
        chosen = dict(self.SETTINGS, resize_interpolator="linear")
        image = image_of(scan(shape=(5, 8, 6)), direction, (1.0, 1.0, 3.0))
        label = image_of(labels((5, 8, 6)), direction, (1.0, 1.0, 3.0))
        assert resampled_shape(image, chosen) == (10, 4, 18)
        assert fit_image(image, chosen, unchanged).shape == fit_label(label, chosen).shape == (10, 4, 18)
        probabilities = one_hot(labels((10, 4, 18)))
        restored = restore_probabilities(probabilities, image, chosen)
        assert restored.shape == (5, 8, 6, CLASSES)
        np.testing.assert_allclose(restored.sum(axis=-1), 1.0, atol=1e-5)

    def test_a_scan_at_the_spacing_keeps_its_voxels(self):
        chosen = dict(self.SETTINGS, resize_interpolator="linear", spacing=[0.7, 1.1, 2.9])
        volume = scan(shape=(5, 8, 6))
        np.testing.assert_array_equal(fit_image(image_of(volume), chosen, unchanged), volume)
        values = labels((5, 8, 6))
        np.testing.assert_array_equal(fit_label(image_of(values), chosen), values)
        np.testing.assert_array_equal(restore_probabilities(one_hot(values), image_of(volume), chosen), one_hot(values))


class Watched:
    """An array that tells which of its slices along z are read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, set()

    def __getitem__(self, key):
        self.read |= set(range(self.shape[2])[key[2]])
        return self.array[key]


class TestSlices:
    @pytest.mark.parametrize("spacing", [[0.7, 1.1, 2.9], [0.7, 1.1, 1.5], [0.7, 1.1, 6.0]])
    @pytest.mark.parametrize("input_shape, fit", [([None] * 3, "spacing"), ([6, 9, 70], "pad"), ([4, 4, 30], "pad")])
    def test_no_more_is_read_than_what_lies_around_a_slab(self, monkeypatch, spacing, input_shape, fit):
        monkeypatch.setattr(fitting, "VALUES_AT_ONCE", 1)
        image = image_of(scan(shape=(5, 8, 40)))
        chosen = {"input_shape": input_shape, "fit": fit, "spacing": spacing}
        shape = [own or size for own, size in zip(input_shape, resampled_shape(image, chosen))]
        probabilities = Watched(np.zeros(tuple(shape) + (CLASSES,), np.float32))
        restored = Restored(probabilities, image, chosen)
        for slices in restored.slabs:
            probabilities.read.clear()
            restored.slab(slices)
            assert len(probabilities.read) <= 4

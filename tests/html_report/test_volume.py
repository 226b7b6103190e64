import base64
import io
import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from synthetic import DIRECTIONS, blob, image_of, rotation

from utils.html_report import volume
from utils.html_report.volume import encode, runs, shrink_factors

PLENTY = 10**7
SHAPE = (9, 14, 6)


def labels_of(text, shape):
    """The labels [X, Y, Z] of ``runs`` on a grid [x, y, z]."""
    numbers = np.frombuffer(base64.b64decode(text), "<u4")
    return np.repeat((numbers >> 24).astype(np.uint8), numbers & 0xFFFFFF).reshape(shape[::-1]).transpose()


def grey_of(content):
    """The grey values [X, Y, Z] that the page reads off the sheet."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(content["image"]))))
    (width, height), shape, columns = content["tile"], content["shape"], content["columns"]
    slices = []
    for number in range(shape[2]):
        top, left = number // columns * height, number % columns * width
        slices.append(sheet[top : top + shape[1], left : left + shape[0]].T)
    return np.stack(slices, axis=-1)


def noise(shape, seed=0):
    return np.random.RandomState(seed).normal(0, 1, shape).astype(np.float32)


def labels(shape=SHAPE, classes=3, seed=0):
    return np.random.RandomState(seed).randint(classes, size=shape).astype(np.uint8)


def size_of(content):
    return len(json.dumps(content))


class TestRoundTrip:
    @pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (1, 7, 1), (40, 3, 2)])
    @pytest.mark.parametrize("classes", [1, 2, 256])
    def test_of_labels_loses_nothing(self, shape, classes):
        found = labels(shape, classes)
        np.testing.assert_array_equal(labels_of(runs(found.transpose()), shape), found)

    def test_of_mask_and_truth(self):
        mask, truth = labels(seed=1), labels(seed=2)
        content = encode(*[image_of(part, "identity") for part in (noise(SHAPE), mask, truth)], room=PLENTY)
        assert content["shape"] == list(SHAPE)
        np.testing.assert_array_equal(labels_of(content["mask"], SHAPE), mask)
        np.testing.assert_array_equal(labels_of(content["truth"], SHAPE), truth)

    def test_a_truth_that_is_not_known(self):
        content = encode(image_of(noise(SHAPE)), image_of(labels()), None, PLENTY)
        assert content["truth"] is None and content["mask"]

    @pytest.mark.parametrize("shape", [(9, 14, 6), (16, 8, 30), (1, 20, 5), (33, 1, 4), (25, 17, 1)])
    def test_of_grey_values_is_near(self, shape):
        scan = blob(shape, np.array(shape) * 0.4, np.array(shape) * 0.8 + 2)
        grey = grey_of(encode(image_of(scan, "identity"), image_of(labels(shape), "identity"), None, PLENTY))
        low, high = np.percentile(scan, (0.5, 99.5))
        wanted = np.clip((scan - low) / (high - low), 0, 1) * 255 if high > low else grey
        assert grey.shape == shape
        assert np.abs(grey - wanted).max() < 24 and np.abs(grey - wanted).mean() < 4

    def test_a_scan_of_one_value(self):
        content = encode(image_of(np.full(SHAPE, 7, np.float32)), image_of(np.zeros(SHAPE, np.uint8)), None, PLENTY)
        assert len(np.unique(grey_of(content))) == 1


class TestOrientation:
    @pytest.mark.parametrize("order", ["LPS", "RAS", "SPR", "AIL", "PIR"])
    def test_of_the_file_makes_no_difference(self, order):
        scan, mask = image_of(noise(SHAPE), "identity"), image_of(labels(), "identity")
        wanted = encode(scan, mask, mask, PLENTY)
        assert encode(*[sitk.DICOMOrient(part, order) for part in (scan, mask, mask)], room=PLENTY) == wanted

    @pytest.mark.parametrize("angle", [44.97, 45.0, 134.97])
    def test_headers_that_differ_a_little_turn_no_label(self, angle):
        scan, mask, truth = image_of(noise(SHAPE)), image_of(labels(seed=1)), image_of(labels(seed=2))
        for part, more in ((scan, 0.0), (mask, 0.0), (truth, 0.06)):
            part.SetDirection(rotation((0, 0, angle + more)).ravel().tolist())
        content = encode(scan, mask, truth, PLENTY)
        truth.CopyInformation(scan)
        assert content == encode(scan, mask, truth, PLENTY)

    def test_grows_to_left_back_and_head(self):
        mask = np.zeros(SHAPE, np.uint8)
        # In this direction the axes grow to the right, the front and the head.
        mask[0, 0, 0] = 1
        content = encode(image_of(noise(SHAPE), "flipped"), image_of(mask, "flipped"), None, PLENTY)
        assert np.argwhere(labels_of(content["mask"], SHAPE)).tolist() == [[SHAPE[0] - 1, SHAPE[1] - 1, 0]]

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_every_voxel_is_there_once(self, direction):
        mask = labels(classes=200)
        content = encode(image_of(noise(SHAPE), direction), image_of(mask, direction), None, PLENTY)
        found = labels_of(content["mask"], content["shape"])
        np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(mask.ravel()))

    def test_spacing_goes_with_the_axes(self):
        image = image_of(noise(SHAPE), "permuted", (0.7, 1.1, 2.9))
        content = encode(image, image_of(labels(), "permuted", (0.7, 1.1, 2.9)), None, PLENTY)
        assert sorted(zip(content["shape"], content["spacing"])) == sorted(zip(SHAPE, (0.7, 1.1, 2.9)))
        assert content["shape"] != list(SHAPE)

    @pytest.mark.parametrize("direction, least, most", [("identity", 0, 0), ("flipped", 0, 0), ("oblique", 30, 50)])
    def test_the_tilt_is_told(self, direction, least, most):
        content = encode(image_of(noise(SHAPE), direction), image_of(labels(), direction), None, PLENTY)
        assert least <= content["tilt"] <= most

    def test_the_middle_slices_hold_what_is_marked(self):
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:4, 10:12, 1] = 1
        content = encode(image_of(noise(SHAPE), "identity"), image_of(mask, "identity"), None, PLENTY)
        x, y, z = content["middle"]
        assert mask[x, y, z] == 1


class TestRoom:
    @pytest.mark.parametrize("room", [400000, 200000, 120000])
    def test_is_kept_to_by_a_volume_that_nothing_compresses(self, room):
        shape = (70, 90, 60)
        content = encode(image_of(noise(shape)), image_of(labels(shape)), image_of(labels(shape, seed=1)), room)
        assert 0.4 * room < size_of(content) <= room

    def test_a_small_volume_stays_as_it_is(self):
        shape = (36, 50, 36)
        content = encode(image_of(noise(shape)), image_of(labels(shape, 1)), None, room=20 * 10**6 // 130)
        assert content["shrunk"] == [1, 1, 1] and content["shape"] == list(shape)

    def test_what_is_shrunk_covers_the_same_field(self):
        shape, spacing = (64, 60, 33), (0.5, 0.5, 2.0)
        mask = np.zeros(shape, np.uint8)
        mask[20:40, 10:30, 8:24] = 1
        scan = image_of(blob(shape, (30, 20, 16), (20, 20, 10)), "identity", spacing)
        content = encode(scan, image_of(mask, "identity", spacing), None, room=21000)
        assert max(content["shrunk"]) > 1 and content["shrunk"][2] == 1
        for side, step, size, own in zip(content["shape"], content["spacing"], shape, spacing):
            assert size * own - step < side * step <= size * own + 1e-9
        found = labels_of(content["mask"], content["shape"])
        assert found.mean() == pytest.approx(mask.mean(), rel=0.1)
        x, y, z = [int(part // step) for part, step in zip((30, 20, 16), content["shrunk"])]
        assert found[x, y, z] == 1 and grey_of(content)[x, y, z] > 200

    @pytest.mark.parametrize("factors", [[1, 1, 1], [2, 1, 1], [3, 2, 1], [2, 5, 3], [7, 1, 4]])
    def test_a_shrunk_volume_has_the_means_of_blocks(self, factors):
        scan = noise((23, 11, 13))
        expected = sitk.GetArrayFromImage(sitk.BinShrink(image_of(scan, "identity"), factors))
        found = volume.shrunk(scan.transpose(2, 1, 0), factors)
        assert found.shape == expected.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_labels_of_a_shrunk_volume_are_labels(self):
        shape = (80, 80, 40)
        content = encode(image_of(noise(shape)), image_of(labels(shape, 2) * 2), None, room=60000)
        assert set(np.unique(labels_of(content["mask"], content["shape"]))) == {0, 2}


class TestShrinkFactors:
    def test_are_ones_where_there_is_room(self):
        assert shrink_factors((10, 10, 10), (1, 1, 1), 1000) == [1, 1, 1]

    @pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.7, 5.0), (3.0, 0.4, 0.9)])
    def test_bring_the_voxels_below_and_near_to_cubes(self, spacing):
        shape = (512, 512, 300)
        factors = shrink_factors(shape, spacing, volume.MOST_VOXELS)
        shown = [size // factor for size, factor in zip(shape, factors)]
        assert volume.MOST_VOXELS / 3 < np.prod(shown) <= volume.MOST_VOXELS
        steps = [step * factor for step, factor in zip(spacing, factors)]
        assert all(step < 2 * min(steps) for step, factor in zip(steps, factors) if factor > 1)

    def test_no_side_outgrows_what_browsers_draw(self):
        factors = shrink_factors((5000, 20, 1), (1, 1, 1), volume.MOST_VOXELS)
        assert 5000 // factors[0] <= volume.LONGEST_SIDE and factors[1:] == [1, 1]

    def test_no_side_vanishes(self):
        factors = shrink_factors((3, 2, 1), (1, 1, 1), 1)
        assert [size // factor for size, factor in zip((3, 2, 1), factors)] == [1, 1, 1]

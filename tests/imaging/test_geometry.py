import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import DIRECTIONS, blob, grid_of, image_of

from utils.imaging.geometry import resample_image, resample_label, restore_slab, slices_below
from utils.imaging.nifti import to_array

SHAPES = [((21, 34, 17), (16, 16, 16)), ((14, 19, 25), (24, 32, 16)), ((18, 25, 11), (18, 32, 8))]


def restore_probabilities(probabilities, image):
    """All slices at once."""
    shape, slices = probabilities.shape[:3], range(image.GetSize()[2])
    return restore_slab(probabilities, 0, shape, image.GetSize(), slices)


def restored_in_the_world(probabilities, image):
    """The same in mm, by way of where both grids lie."""
    spacing = np.array(image.GetSpacing()) * image.GetSize() / probabilities.shape[:3]
    corner = np.array(image.TransformContinuousIndexToPhysicalPoint([-0.5] * 3))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    on_network = sitk.GetImageFromArray(np.ascontiguousarray(probabilities.transpose(2, 1, 0, 3)), isVector=True)
    on_network.SetSpacing(spacing.tolist())
    on_network.SetDirection(image.GetDirection())
    on_network.SetOrigin((corner + direction.dot(spacing / 2)).tolist())
    restored = sitk.Resample(
        on_network,
        image,
        sitk.Transform(),
        sitk.sitkLinear,
        0.0,
        sitk.sitkVectorFloat32,
        useNearestNeighborExtrapolator=True,
    )
    return to_array(restored)


def centroid(image):
    """Return the centre of mass of an image in mm, in the world's axes."""
    weights = to_array(image).astype(np.float64)
    index = [np.average(axis, weights=weights) for axis in np.indices(weights.shape)]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index))


def shift(moved, image):
    """Return how far the centre of mass of `moved` is from that of `image`, in voxels of `image`."""
    centres = [image.TransformPhysicalPointToContinuousIndex(centroid(one).tolist()) for one in (moved, image)]
    return np.abs(np.subtract(*centres)).max()


def corners(image):
    """Return the two outermost corners of the field of view in mm."""
    return np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint([-0.5] * 3),
            image.TransformContinuousIndexToPhysicalPoint([size - 0.5 for size in image.GetSize()]),
        ]
    )


def smooth_blob(shape, direction):
    centre = [0.45 * shape[0], 0.55 * shape[1], 0.48 * shape[2]]
    return image_of(blob(shape, centre, [size / 5.0 for size in shape]), direction)


def dice(first, second):
    return 2.0 * np.sum(first & second) / (np.sum(first) + np.sum(second))


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
@pytest.mark.parametrize("shape, network_shape", SHAPES)
class TestNothingMoves:
    def test_field_of_view_is_shared(self, shape, network_shape, direction):
        image = image_of(np.zeros(shape, np.float32), direction)
        resampled = resample_image(image, network_shape, "linear")
        assert resampled.GetSize() == network_shape
        assert resampled.GetDirection() == image.GetDirection()
        np.testing.assert_allclose(corners(resampled), corners(image), atol=1e-9)

    def test_centre_of_a_blob_stays(self, shape, network_shape, direction):
        image = smooth_blob(shape, direction)
        resampled = resample_image(image, network_shape, "linear")
        assert shift(resampled, image) < 0.03

    def test_there_and_back(self, shape, network_shape, direction):
        image = smooth_blob(shape, direction)
        on_network_grid = to_array(resample_image(image, network_shape, "linear"))
        restored = restore_probabilities(np.stack([1 - on_network_grid, on_network_grid], axis=-1), image)
        assert restored.shape == shape + (2,) and restored.dtype == np.float32
        back = image_of(restored[..., 1], direction)
        assert shift(back, image) < 0.03
        assert np.abs(restored[..., 1] - to_array(image)).max() < 0.2
        np.testing.assert_allclose(restored.sum(axis=-1), 1, atol=1e-5)

    def test_a_linear_ramp_is_met_exactly(self, shape, network_shape, direction):
        """The value at a voxel's centre is its place along x, y and z, in voxels of the first grid."""
        for axis in range(3):
            ramp = np.indices(shape)[axis].astype(np.float32)
            resampled = to_array(resample_image(image_of(ramp, direction), network_shape, "linear"))
            places = (np.arange(network_shape[axis]) + 0.5) * shape[axis] / network_shape[axis] - 0.5
            expected = np.clip(places, 0, shape[axis] - 1).reshape([-1 if other == axis else 1 for other in range(3)])
            np.testing.assert_allclose(resampled, np.broadcast_to(expected, network_shape), atol=1e-4)

    def test_a_constant_stays_constant_up_to_the_border(self, shape, network_shape, direction):
        image = image_of(np.full(shape, 7.25, np.float32), direction)
        for interpolator in ("linear", "nearest_neighbor"):
            resampled = resample_image(image, network_shape, interpolator)
            np.testing.assert_allclose(to_array(resampled), 7.25, rtol=1e-6)
        restored = restore_probabilities(np.full(network_shape + (3,), 0.25, np.float32), image)
        np.testing.assert_allclose(restored, 0.25, rtol=1e-6)

    def test_a_label_there_and_back(self, shape, network_shape, direction):
        mask = to_array(smooth_blob(shape, direction)) > 0.3
        label = image_of(mask.astype(np.uint8), direction)
        resampled = resample_label(label, network_shape, 2)
        restored = restore_probabilities(np.eye(2, dtype=np.float32)[resampled], label)
        assert dice(restored.argmax(axis=-1) == 1, mask) > 0.9


class TestResampleImage:
    @pytest.mark.parametrize("interpolator", ["linear", "nearest_neighbor"])
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_same_shape_is_the_same_image(self, direction, interpolator):
        image = image_of(np.random.RandomState(0).rand(5, 7, 6).astype(np.float32), direction)
        same = resample_image(image, (5, 7, 6), interpolator)
        np.testing.assert_allclose(to_array(same), to_array(image), atol=1e-6)
        np.testing.assert_allclose(np.concatenate(grid_of(same)), np.concatenate(grid_of(image)), atol=1e-12)

    def test_nearest_neighbour_takes_values_of_the_image_only(self):
        values = np.random.RandomState(1).choice([3.0, 5.0, 11.0], (9, 12, 7)).astype(np.float32)
        resampled = to_array(resample_image(image_of(values), (7, 16, 5), "nearest_neighbor"))
        assert set(np.unique(resampled)) == {3.0, 5.0, 11.0}

    def test_integers_are_interpolated_as_real_numbers(self):
        ramp = np.arange(4, dtype=np.int16).reshape(4, 1, 1)
        resampled = resample_image(image_of(ramp), [8, 1, 1], "linear")
        assert resampled.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_allclose(to_array(resampled).ravel(), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-5)

    def test_a_single_slice(self):
        image = image_of(np.full((6, 5, 1), 4.0, np.float32))
        np.testing.assert_allclose(to_array(resample_image(image, (4, 4, 4), "linear")), 4.0, rtol=1e-6)


class TestResampleLabel:
    def test_no_class_is_invented_between_others(self):
        label = np.zeros((20, 21, 22), np.uint8)
        label[:, 7:14] = 3
        label[:, 14:] = 1
        resampled = resample_label(image_of(label), (13, 16, 9), 4)
        assert resampled.dtype == np.uint8 and resampled.shape == (13, 16, 9)
        assert set(np.unique(resampled)) == {0, 1, 3}

    @pytest.mark.parametrize("seed", range(3))
    def test_noise_gives_its_own_classes(self, seed):
        label = np.random.RandomState(seed).choice([0, 2, 4], (8, 9, 10)).astype(np.uint8)
        assert set(np.unique(resample_label(image_of(label), (11, 5, 12), 5))) <= {0, 2, 4}

    def test_the_lowest_of_equal_shares_wins(self):
        label = np.array([2, 1, 1, 2, 0, 2], np.uint8).reshape(6, 1, 1)
        np.testing.assert_array_equal(resample_label(image_of(label), (3, 1, 1), 3).ravel(), [1, 1, 0])

    def test_same_shape_is_the_same_label(self):
        label = np.random.RandomState(2).randint(0, 3, (6, 5, 7)).astype(np.uint8)
        np.testing.assert_array_equal(resample_label(image_of(label), (6, 5, 7), 3), label)


class TestRestoreProbabilities:
    def test_each_class_is_restored_by_itself(self):
        rng = np.random.RandomState(3)
        image = image_of(np.zeros((11, 9, 13), np.float32))
        probabilities = rng.rand(8, 8, 8, 4).astype(np.float32)
        together = restore_probabilities(probabilities, image)
        for value in range(4):
            others = rng.rand(8, 8, 8, 4).astype(np.float32)
            others[..., value] = probabilities[..., value]
            np.testing.assert_array_equal(restore_probabilities(others, image)[..., value], together[..., value])

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    @pytest.mark.parametrize("shape, network_shape", SHAPES + [((5, 90, 7), (16, 8, 24)), ((9, 8, 1), (4, 4, 4))])
    def test_where_the_scan_lies_makes_no_difference(self, shape, network_shape, direction):
        probabilities = np.random.RandomState(0).dirichlet([0.2] * 4, network_shape).astype(np.float32)
        image = image_of(np.zeros(shape, np.float32), direction)
        restored, expected = (make(probabilities, image) for make in (restore_probabilities, restored_in_the_world))
        np.testing.assert_allclose(restored, expected, atol=2e-7)
        certain = np.sort(expected)
        certain = certain[..., -1] - certain[..., -2] > 1e-6
        assert certain.mean() > 0.99
        np.testing.assert_array_equal(restored.argmax(axis=-1)[certain], expected.argmax(axis=-1)[certain])

    def test_the_input_is_left_alone_whatever_its_order(self):
        image = image_of(np.zeros((6, 7, 8), np.float32))
        probabilities = np.random.RandomState(4).rand(2, 5, 4, 3).astype(np.float64).transpose(3, 2, 1, 0)
        before = probabilities.copy()
        restored = restore_probabilities(probabilities, image)
        assert restored.shape == (6, 7, 8, 2)
        np.testing.assert_array_equal(probabilities, before)

    def test_same_shape_is_the_same(self):
        probabilities = np.random.RandomState(5).rand(6, 7, 8, 3).astype(np.float32)
        restored = restore_probabilities(probabilities, image_of(np.zeros((6, 7, 8), np.float32)))
        np.testing.assert_allclose(restored, probabilities, atol=1e-6)


class TestSlabs:
    @pytest.mark.parametrize("thickness", [1, 2, 5])
    @pytest.mark.parametrize("shape, network_shape", SHAPES + [((5, 9, 7), (16, 8, 24)), ((3, 2, 60), (4, 4, 8))])
    def test_are_the_parts_of_the_whole(self, shape, network_shape, thickness):
        probabilities = np.random.RandomState(0).rand(*network_shape + (3,)).astype(np.float32)
        image = image_of(np.zeros(shape, np.float32))
        whole = restore_probabilities(probabilities, image)
        for first in range(0, shape[2], thickness):
            slices = range(first, min(first + thickness, shape[2]))
            below = slices_below(network_shape, shape, slices)
            part = restore_slab(
                probabilities[:, :, below.start : below.stop], below.start, network_shape, shape, slices
            )
            np.testing.assert_array_equal(part, whole[:, :, first : first + thickness])

    @pytest.mark.parametrize("depth, network_depth", [(1, 1), (1, 16), (300, 32), (7, 24), (512, 16)])
    def test_few_of_the_networks_slices_lie_below(self, depth, network_depth):
        for first in range(depth):
            below = slices_below((1, 1, network_depth), (1, 1, depth), range(first, first + 1))
            place = (first + 0.5) * network_depth / depth - 0.5
            assert 0 <= below.start <= max(place, 0) and min(place, network_depth - 1) <= below[-1] < network_depth
            assert len(below) <= 3

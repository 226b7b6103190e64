import numpy as np
import pytest
from synthetic import blob
from synthetic import rotation as about_each_axis

from utils.sampling.augmentation import Draw
from utils.sampling.warping import Resampling, rotation, smooth_field, sources, warped

SHAPE = (19, 26, 14)
THRESHOLDS = [-0.3, 0.6]
MOVES = {
    "rotation": Draw(angles=(12.0, -8.0, 15.0)),
    "scaling": Draw(scale=1.17),
    "shift": Draw(shift=(1.6, -2.3, 0.4)),
    "elastic": Draw(elastic=1.0, seed=5),
    "all": Draw(
        angles=(-5.0, 9.0, 11.0), scale=0.9, shift=(0.5, 1.5, -1.0), elastic=0.7, seed=3, spacing=(1.0, 0.8, 1.3)
    ),
}


def case(shape=SHAPE, channels=1, seed=0):
    """A smooth image and its label: which of THRESHOLDS each voxel of the first channel is above."""
    random = np.random.RandomState(seed)
    image = np.stack([smooth_field(shape, random) for _ in range(channels)], axis=-1)
    return image, label_of(image)


def label_of(image):
    return np.array([0, 2, 5], np.uint8)[np.digitize(image[..., 0], THRESHOLDS)]


def ball(shape, radius):
    """A label, uint8 [X, Y, Z], 1 within a ball about the centre."""
    centre = (np.array(shape) - 1) / 2.0
    return (blob(shape, centre, [radius] * 3) >= np.exp(-1)).astype(np.uint8)


def centroid(label):
    return np.array([np.average(axis, weights=label) for axis in np.indices(label.shape)])


class TestWarped:
    def test_nothing_asked_for_is_the_case_itself(self):
        image, label = case()
        moved_image, moved_label = warped(image, label, Draw(flips=(True, False), seed=9))
        np.testing.assert_array_equal(moved_image, image)
        assert np.shares_memory(moved_image, image) and np.shares_memory(moved_label, label)

    @pytest.mark.parametrize("name", ["none"] + sorted(MOVES))
    def test_a_part_is_that_of_the_whole_to_the_last_bit(self, name):
        image, label = case(channels=2)
        part = (slice(3, 17), slice(0, 11), slice(5, 14))
        draw = MOVES.get(name, Draw())
        for whole, found in zip(warped(image, label, draw), warped(image, label, draw, part)):
            np.testing.assert_array_equal(found, whole[part])

    @pytest.mark.parametrize("name", sorted(MOVES))
    @pytest.mark.parametrize("channels", [1, 3])
    def test_is_a_case_again_and_follows_from_its_arguments(self, name, channels):
        image, label = case(channels=channels)
        before = image.copy(), label.copy()
        moved = warped(image, label, MOVES[name])
        assert [(part.shape, part.dtype) for part in moved] == [(image.shape, np.float32), (SHAPE, np.uint8)]
        assert set(np.unique(moved[1])) <= {0, 2, 5}
        for part, again, given, kept in zip(moved, warped(image, label, MOVES[name]), (image, label), before):
            assert not np.array_equal(part, given)
            np.testing.assert_array_equal(part, again)
            np.testing.assert_array_equal(given, kept)

    @pytest.mark.parametrize("name", sorted(MOVES))
    def test_image_and_label_move_together(self, name):
        image, label = case((30, 41, 36))
        moved_image, moved_label = warped(image, label, MOVES[name])
        assert (moved_label != label).mean() > 0.05
        differing = moved_label != label_of(moved_image)
        assert differing.mean() < 0.03
        # Only where one class becomes the other.
        assert np.abs(moved_image[differing] - THRESHOLDS).min(axis=1).max() < 0.2

    @pytest.mark.parametrize("name", sorted(MOVES))
    def test_channels_move_together(self, name):
        image, label = case(channels=2)
        moved, _ = warped(image, label, MOVES[name])
        for channel in range(2):
            alone, _ = warped(image[..., channel : channel + 1], label, MOVES[name])
            np.testing.assert_array_equal(moved[..., channel : channel + 1], alone)

    @pytest.mark.parametrize("shift", [(1, 0, 0), (0, -3, 0), (2, 5, -4)])
    def test_whole_voxels_move_exactly_and_the_outermost_go_on(self, shift):
        image, label = case(channels=2)
        image += np.random.RandomState(1).randn(*image.shape).astype(np.float32)
        indices = [np.clip(np.arange(size) - step, 0, size - 1) for size, step in zip(SHAPE, shift)]
        moved_image, moved_label = warped(image, label, Draw(shift=tuple(map(float, shift))))
        np.testing.assert_array_equal(moved_image, image[np.ix_(*indices)])
        np.testing.assert_array_equal(moved_label, label[np.ix_(*indices)])

    @pytest.mark.parametrize("axis, axes", [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
    def test_a_right_angle_is_a_quarter_turn(self, axis, axes):
        random = np.random.RandomState(0)
        image, label = random.randn(8, 8, 8, 1).astype(np.float32), random.randint(3, size=(8, 8, 8)).astype(np.uint8)
        angles = tuple(90.0 if other == axis else 0.0 for other in range(3))
        moved_image, moved_label = warped(image, label, Draw(angles=angles))
        np.testing.assert_allclose(moved_image, np.rot90(image, 1, axes), atol=1e-4)
        np.testing.assert_array_equal(moved_label, np.rot90(label, 1, axes))

    @pytest.mark.parametrize("scale", [0.8, 0.9, 1.1, 1.3])
    def test_scaling_changes_a_balls_volume_by_its_cube(self, scale):
        label = ball((36, 40, 33), 10.3)
        image = label[..., None].astype(np.float32)
        moved_image, moved_label = warped(image, label, Draw(scale=scale))
        assert moved_label.sum() / label.sum() == pytest.approx(scale**3, rel=0.04)
        assert moved_image.sum() / image.sum() == pytest.approx(scale**3, rel=0.02)
        np.testing.assert_allclose(centroid(moved_label), centroid(label), atol=0.05)

    @pytest.mark.parametrize("angles", [(20.0, 0.0, 0.0), (0.0, -20.0, 0.0), (10.0, 20.0, -15.0)])
    def test_rotation_keeps_volume_and_turns_about_the_centre(self, angles):
        shape = (41, 37, 39)
        middle, arm = (np.array(shape) - 1) / 2.0, np.array([9.0, -7.0, 5.0])
        label = (blob(shape, middle + arm, [5.0] * 3) >= np.exp(-1)).astype(np.uint8)
        _, moved = warped(label[..., None].astype(np.float32), label, Draw(angles=angles))
        assert moved.sum() / label.sum() == pytest.approx(1, rel=0.03)
        np.testing.assert_allclose(
            centroid(moved) - middle, rotation(np.radians(angles)).dot(centroid(label) - middle), atol=0.1
        )

    @pytest.mark.parametrize("angles", [(20.0, 0.0, 0.0), (0.0, -20.0, 0.0), (10.0, 20.0, -15.0)])
    def test_rotation_keeps_lengths_in_mm_where_the_spacing_is_known(self, angles):
        shape, spacing = (41, 37, 15), np.array([0.8, 1.0, 3.0])
        middle, arm = (np.array(shape) - 1) / 2.0, np.array([9.0, -7.0, 2.0])
        label = (blob(shape, middle + arm, 5.0 / spacing) >= np.exp(-1)).astype(np.uint8)
        draw = Draw(angles=angles, spacing=tuple(spacing))
        _, moved = warped(label[..., None].astype(np.float32), label, draw)
        arms = [(centroid(one) - middle) * spacing for one in (label, moved)]
        np.testing.assert_allclose(arms[1], rotation(np.radians(angles)).dot(arms[0]), atol=0.3)

    def test_moves_are_scaled_and_turned_before_they_are_shifted(self):
        shape = (41, 41, 41)
        label = (blob(shape, [28, 20, 20], [4.5] * 3) >= np.exp(-1)).astype(np.uint8)
        draw = Draw(angles=(0.0, 0.0, 90.0), scale=1.25, shift=(3.0, 1.0, 0.0))
        _, moved = warped(label[..., None].astype(np.float32), label, draw)
        np.testing.assert_allclose(centroid(moved), [23, 31, 20], atol=0.1)

    def test_a_constant_stays_up_to_the_border(self):
        image, label = np.full(SHAPE + (1,), 3.5, np.float32), np.full(SHAPE, 4, np.uint8)
        for draw in MOVES.values():
            moved_image, moved_label = warped(image, label, draw)
            np.testing.assert_allclose(moved_image, 3.5, rtol=1e-6)
            assert (moved_label == 4).all()

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 5), (6, 1, 3), (2, 30, 2)])
    def test_thin_images(self, shape):
        random = np.random.RandomState(0)
        image, label = random.randn(*shape + (2,)).astype(np.float32), random.randint(3, size=shape).astype(np.uint8)
        for draw in MOVES.values():
            moved_image, moved_label = warped(image, label, draw)
            assert moved_image.shape == image.shape and moved_label.shape == shape
            assert image.min() - 1e-5 <= moved_image.min() and moved_image.max() <= image.max() + 1e-5
            assert set(np.unique(moved_label)) <= set(np.unique(label))

    def test_read_only_views_of_any_order(self):
        image, label = case()
        for array in (image, label):
            array.setflags(write=False)
        moved = warped(image[::-1, ::-1], label[::-1, ::-1], MOVES["all"])
        copied = warped(image[::-1, ::-1].copy(), label[::-1, ::-1].copy(), MOVES["all"])
        for part, other in zip(moved, copied):
            np.testing.assert_array_equal(part, other)


class TestRotation:
    @pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, 0.0, -75.0), (10.0, -20.0, 130.0)])
    def test_keeps_lengths_and_handedness(self, angles):
        matrix = rotation(np.radians(angles))
        np.testing.assert_allclose(matrix.dot(matrix.T), np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)

    def test_leads_from_each_axis_to_the_next(self):
        axes = np.eye(3)
        for axis in range(3):
            matrix = rotation(np.radians(90 * axes[axis]))
            np.testing.assert_allclose(matrix.dot(axes[axis - 2]), axes[axis - 1], atol=1e-12)
            np.testing.assert_allclose(matrix.dot(axes[axis]), axes[axis], atol=1e-12)

    def test_x_is_first(self):
        x, y, z = (rotation(np.radians(angles)) for angles in ((10, 0, 0), (0, 20, 0), (0, 0, 30)))
        np.testing.assert_allclose(rotation(np.radians((10, 20, 30))), z.dot(y).dot(x), atol=1e-12)
        # The sign of the turn about y differs in the tests' own, which goes from x to z.
        np.testing.assert_allclose(rotation(np.radians((10, -20, 30))), about_each_axis((10, 20, 30)), atol=1e-12)


class TestSources:
    def test_no_change_is_every_voxels_own_place(self):
        np.testing.assert_array_equal(sources(SHAPE, Draw()), np.indices(SHAPE))

    def test_displacement_comes_on_top(self):
        plain, bent = (np.array(sources(SHAPE, Draw(angles=(9.0, 0, 0), elastic=sd, seed=1))) for sd in (0, 0.5))
        bent_more = np.array(sources(SHAPE, Draw(angles=(9.0, 0, 0), elastic=1.5, seed=1)))
        np.testing.assert_allclose(bent_more - plain, 3 * (bent - plain), atol=1e-4)
        other = np.array(sources(SHAPE, Draw(angles=(9.0, 0, 0), elastic=0.5, seed=2)))
        assert not np.allclose(other, bent, atol=0.1)
        assert not np.allclose((bent - plain)[0], (bent - plain)[1], atol=0.1)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_displacement_of_two_voxels_does_not_fold(self, seed):
        places = sources((40, 56, 40), Draw(elastic=2.0, seed=seed))
        jacobian = np.stack([np.stack(np.gradient(place), axis=-1) for place in places], axis=-2)
        assert np.linalg.det(jacobian).min() > 0


class TestSmoothField:
    @pytest.mark.parametrize("shape", [(7, 25, 12), (1, 1, 40)])
    def test_has_a_spread_of_one_at_every_voxel(self, shape):
        random = np.random.RandomState(0)
        fields = np.stack([smooth_field(shape, random) for _ in range(1500)])
        assert fields.shape[1:] == shape and fields.dtype == np.float32
        np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.11)
        np.testing.assert_allclose(fields.mean(axis=0), 0, atol=0.15)

    def test_is_smooth_but_not_flat(self):
        random = np.random.RandomState(0)
        for _ in range(10):
            field = smooth_field((40, 50, 30), random)
            for axis in range(3):
                assert np.abs(np.diff(field, axis=axis)).max() < 0.6
                assert np.abs(np.diff(field, 2, axis=axis)).max() < 0.12
            assert field.std() > 0.4

    def test_distant_voxels_are_independent(self):
        random = np.random.RandomState(0)
        ends = np.array([smooth_field((60, 1, 1), random)[[0, 1, 59], 0, 0] for _ in range(2000)])
        correlations = np.corrcoef(ends.T)
        assert correlations[0, 1] > 0.95
        assert abs(correlations[0, 2]) < 0.1


class TestResampling:
    def test_a_linear_ramp_is_met_exactly(self):
        random = np.random.RandomState(0)
        places = [random.uniform(-2, size + 1, (6, 5, 7)).astype(np.float32) for size in (6, 5, 7)]
        resampling = Resampling(places)
        for axis, size in enumerate((6, 5, 7)):
            ramp = np.indices((6, 5, 7))[axis].astype(np.float32)
            np.testing.assert_allclose(resampling.linear(ramp), np.clip(places[axis], 0, size - 1), atol=1e-5)

    def test_interpolates_between_eight_voxels(self):
        corners = np.random.RandomState(1).randn(2, 2, 2).astype(np.float32)
        places = [np.full((2, 2, 2), place, np.float32) for place in (0.25, 0.5, 0.8)]
        expected = np.einsum("xyz,x,y,z", corners, [0.75, 0.25], [0.5, 0.5], [0.2, 0.8])
        np.testing.assert_allclose(Resampling(places).linear(corners), expected, atol=1e-6)

    def test_the_class_with_the_largest_share_wins(self):
        random = np.random.RandomState(2)
        label = random.choice([0, 3, 4, 9], (7, 6, 8)).astype(np.uint8)
        places = [random.uniform(0, size - 1, (7, 6, 8)).astype(np.float32) for size in (7, 6, 8)]
        resampling = Resampling(places)
        shares = np.stack([resampling.linear((label == value).astype(np.float32)) for value in (0, 3, 4, 9)])
        np.testing.assert_array_equal(resampling.majority(label), np.array([0, 3, 4, 9])[shares.argmax(axis=0)])

    def test_the_lowest_of_equal_shares_wins(self):
        label = np.array([2, 1, 1, 2, 0, 2], np.uint8).reshape(6, 1, 1)
        places = [np.full((6, 1, 1), 0.5, np.float32) + np.arange(6, dtype=np.float32).reshape(6, 1, 1)]
        places += [np.zeros((6, 1, 1), np.float32)] * 2
        np.testing.assert_array_equal(Resampling(places).majority(label).ravel(), [1, 1, 1, 0, 0, 2])

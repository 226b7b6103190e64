import itertools

import numpy as np
import pytest

from utils.evaluation.surface_scores import surface_scores

SHAPE = (6, 9, 5)
SPACING = (0.7, 1.3, 2.9)


def surface_of(inside):
    """The voxels of a structure with a face outside of it, one by one: a list of indices along each axis."""
    found = []
    for index in zip(*np.nonzero(inside)):
        for axis, step in itertools.product(range(inside.ndim), (-1, 1)):
            other = list(index)
            other[axis] += step
            if not 0 <= other[axis] < inside.shape[axis] or not inside[tuple(other)]:
                found.append(index)
                break
    return found


def distances(surface, other, spacing):
    spacing = np.array(spacing)
    return [min(np.sqrt((((np.array(a) - b) * spacing) ** 2).sum()) for b in other) for a in surface]


def by_force(predicted, true, spacing):
    """(95th-percentile Hausdorff distance, average symmetric surface distance) from all pairs of surface voxels."""
    surfaces = surface_of(predicted), surface_of(true)
    there, back = distances(*surfaces, spacing=spacing), distances(*surfaces[::-1], spacing=spacing)
    return max(np.percentile(there, 95), np.percentile(back, 95)), np.mean(there + back)


def box(*slices, shape=SHAPE):
    inside = np.zeros(shape, bool)
    inside[slices] = True
    return inside


def lump(seed, shape=SHAPE):
    """A random structure with holes, single voxels and voxels at the border."""
    random = np.random.RandomState(seed)
    return (random.rand(*shape) < 0.3) | box(slice(1, 5), slice(2, 6), slice(0, 4), shape=shape)


class TestAgainstBruteForce:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING, (4.0, 0.5, 0.5)])
    @pytest.mark.parametrize("seed", range(4))
    def test_random_structures(self, seed, spacing):
        pair = lump(seed), lump(seed + 10)
        np.testing.assert_allclose(surface_scores(*pair, spacing=spacing), by_force(*pair, spacing=spacing), rtol=1e-5)

    @pytest.mark.parametrize("seed", range(4))
    def test_few_voxels_anywhere(self, seed):
        random = np.random.RandomState(seed)
        pair = [np.isin(np.arange(270), random.choice(270, 3)).reshape(SHAPE) for _ in range(2)]
        np.testing.assert_allclose(surface_scores(*pair, spacing=SPACING), by_force(*pair, spacing=SPACING), rtol=1e-5)

    def test_a_structure_that_fills_the_grid(self):
        pair = np.ones(SHAPE, bool), box(slice(2, 3), slice(4, 5), slice(2, 3))
        np.testing.assert_allclose(surface_scores(*pair, spacing=SPACING), by_force(*pair, spacing=SPACING), rtol=1e-5)

    @pytest.mark.parametrize("axis", range(3))
    def test_a_grid_of_one_slice_is_taken_in_its_plane(self, axis):
        pair = [lump(seed).any(axis=axis) for seed in (0, 10)]
        pair[1][:2] = False
        found = surface_scores(*[np.expand_dims(outline, axis) for outline in pair], spacing=SPACING)
        np.testing.assert_allclose(found, by_force(*pair, spacing=np.delete(SPACING, axis)), rtol=1e-5)


class TestByHand:
    @pytest.mark.parametrize("axis", range(3))
    def test_single_voxels_are_as_far_apart_as_their_centres(self, axis):
        first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        first[1, 1, 1] = True
        second[tuple(4 if other == axis else 1 for other in range(3))] = True
        assert surface_scores(first, second, SPACING) == pytest.approx((3 * SPACING[axis],) * 2, rel=1e-6)

    def test_one_voxel_far_away_counts_in_the_mean_alone(self):
        # 30 voxels of a row agree, and one of the mask's lies 5 voxels further: one of 31 is under 5 %.
        true = box(slice(0, 30), 0, 0, shape=(36, 1, 1))
        predicted = true.copy()
        predicted[34] = True
        found = surface_scores(predicted, true, (2.0, 1.0, 1.0))
        assert found.hausdorff_95 == 0
        assert found.average == pytest.approx(10.0 / 61)

    def test_the_inside_of_a_slice_is_no_surface(self):
        # All of the larger square's outline lies two pixels from the smaller one's, its corners by the diagonal.
        small, large = box(slice(2, 6), slice(2, 6), 0, shape=(8, 8, 1)), np.ones((8, 8, 1), bool)
        found = surface_scores(small, large, (1, 1, 5))
        assert found.hausdorff_95 == pytest.approx(np.sqrt(8)) and found.average > 2

    def test_the_larger_direction_counts(self):
        # Nothing of the small one is far from the large one, but much of the large one is from the small one.
        small, large = (box(slice(0, size), 0, 0, shape=(40, 1, 1)) for size in (1, 40))
        for pair in (small, large), (large, small):
            assert surface_scores(*pair, spacing=(1, 1, 1)).hausdorff_95 == pytest.approx(
                np.percentile(np.arange(40), 95), rel=1e-6
            )

    def test_the_image_ends_where_the_structure_has_a_surface(self):
        # The truth fills the grid and the mask all but its last slice: only that slice's surface is away, by one voxel.
        true, predicted = np.ones((3, 3, 3), bool), box(slice(None), slice(None), slice(0, 2), shape=(3, 3, 3))
        found = surface_scores(predicted, true, (1, 1, 5))
        # 26 surface voxels of the truth, of which 9 are a slice away; all 18 of the mask's lie on the truth's surface
        # but the one below the middle, a voxel from it along x or y.
        assert found.hausdorff_95 == pytest.approx(5)
        assert found.average == pytest.approx((9 * 5 + 1) / (26 + 18))


class TestProperties:
    def test_equal_structures_have_no_distance(self):
        assert surface_scores(lump(0), lump(0), SPACING) == (0, 0)

    @pytest.mark.parametrize("seed", range(3))
    def test_symmetric_and_in_mm(self, seed):
        pair = lump(seed), lump(seed + 10)
        found = surface_scores(*pair, spacing=SPACING)
        assert surface_scores(*pair[::-1], spacing=SPACING) == pytest.approx(found)
        assert surface_scores(*pair, spacing=np.array(SPACING) * 3) == pytest.approx(np.array(found) * 3, rel=1e-5)

    def test_the_room_around_does_not_matter(self):
        pair = lump(0), lump(1)
        wider = [np.pad(structure, ((3, 0), (1, 4), (2, 2)), "constant") for structure in pair]
        assert surface_scores(*wider, spacing=SPACING) == pytest.approx(surface_scores(*pair, spacing=SPACING))

    def test_axes_and_spacing_go_together(self):
        pair = lump(0), lump(1)
        turned = [structure.transpose(2, 0, 1) for structure in pair]
        found = surface_scores(*turned, spacing=[SPACING[axis] for axis in (2, 0, 1)])
        assert found == pytest.approx(surface_scores(*pair, spacing=SPACING), rel=1e-5)


class TestUndefined:
    @pytest.mark.parametrize("predicted, true", [(False, False), (False, True), (True, False)])
    def test_missing_from_either(self, predicted, true):
        found = surface_scores(np.full(SHAPE, predicted), np.full(SHAPE, true), SPACING)
        assert np.isnan(found).tolist() == [True, True]

    def test_other_grids(self):
        with pytest.raises(ValueError, match=r"of the shapes \(6, 9, 5\) and \(6, 9, 4\)"):
            surface_scores(lump(0), np.ones((6, 9, 4), bool), SPACING)

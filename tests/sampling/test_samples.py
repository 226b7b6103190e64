import numpy as np
import pytest

from utils.preprocessing.foreground import positions
from utils.sampling.augmentation import UNCHANGED, Augmentation, Draw, Intensity, augmented, draws
from utils.sampling.samples import Items, PatchItems, SliceItems
from utils.sampling.tiling import Patches, Slices, Whole

SHAPE = (6, 5, 4)


def random_state():
    return np.random.RandomState(3)


@pytest.fixture
def volumes(kept_volumes):
    """Three cases of four slices across z: of each the first is empty, of the second one all but the last."""
    made = kept_volumes(3, SHAPE, channels=2)
    for number, kept in enumerate(made.kept):
        label = np.ones(SHAPE, np.uint8)
        label[..., : 3 if number == 1 else 1] = 0
        np.save(kept.label, label)
    return made


@pytest.fixture
def bordered(volumes):
    """The same with weights of borders beside them."""
    for number, kept in enumerate(volumes.kept):
        path = kept.image.replace(".image.npy", ".borders.npy")
        np.save(path, np.random.RandomState(number).rand(*SHAPE).astype(np.float32))
        volumes.kept[number] = kept._replace(borders=path)
    return volumes


class TestItems:
    def test_are_the_cases(self, volumes):
        items = Items(volumes, Whole(SHAPE))
        assert len(items) == 3
        assert [items.case_name(number) for number in range(3)] == ["case_0", "case_1", "case_2"]
        for number in range(3):
            image, label, weights = items.example(number, UNCHANGED)
            np.testing.assert_array_equal(image, volumes.image(number))
            np.testing.assert_array_equal(label, volumes.label(number))
            assert weights is None

    def test_an_epoch_has_each_once(self, volumes):
        items = Items(volumes, Whole(SHAPE))
        assert sorted(items.order(random_state())) == [0, 1, 2]

    def test_are_changed_as_the_draw_says(self, volumes):
        draw = draws(Augmentation(flips=(True,) * 3, rotation=30.0, share=1.0, channels=2), 1, random_state())[0]
        found = Items(volumes, Whole(SHAPE)).example(1, draw)
        image, label = augmented(volumes.image(1), volumes.label(1), draw)
        np.testing.assert_array_equal(found.image, image)
        np.testing.assert_array_equal(found.label, label)


class TestWeights:
    CLASS_WEIGHTS = np.array([0.5, 2.0, 3.0], np.float32)

    def test_are_those_of_the_class_and_of_the_borders(self, bordered):
        items = Items(bordered, Whole(SHAPE), self.CLASS_WEIGHTS)
        for number in range(3):
            image, label, weights = items.example(number, UNCHANGED)
            np.testing.assert_array_equal(image, bordered.image(number))
            assert weights.shape == SHAPE and weights.dtype == np.float32
            np.testing.assert_allclose(weights, self.CLASS_WEIGHTS[label] + bordered.borders(number), rtol=1e-6)

    def test_move_with_the_image_and_keep_their_values(self, bordered):
        """Mirrored, cropped, and beside channels whose intensities change."""
        change = Intensity(contrast=2.0, brightness=1.0)
        draw = Draw(flips=(True, False, True), intensities=(change, change), crop=(4, 5, 2), place=(1.0, 0.0, 0.5))
        items = Items(bordered, Whole(SHAPE), self.CLASS_WEIGHTS)
        image, label, weights = items.example(2, draw)
        moved = bordered.borders(2)[::-1, :, ::-1][2:, :, 1:3]
        np.testing.assert_allclose(weights, self.CLASS_WEIGHTS[label] + moved, rtol=1e-6)
        assert image.shape == (4, 5, 2, 2)
        assert not np.allclose(image, bordered.image(2)[::-1, :, ::-1][2:, :, 1:3])


class TestSliceItems:
    def feeding(self):
        return Slices((6, 5, 1), 2)

    def test_are_the_slices_of_all_cases(self, volumes):
        items = SliceItems(volumes, self.feeding())
        assert len(items) == 12 and sorted(items.order(random_state())) == list(range(12))
        for number in range(12):
            case, place = divmod(number, 4)
            image, label, _ = items.example(number, UNCHANGED)
            np.testing.assert_array_equal(image, volumes.image(case)[:, :, place : place + 1])
            np.testing.assert_array_equal(label, volumes.label(case)[:, :, place : place + 1])
            assert items.case_name(number) == "case_{}".format(case)

    @pytest.mark.parametrize("share, drawn", [(0.0, 0), (0.4, 2), (1.0, 5)])
    def test_of_those_without_a_structure_an_epoch_has_a_share(self, volumes, share, drawn):
        items = SliceItems(volumes, self.feeding(), empty_share=share)
        filled = {1, 2, 3, 7, 9, 10, 11}
        assert len(items) == len(filled) + drawn
        epochs = [items.order(np.random.RandomState(epoch)).tolist() for epoch in range(20)]
        for epoch in epochs:
            assert len(set(epoch)) == len(items) and set(epoch) >= filled
        seen = set().union(*epochs)
        assert seen == set(range(12)) if drawn else seen == filled

    def test_where_all_are_empty_an_epoch_has_them_all(self, volumes):
        for kept in volumes.kept:
            np.save(kept.label, np.zeros(SHAPE, np.uint8))
        items = SliceItems(volumes, self.feeding(), empty_share=0.0)
        assert len(items) == 12

    def test_a_worker_without_cases_has_none(self, kept_volumes):
        assert len(SliceItems(kept_volumes(0, SHAPE), self.feeding())) == 0

    @pytest.mark.parametrize("axis", [0, 1])
    def test_across_the_other_axes(self, volumes, axis):
        shape = tuple(1 if number == axis else size for number, size in enumerate(SHAPE))
        items = SliceItems(volumes, Slices(shape, axis))
        assert len(items) == 3 * SHAPE[axis]
        for number in (0, SHAPE[axis], len(items) - 1):
            case, place = divmod(number, SHAPE[axis])
            image, label, _ = items.example(number, UNCHANGED)
            np.testing.assert_array_equal(image, volumes.image(case).take([place], axis=axis))
            np.testing.assert_array_equal(label, volumes.label(case).take([place], axis=axis))


class TestPatchItems:
    PATCH = (3, 2, 2)
    STRONG = Augmentation((True,) * 3, rotation=20.0, scaling=0.2, elastic=0.5, noise=0.1, share=1.0, channels=2)

    @pytest.fixture
    def located(self, bordered):
        """The volumes with some voxels of their structures beside them."""
        for number, kept in enumerate(bordered.kept):
            path = kept.image.replace(".image.npy", ".positions.npy")
            np.save(path, positions(bordered.label(number), 3, number))
            bordered.kept[number] = kept._replace(positions=path)
        return bordered

    def items(self, volumes, share=0.5, each=4, weights=None):
        return PatchItems(volumes, Patches(self.PATCH, 0.5, "unused"), weights, share, each)

    def test_an_epoch_has_as_many_of_each_case(self, located):
        items = self.items(located)
        assert len(items) == 12
        order = items.order(random_state())
        names = [items.case_name(number) for number in order]
        assert sorted(names) == sorted(4 * ["case_0", "case_1", "case_2"])
        assert sum(order % 2) == 6

    @pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
    def test_every_batch_has_its_share_on_structures(self, located, share):
        for epoch in range(5):
            order = self.items(located, share).order(np.random.RandomState(epoch))
            for first in range(0, 12, 4):
                assert sum(order[first : first + 4] % 2) == 4 * share

    def test_cases_without_structures_leave_it_to_the_others(self, located):
        none = np.zeros((0, 4), np.int32)
        np.save(located.kept[1].positions, none)
        for share, centred in ((0.5, 6), (1.0, 8)):
            order = self.items(located, share).order(random_state())
            assert sum(order % 2) == centred and not (order[order // 2 == 1] % 2).any()
        for kept in located.kept:
            np.save(kept.positions, none)
        assert sum(self.items(located).order(random_state()) % 2) == 0

    def test_a_patch_on_a_structure_has_some_of_it(self, located):
        items = self.items(located)
        for seed in range(30):
            assert items.example(2 * 1 + 1, UNCHANGED._replace(seed=seed)).label.any()
        elsewhere = [items.example(2 * 1, UNCHANGED._replace(seed=seed)).label.any() for seed in range(30)]
        assert not all(elsewhere)

    def test_is_a_part_of_its_case(self, located):
        found = self.items(located).example(4, UNCHANGED._replace(seed=5))
        image, label = located.image(2), located.label(2)
        corners = np.ndindex(4, 4, 3)
        parts = [tuple(slice(low, low + size) for low, size in zip(corner, self.PATCH)) for corner in corners]
        matches = [part for part in parts if np.array_equal(image[part], found.image)]
        assert len(matches) == 1
        np.testing.assert_array_equal(found.label, label[matches[0]])

    def test_a_smaller_part_is_trained_on_where_a_draw_says_so(self, located):
        items, crop = self.items(located), (2, 2, 1)
        for seed in range(30):
            found = items.example(2 * 1 + 1, UNCHANGED._replace(seed=seed, crop=crop))
            assert found.image.shape == crop + (2,) and found.label.shape == crop and found.label.any()

    def test_follows_from_its_draw_alone(self, located):
        one, other = draws(self.STRONG, 2, random_state())
        items = self.items(located)
        first, again, changed = (items.example(3, draw) for draw in (one, one, other))
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.label, again.label)
        assert first.image.shape == self.PATCH + (2,) and not np.array_equal(first.image, changed.image)

    def test_weights_move_with_it(self, located):
        weights = np.array([0.5, 2.0, 3.0], np.float32)
        for seed in range(4):
            draw = UNCHANGED._replace(seed=seed, flips=(True, False, True))
            plain = self.items(located).example(5, draw)
            weighed = self.items(located, weights=weights).example(5, draw)
            np.testing.assert_array_equal(weighed.image, plain.image)
            np.testing.assert_array_equal(weighed.label, plain.label)
            borders = located.borders(2)[::-1, :, ::-1].ravel()
            np.testing.assert_array_equal(
                np.isin((weighed.weights - weights[weighed.label]).ravel().round(4), borders.round(4)), True
            )

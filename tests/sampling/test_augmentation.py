import itertools
import subprocess
import sys

import numpy as np
import pytest
from command_line import PROJECT

from utils.sampling.augmentation import (
    UNCHANGED,
    Augmentation,
    Draw,
    Intensity,
    augmented,
    draws,
    flipped,
    kept_part,
    strengths,
)

SHAPE = (9, 12, 7)
MIRRORED = Augmentation(flips=(True, True, True))
STRONG = Augmentation((True, True, True), 15.0, 0.25, 3.0, 0.8, 0.2, 0.9, 0.3, 0.4, share=0.8, channels=2)
FLIPS = list(itertools.product([False, True], repeat=3))


def drawn(strength, count=400, seed=0):
    """The draws of so many cases."""
    return draws(strength, count, np.random.RandomState(seed))


def case(channels=2, seed=0):
    """A random image and label that cannot be written to, as the kept copies are."""
    random = np.random.RandomState(seed)
    image = random.randn(*SHAPE + (channels,)).astype(np.float32)
    label = random.choice([0, 1, 4], SHAPE).astype(np.uint8)
    for array in (image, label):
        array.setflags(write=False)
    return image, label


def mirrored(array, flips):
    """The array read backwards, index by index, along the axes that the flips name."""
    result = np.empty_like(array)
    for place in np.ndindex(*array.shape[:3]):
        source = tuple(size - 1 - x if flip else x for x, size, flip in zip(place, array.shape, flips))
        result[place] = array[source]
    return result


def spatial(draw):
    return draw.angles, draw.scale, draw.shift, draw.elastic


def of_channels(found, name):
    """One field of the intensities, of each channel of each draw that changes any: [cases, channels]."""
    return np.array([[getattr(channel, name) for channel in draw.intensities] for draw in found if draw.intensities])


class TestDraws:
    def test_without_strengths_nothing_is_changed_but_flips(self):
        for draw in drawn(MIRRORED):
            assert draw._replace(flips=(False,) * 3, seed=0) == UNCHANGED

    @pytest.mark.parametrize("axes", FLIPS)
    def test_flips_are_along_the_axes_asked_for(self, axes):
        flips = np.array([draw.flips for draw in drawn(Augmentation(flips=axes))])
        np.testing.assert_allclose(flips.mean(axis=0), 0.5 * np.array(axes), atol=0.08)
        assert len(set(map(tuple, flips))) == 2 ** sum(axes)
        # Along an axis, the same cases whichever other axes there are.
        everywhere = np.array([draw.flips for draw in drawn(MIRRORED)])
        np.testing.assert_array_equal(flips, everywhere & axes)

    def test_follow_from_the_random_numbers(self):
        assert drawn(STRONG, seed=1) == drawn(STRONG, seed=1)
        assert drawn(STRONG, seed=1) != drawn(STRONG, seed=2)

    def test_differ_between_cases(self):
        found = drawn(STRONG, 50)
        assert len({draw.seed for draw in found}) == 50
        assert len({spatial(draw) for draw in found}) > 25

    def test_no_case(self):
        assert drawn(STRONG, 0) == []

    def test_stay_within_the_strengths_and_come_near_them(self):
        found = drawn(STRONG, 2000)
        angles, shifts = (np.abs([getattr(draw, name) for draw in found]).max(axis=0) for name in ("angles", "shift"))
        assert ((angles <= 15) & (angles > 14.5)).all()
        assert ((shifts <= 3) & (shifts > 2.9)).all()
        for low, high, values in (
            (1 / 1.25, 1.25, [draw.scale for draw in found]),
            (0, 0.2, of_channels(found, "noise")),
            (0, 0.9, of_channels(found, "blur")),
            (1 / 1.3, 1.3, of_channels(found, "contrast")),
            (-0.3, 0.3, of_channels(found, "brightness")),
            (1 / 1.4, 1.4, of_channels(found, "gamma")),
        ):
            margin = 0.05 * (high - low)
            assert low <= np.min(values) < low + margin
            assert high - margin < np.max(values) <= high
        assert {draw.elastic for draw in found} == {0.0, 0.8}

    def test_factors_grow_as_often_as_they_shrink(self):
        found = drawn(STRONG._replace(share=1.0), 2000)
        assert np.log([draw.scale for draw in found]).mean() == pytest.approx(0, abs=0.01)
        assert np.mean([draw.scale > 1 for draw in found]) == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
    def test_share_is_that_of_the_spatial_change(self, share):
        found = drawn(STRONG._replace(share=share), 2000)
        moved = [spatial(draw) != spatial(UNCHANGED) for draw in found]
        assert np.mean(moved) == pytest.approx(share, abs=0.04 if 0 < share < 1 else 0)
        for draw, moves in zip(found, moved):
            assert bool(draw.elastic) == moves and all(draw.shift) == moves

    @pytest.mark.parametrize("name", ["noise", "blur", "contrast", "brightness", "gamma"])
    def test_a_quarter_of_the_cases_get_each_change_of_intensity(self, name):
        count = 2000
        values = of_channels(drawn(STRONG, count), name)
        changed = values != getattr(Intensity(), name)
        assert changed.any(axis=1).sum() / count == pytest.approx(0.25, abs=0.04)
        # All channels of a case, by amounts of their own.
        assert (changed.all(axis=1) == changed.any(axis=1)).all()
        assert (values[changed[:, 0], 0] != values[changed[:, 0], 1]).all()

    def test_changes_are_made_independently(self):
        found = drawn(STRONG, 4000)
        made = np.zeros((len(found), 5))
        for row, draw in zip(made, found):
            row[0] = draw.scale != 1
            if draw.intensities:
                channel = draw.intensities[0]
                row[1:] = channel.noise > 0, channel.blur > 0, channel.contrast != 1, channel.gamma != 1
        assert np.abs(np.corrcoef(made.T) - np.eye(5)).max() < 0.08

    @pytest.mark.parametrize("name, value", [("rotation", 5.0), ("elastic", 0.0), ("gamma", 0.0), ("noise", 0.5)])
    def test_one_strength_leaves_the_other_changes_as_they_were(self, name, value):
        fields = {"rotation": ["angles"], "elastic": ["elastic"]}.get(name, [])

        def others(draw):
            intensities = draw.intensities or (Intensity(),) * 2
            same = [channel._replace(**{name: 1.0}) if not fields else channel for channel in intensities]
            return draw._replace(intensities=tuple(same), **{field: None for field in fields})

        before, after = drawn(STRONG), drawn(STRONG._replace(**{name: value}))
        assert before != after
        assert list(map(others, before)) == list(map(others, after))

    def test_take_as_many_random_numbers_whatever_the_strengths(self):
        after = []
        for strength in (STRONG, Augmentation(channels=2)):
            random = np.random.RandomState(4)
            draws(strength, 5, random)
            after.append(random.rand())
        assert after[0] == after[1]


class TestStrengths:
    def test_are_those_of_the_flags(self, params):
        others = ("flips", "channels", "spacing", "crop", "turned_about", "knots")
        names = [name for name in Augmentation._fields if name not in others]
        values = {"augment_" + name: (position + 1) / 10 for position, name in enumerate(names)}
        found = strengths(dict(params, modalities=["T1", "T2", "FLAIR"], **values))
        assert found.channels == 3 and found.turned_about == (True, True, True)
        assert {"augment_" + name: getattr(found, name) for name in names} == values

    def test_the_knots_are_those_of_the_flag(self, params):
        assert strengths(dict(params, augment_elastic_knots=3)).knots == 3

    @pytest.mark.parametrize("axis", "xyz")
    def test_slices_are_turned_about_the_axis_across_them(self, params, axis):
        found = strengths(dict(params, model="unet", slice_axis=axis, augment_rotation=20.0))
        assert found.turned_about == tuple(name == axis for name in "xyz")
        for draw in draws(found._replace(share=1.0), 5, np.random.RandomState(0)):
            turned = [name for name, angle in zip("xyz", draw.angles) if angle]
            assert turned == [axis]

    @pytest.mark.parametrize("crop, expected", [(None, None), ([4, 8, 6], (4, 8, 6))])
    def test_crop_is_that_of_the_flag(self, params, crop, expected):
        assert strengths(dict(params, crop_shape=crop)).crop == expected

    @pytest.mark.parametrize("axes", [["x"], ["y", "x"], ["z", "y"], ["x", "y", "z"]])
    def test_flips_are_along_the_axes_of_the_flag(self, params, axes):
        found = strengths(dict(params, augment=True, flip_axes=axes)).flips
        assert found == tuple(axis in axes for axis in ("x", "y", "z"))
        assert strengths(dict(params, flip_axes=axes)).flips == (False, False, False)

    def test_spacing_is_that_to_which_images_are_brought(self, params):
        found = strengths(dict(params, fit="pad", spacing=[0.6, 0.6, 3.6]))
        assert found.spacing == (0.6, 0.6, 3.6)
        assert {draw.spacing for draw in drawn(found)} == {(0.6, 0.6, 3.6)}

    def test_by_default_there_are_none(self, params):
        assert strengths(params) == Augmentation()


class TestAugmented:
    def test_unchanged_is_bit_identical(self):
        for draw in (UNCHANGED, Draw(intensities=(Intensity(),) * 2, seed=3)):
            image, label = case()
            found = augmented(image, label, draw)
            np.testing.assert_array_equal(found[0], image)
            np.testing.assert_array_equal(found[1], label)

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_is_a_case_again_and_leaves_the_given_one_alone(self, channels):
        image, label = case(channels)
        kept = image.copy(), label.copy()
        for draw in drawn(STRONG._replace(channels=channels), 30):
            found = augmented(image, label, draw)
            assert [(part.shape, part.dtype) for part in found] == [
                (SHAPE + (channels,), np.float32),
                (SHAPE, np.uint8),
            ]
            assert np.isfinite(found[0]).all()
            assert set(np.unique(found[1])) <= {0, 1, 4}
            for part, again in zip(found, augmented(image, label, draw)):
                np.testing.assert_array_equal(part, again)
        np.testing.assert_array_equal(image, kept[0])
        np.testing.assert_array_equal(label, kept[1])

    def test_files_read_where_they_are_used(self, tmp_path):
        image, label = case()
        np.save(str(tmp_path / "image.npy"), image)
        np.save(str(tmp_path / "label.npy"), label)
        mapped = [np.load(str(tmp_path / name), mmap_mode="r") for name in ("image.npy", "label.npy")]
        for draw in drawn(STRONG, 10):
            for part, other in zip(augmented(mapped[0], mapped[1], draw), augmented(image, label, draw)):
                np.testing.assert_array_equal(part, other)

    @pytest.mark.parametrize("flips", FLIPS)
    def test_flips_come_before_the_rest(self, flips):
        image, label = case()
        rest = Draw(angles=(5.0, 0.0, -9.0), shift=(1.0, 0.5, 0.0), intensities=(Intensity(gamma=1.2),) * 2, seed=8)
        expected = augmented(mirrored(image, flips), mirrored(label, flips), rest)
        for part, other in zip(augmented(image, label, rest._replace(flips=flips)), expected):
            np.testing.assert_array_equal(part, other)

    def test_intensities_leave_the_label_alone_and_follow_the_moves(self):
        image, label = case()
        move = Draw(shift=(2.0, 0.0, -1.0), seed=1)
        intensities = (Intensity(contrast=1.2, brightness=0.3), Intensity(noise=0.2, blur=0.5, gamma=0.8))
        moved_image, moved_label = augmented(image, label, move)
        both_image, both_label = augmented(image, label, move._replace(intensities=intensities))
        np.testing.assert_array_equal(both_label, moved_label)
        after, _ = augmented(moved_image, moved_label, Draw(intensities=intensities, seed=1))
        np.testing.assert_array_equal(both_image, after)

    def test_each_channel_gets_its_own_intensities(self):
        image, label = case()
        found, _ = augmented(image, label, Draw(intensities=(Intensity(), Intensity(brightness=1.0))))
        np.testing.assert_array_equal(found[..., 0], image[..., 0])
        np.testing.assert_allclose(found[..., 1], image[..., 1] + 1, atol=1e-5)

    def test_noise_differs_between_channels(self):
        image, label = case()
        found, _ = augmented(image, label, Draw(intensities=(Intensity(noise=0.5),) * 2, seed=3))
        noise = (found - image).reshape(-1, 2)
        assert abs(np.corrcoef(noise.T)[0, 1]) < 0.15


class TestFlipped:
    @pytest.mark.parametrize("flips", FLIPS)
    def test_mirrors_along_the_axes_named(self, flips):
        array = np.random.RandomState(0).randn(*SHAPE + (2,))
        np.testing.assert_array_equal(flipped(array, flips), mirrored(array, flips))
        np.testing.assert_array_equal(flipped(array[..., 0], flips), mirrored(array, flips)[..., 0])
        np.testing.assert_array_equal(flipped(flipped(array, flips), flips), array)


class TestRuntime:
    def test_needs_no_tensorflow(self):
        code = "import sys, utils.sampling.augmentation; sys.exit('tensorflow' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


class TestCrop:
    def test_parts_come_from_all_places(self):
        image, label = case(channels=1)
        places = set()
        for draw in drawn(Augmentation(crop=(7, 8, 7)), count=200):
            part, part_label = augmented(image, label, draw)
            assert part.shape == (7, 8, 7, 1) and part_label.shape == (7, 8, 7)
            found = [
                (x, y)
                for x in range(3)
                for y in range(5)
                if np.array_equal(part, image[x : x + 7, y : y + 8])
                and np.array_equal(part_label, label[x:][:7, y:][:, :8])
            ]
            assert len(found) == 1
            places.update(found)
        assert len(places) == 3 * 5

    def test_no_place_is_likelier_than_another(self):
        found = [kept_part((9, 8, 8), draw)[0].start for draw in drawn(Augmentation(crop=(7, 8, 7)), count=3000)]
        assert abs(np.bincount(found, minlength=3) - 1000).max() < 100

    def test_the_other_changes_are_those_of_whole_images(self):
        for part, whole in zip(drawn(STRONG._replace(crop=(4, 4, 4)), 50), drawn(STRONG, 50)):
            assert part._replace(crop=None, place=(0.0, 0.0, 0.0)) == whole

    def test_the_whole_is_one_part(self):
        image, label = case()
        for draw in drawn(Augmentation(crop=SHAPE), 5):
            for found, given in zip(augmented(image, label, draw), (image, label)):
                np.testing.assert_array_equal(found, given)

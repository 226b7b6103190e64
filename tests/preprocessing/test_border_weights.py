import numpy as np
import pytest

from utils.preprocessing.border_weights import border_weights, class_counts, class_weights

RANDOM = np.random.RandomState(0)


def objects_of(label):
    """Return the places [pixels, axes] of each object: neighbours along an axis of one class belong together."""
    unseen, found = {tuple(place) for place in np.argwhere(label)}, []
    while unseen:
        places, waiting = [], [unseen.pop()]
        while waiting:
            place = waiting.pop()
            places.append(place)
            for axis, step in np.ndindex(label.ndim, 2):
                other = tuple(at + (2 * step - 1) * (axis == number) for number, at in enumerate(place))
                if other in unseen and label[other] == label[place]:
                    unseen.remove(other)
                    waiting.append(other)
        found.append(np.array(places))
    return found


def by_definition(label, w0, sigma):
    """Return w0 exp(-(d1 + d2)^2 / (2 sigma^2)), pixel by pixel and object by object."""
    objects, result = objects_of(label), np.zeros(label.shape)
    for place in np.ndindex(*label.shape):
        distances = sorted(np.sqrt(((each - place) ** 2).sum(axis=1).min()) for each in objects)
        if len(distances) > 1:
            result[place] = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return result


def squares(*corners):
    """Return a label [30, 40] with a square of side 5 of class 1 at each corner."""
    label = np.zeros((30, 40), np.uint8)
    for x, y in corners:
        label[x : x + 5, y : y + 5] = 1
    return label


class TestBorderWeights:
    @pytest.mark.parametrize("shape", [(19, 13), (1, 30), (6, 8, 5)])
    @pytest.mark.parametrize("share, w0, sigma", [(0.02, 10.0, 5.0), (0.5, 4.0, 1.5), (0.97, 10.0, 5.0)])
    def test_equals_its_definition(self, shape, share, w0, sigma):
        label = ((RANDOM.rand(*shape) < share) * RANDOM.randint(1, 4, size=shape)).astype(np.uint8)
        found = border_weights(label, w0, sigma)
        assert found.dtype == np.float32 and found.shape == shape
        np.testing.assert_allclose(found, by_definition(label, w0, sigma), rtol=0, atol=2e-6)

    def test_equals_it_for_large_objects_too(self):
        label = np.zeros((30, 33), np.uint8)
        label[3:12, 4:25], label[14:28, 8:29], label[28:, 30:] = 1, 2, 1
        np.testing.assert_allclose(border_weights(label), by_definition(label, 10.0, 5.0), atol=2e-6)

    def test_a_narrow_gap_counts_most_in_its_middle(self):
        found = border_weights(squares((10, 10), (10, 18)))
        # Of the gap's three pixels, from centre to centre: one, then three.
        assert found[12, 16] == pytest.approx(10.0 * np.exp(-(4.0**2) / 50.0))
        assert found[12].max() == found[12, 15] and found[12, 15] > 7.0

    def test_a_wide_gap_counts_less_than_a_narrow_one(self):
        narrow, wide = (border_weights(squares((10, 5), (10, y)))[10:15, 10:y].min() for y in (12, 20))
        assert narrow > 4.0 > 1.0 > wide

    @pytest.mark.parametrize("corners", [(), ((3, 3),)])
    def test_without_a_second_object_there_is_no_border(self, corners):
        np.testing.assert_array_equal(border_weights(squares(*corners)), np.zeros((30, 40), np.float32))

    def test_where_two_classes_touch_there_is_one(self):
        label = squares((10, 10))
        label[10:15, 15:20] = 2
        found = border_weights(label)
        assert found[12, 14] == found[12, 15] == pytest.approx(10.0 * np.exp(-1.0 / 50.0))

    def test_objects_that_meet_at_a_corner_are_two(self):
        assert border_weights(squares((5, 5), (10, 10))).max() > 9.0
        assert border_weights(squares((5, 5), (5, 10))).max() == 0.0


class TestClassWeights:
    def test_classes_count_alike_in_all_and_pixels_one_on_the_average(self):
        labels = [RANDOM.choice(4, size=shape, p=[0.7, 0.2, 0.07, 0.03]) for shape in ((50, 40), (31, 22))]
        counts = class_counts(labels, 4)
        assert counts.tolist() == [sum((label == value).sum() for label in labels) for value in range(4)]
        weights = class_weights(counts)
        np.testing.assert_allclose(counts * weights, counts.sum() / 4.0)
        assert np.average(weights, weights=counts) == pytest.approx(1.0)

    def test_a_class_that_is_nowhere_has_none(self):
        assert class_weights(class_counts([np.zeros(6, np.uint8), np.full(2, 2, np.uint8)], 4)).tolist() == [
            8.0 / 2 / 6,
            0.0,
            8.0 / 2 / 2,
            0.0,
        ]

    def test_of_nothing_there_are_none(self):
        assert class_weights([0, 0]).tolist() == [0.0, 0.0]

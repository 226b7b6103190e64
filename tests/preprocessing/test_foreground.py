import tracemalloc

import numpy as np
import pytest

from utils.preprocessing.foreground import positions

SHAPE = (7, 9, 11)


def label_of(shape=SHAPE, classes=4, seed=0):
    return np.random.RandomState(seed).randint(classes, size=shape).astype(np.uint8)


class TestPositions:
    @pytest.mark.parametrize("most", [10000, 60])
    def test_are_voxels_of_their_structures_each_once(self, most):
        label = label_of()
        found = positions(label, 4, [1, 2], most)
        assert found.dtype == np.int32 and len(np.unique(found, axis=0)) == len(found)
        np.testing.assert_array_equal(label[tuple(found[:, 1:].T)], found[:, 0])
        assert (np.diff(found[:, 0]) >= 0).all()

    def test_are_all_where_there_are_few(self):
        label = label_of()
        assert len(positions(label, 4, 0)) == np.count_nonzero(label)

    def test_of_many_are_a_sample_from_everywhere(self):
        label = np.ones((40, 30, 20), np.uint8)
        label[:, :, :4] = 2
        found = positions(label, 3, 0, most=2000)
        for value, depth in ((1, range(4, 20)), (2, range(4))):
            own = found[found[:, 0] == value, 1:]
            assert 1500 < len(own) <= 2000
            np.testing.assert_allclose(own.mean(axis=0), [19.5, 14.5, np.mean(depth)], rtol=0.08)

    def test_follow_from_the_seed_alone(self):
        label = label_of((20, 20, 20))
        one, again, other = (positions(label, 4, seed, most=100) for seed in ([3, 1], [3, 1], [3, 2]))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    @pytest.mark.parametrize("values, structures", [((0,), []), ((0, 3), [3]), ((2,), [2])])
    def test_a_structure_may_be_absent(self, values, structures):
        label = np.resize(np.array(values, np.uint8), SHAPE)
        found = positions(label, 4, 0)
        assert found.shape[1] == 4 and sorted(set(found[:, 0])) == structures

    def test_a_large_label_takes_little_memory(self):
        label = np.ones((64, 128, 128), np.uint8)
        tracemalloc.start()
        positions(label, 2, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < label.nbytes

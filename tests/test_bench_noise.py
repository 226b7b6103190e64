import numpy as np
import pytest

from benchmarks import noise
from benchmarks.network import Network

NETWORK = Network(input_shape=(8, 4, 6), channels=2, classes=4)


class TestBatch:
    def test_is_the_same_every_time_and_of_every_class(self):
        images, labels = noise.batch(NETWORK, 3)
        assert images.shape == (3, 8, 4, 6, 2) and images.dtype == np.float32
        assert labels.shape == (3, 8, 4, 6) and set(np.unique(labels)) == {0, 1, 2, 3} and labels.dtype == np.uint8
        for one, other in zip((images, labels), noise.batch(NETWORK, 3)):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("open_batch, size", [(True, None), (False, 3)])
class TestPlaceholders:
    def test_are_fed_so_that_no_work_is_done_beforehand(self, session, open_batch, size):
        images, labels, fed = noise.placeholders(NETWORK, 3, open_batch)
        assert images.op.type == labels.op.type == "Placeholder"
        assert images.shape.as_list() == [size, 8, 4, 6, 2] and labels.shape.as_list() == [size, 8, 4, 6]
        for found, expected in zip(session.run([images, labels], fed), noise.batch(NETWORK, 3)):
            np.testing.assert_array_equal(found, expected)

import numpy as np
import pytest

from benchmarks import graphs
from benchmarks.network import Network
from utils.tf_runtime import tf

NETWORK = Network(input_shape=(8, 4, 6), channels=2, classes=4)


class TestBatch:
    def test_is_the_same_every_time_and_of_every_class(self):
        images, labels = graphs.batch(NETWORK, 3)
        assert images.shape == (3, 8, 4, 6, 2) and images.dtype == np.float32
        assert labels.shape == (3, 8, 4, 6) and set(np.unique(labels)) == {0, 1, 2, 3} and labels.dtype == np.uint8
        for one, other in zip((images, labels), graphs.batch(NETWORK, 3)):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("open_batch, size", [(True, None), (False, 3)])
class TestPlaceholders:
    def test_are_fed_so_that_no_work_is_done_beforehand(self, session, open_batch, size):
        images, labels, fed = graphs.placeholders(NETWORK, 3, open_batch)
        assert images.op.type == labels.op.type == "Placeholder"
        assert images.shape.as_list() == [size, 8, 4, 6, 2] and labels.shape.as_list() == [size, 8, 4, 6]
        for found, expected in zip(session.run([images, labels], fed), graphs.batch(NETWORK, 3)):
            np.testing.assert_array_equal(found, expected)


class TestSession:
    def test_starts_with_fresh_variables_of_which_parameters_counts_those_trained(self):
        with tf.Graph().as_default():
            kernel = tf.get_variable("kernel", [2, 3], initializer=tf.ones_initializer())
            tf.get_variable("mean", [5], trainable=False)
            with graphs.session() as started:
                np.testing.assert_array_equal(started.run(kernel), np.ones([2, 3]))
            assert graphs.parameters() == 6

import re

import numpy as np
import pytest

from utils.system.errors import UserError
from utils.tf_runtime import tf
from utils.var_storage import averaged_weights_scope, frozen_weights_scope, master_weights_scope

pytestmark = pytest.mark.usefixtures("graph")

HALVES = [tf.float16, tf.bfloat16]


def weight_of(dtype, **arguments):
    with master_weights_scope("scope", reuse=tf.AUTO_REUSE):
        return tf.get_variable("weight", [2], dtype=dtype, **arguments)


class TestStorage:
    @pytest.mark.parametrize("dtype", HALVES)
    def test_half_precision_is_handed_out_and_float32_stored(self, dtype):
        weight = weight_of(dtype)
        assert weight.dtype == dtype
        (stored,) = tf.trainable_variables()
        assert stored.dtype.base_dtype == tf.float32
        assert stored.op.name == "scope/weight" and stored.shape.as_list() == [2]

    @pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.int32])
    def test_every_other_type_is_stored_as_it_is(self, dtype):
        weight = weight_of(dtype, initializer=tf.zeros_initializer())
        assert weight.dtype.base_dtype == dtype
        assert weight is tf.trainable_variables()[0]

    def test_the_scopes_own_arguments_hold(self, session):
        with master_weights_scope("scope", initializer=tf.constant_initializer(3.0)):
            tf.get_variable("weight", [2], dtype=tf.float16)
            tf.get_variable("still", [1], trainable=False)
        session.run(tf.global_variables_initializer())
        assert [found.op.name for found in tf.trainable_variables()] == ["scope/weight"]
        assert session.run(tf.trainable_variables()[0]).tolist() == [3.0, 3.0]

    def test_one_variable_serves_every_precision(self):
        for dtype in [tf.float32] + HALVES:
            assert weight_of(dtype).dtype.base_dtype == dtype
        assert len(tf.global_variables()) == 1


class TestTraining:
    @pytest.mark.parametrize("dtype", HALVES)
    def test_the_gradient_is_float32_and_small_steps_add_up(self, session, dtype):
        weight = weight_of(dtype, initializer=tf.ones_initializer())
        (stored,) = tf.trainable_variables()
        loss = tf.reduce_sum(tf.cast(weight, tf.float32) * [1.0, -2.0])
        (gradient,) = tf.gradients(loss, stored)
        assert gradient.dtype == tf.float32
        step = tf.train.GradientDescentOptimizer(1e-4).minimize(loss)
        session.run(tf.global_variables_initializer())
        for _ in range(100):
            session.run(step)
        # In half precision 1 - 0.0001 is 1: every step would be lost.
        np.testing.assert_allclose(session.run(stored), [0.99, 1.02], rtol=1e-5)


def averaged_weight():
    """Make the weight (1, 2) of the scope with an average (5, 6), and the variable "plain" (3) without one."""
    weight = weight_of(tf.float32, initializer=tf.constant_initializer([1.0, 2.0]))
    with master_weights_scope("scope"):
        tf.get_variable("plain", initializer=tf.constant([3.0]))
    averages = tf.train.ExponentialMovingAverage(0.5)
    with tf.control_dependencies([averages.apply([weight])]):
        return tf.assign(averages.average(weight), [5.0, 6.0])


class TestAveragedWeights:
    def read(self, name, shape, dtype=tf.float32):
        with averaged_weights_scope("scope", reuse=tf.AUTO_REUSE):
            return tf.get_variable(name, shape, dtype=dtype)

    @pytest.mark.parametrize("dtype", [tf.float32] + HALVES)
    def test_the_average_is_handed_out_where_there_is_one(self, session, dtype):
        moved = averaged_weight()
        made = tf.global_variables()
        weight, plain = self.read("weight", [2], dtype), self.read("plain", [1], dtype)
        assert weight.dtype.base_dtype == plain.dtype.base_dtype == dtype
        assert tf.global_variables() == made
        session.run(tf.global_variables_initializer())
        session.run(moved)
        found = session.run([tf.cast(each, tf.float32) for each in (weight, plain)])
        assert [each.tolist() for each in found] == [[5.0, 6.0], [3.0]]

    def test_training_goes_on_with_the_weight_itself(self):
        averaged_weight()
        assert weight_of(tf.float32) is tf.trainable_variables()[0]

    @pytest.mark.parametrize("dtype", HALVES)
    def test_without_averages_it_makes_what_training_makes(self, dtype):
        weight = self.read("weight", [2], dtype)
        assert weight.dtype == dtype
        assert [found.op.name for found in tf.trainable_variables()] == ["scope/weight"]
        assert tf.trainable_variables()[0].dtype.base_dtype == tf.float32


class TestFrozenWeights:
    @pytest.fixture
    def checkpoint(self, session, tmp_path):
        """A checkpoint of the weight (1, 2) of the scope, and of one that nothing asks for."""
        weight_of(tf.float32, initializer=tf.constant_initializer([1.0, 2.0]))
        tf.get_variable("other", [])
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))

    def frozen(self, checkpoint, name="weight", shape=(2,), **arguments):
        with frozen_weights_scope(checkpoint)("scope", reuse=tf.AUTO_REUSE):
            return tf.get_variable(name, list(shape), **arguments)

    @pytest.mark.parametrize("dtype", [tf.float32] + HALVES)
    def test_weights_are_constants_with_the_values_of_the_checkpoint(self, checkpoint, dtype):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            weight = self.frozen(checkpoint, dtype=dtype, initializer=tf.zeros_initializer())
            assert tf.global_variables() == []
            assert weight.dtype == dtype and weight.shape.as_list() == [2]
            assert session.run(tf.cast(weight, tf.float32)).tolist() == [1.0, 2.0]
            assert {operation.type for operation in graph.get_operations()} <= {"Const", "Cast"}

    def test_averages_are_taken_where_the_checkpoint_has_them(self, session, tmp_path):
        moved = averaged_weight()
        session.run(tf.global_variables_initializer())
        session.run(moved)
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        with tf.Graph().as_default(), tf.Session() as other:
            weight, plain = self.frozen(checkpoint), self.frozen(checkpoint, "plain", (1,))
            assert [each.tolist() for each in other.run([weight, plain])] == [[5.0, 6.0], [3.0]]

    @pytest.mark.parametrize("name, shape", [("weight", (3,)), ("weight", (1, 2)), ("bias", (2,))])
    def test_those_of_another_network_are_refused(self, checkpoint, name, shape):
        message = "model.ckpt: has no scope/{} of shape {}: ".format(name, list(shape))
        with pytest.raises(UserError, match=re.escape(message)):
            self.frozen(checkpoint, name, shape)

    def test_a_checkpoint_that_is_not_there(self, tmp_path):
        with pytest.raises(tf.errors.OpError, match="gone"):
            frozen_weights_scope(str(tmp_path / "gone"))

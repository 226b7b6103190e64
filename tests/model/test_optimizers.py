import math

import numpy as np
import pytest
from networks import variable

from model import layers
from model.optimizers import DecoupledWeightDecay, average_weights, learning_rate, make_optimizer
from utils.tf_runtime import scale_loss, tf

pytestmark = pytest.mark.usefixtures("graph")

START, SLOPES = np.array([1.0, -2.0]), np.array([3.0, 0.5])


def rates(session, params, steps):
    """Return the learning rate of each of the steps."""
    global_step = tf.train.get_or_create_global_step()
    rate = learning_rate(params)
    found = []
    for step in steps:
        session.run(tf.assign(global_step, step))
        found.append(session.run(rate))
    return found


@pytest.fixture
def params(params):
    """The params of a training of 10 epochs of 5 steps, with a learning rate of 0.1."""
    return dict(params, base_lr=0.1, train_epochs=10, steps_per_epoch=5, lr_warmup_epochs=2)


class TestLearningRate:
    @pytest.mark.parametrize("changes", [{"lr_scaling": "none", "workers": 4}, {"lr_scaling": "linear", "workers": 1}])
    def test_is_the_base_without_a_tensor_unless_something_changes_it(self, graph, params, changes):
        found = learning_rate(dict(params, **changes))
        assert isinstance(found, float) and found == 0.1
        assert graph.get_operations() == []

    @pytest.mark.parametrize("step, factor", [(0, 1.0), (5, 2.5), (10, 4.0), (100, 4.0)])
    def test_linear_scaling_rises_to_the_number_of_workers(self, session, params, step, factor):
        params.update(lr_scaling="linear", workers=4)
        assert rates(session, params, [step]) == [pytest.approx(0.1 * factor)]

    def test_linear_scaling_without_warm_up_starts_at_the_top(self, session, params):
        params.update(lr_scaling="linear", workers=4, lr_warmup_epochs=0)
        assert rates(session, params, [1]) == [pytest.approx(0.4)]

    def test_warm_up_starts_with_its_first_part_and_ends_at_the_base(self, session, params):
        found = rates(session, dict(params, lr_warmup_steps=4), [0, 1, 2, 3, 4, 49])
        np.testing.assert_allclose(found, [0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rtol=1e-6)

    def test_warm_up_takes_a_tenth_of_a_short_training_at_most(self, session, params):
        found = rates(session, dict(params, lr_warmup_steps=200), [0, 1, 4, 5, 49])
        np.testing.assert_allclose(found, [0.02, 0.04, 0.1, 0.1, 0.1], rtol=1e-6)

    def test_cosine_is_half_a_wave_down_to_nothing(self, session, params):
        steps = range(50)
        found = rates(session, dict(params, lr_schedule="cosine"), steps)
        expected = [0.1 * 0.5 * (1.0 + math.cos(math.pi * step / 50.0)) for step in steps]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert found[0] == pytest.approx(0.1) and 0.0 < found[-1] < 0.001
        assert sorted(found, reverse=True) == found

    def test_polynomial_is_the_rest_to_the_power_of_nine_tenths(self, session, params):
        steps = range(50)
        found = rates(session, dict(params, lr_schedule="polynomial"), steps)
        np.testing.assert_allclose(found, [0.1 * (1.0 - step / 50.0) ** 0.9 for step in steps], rtol=1e-5)

    @pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
    def test_nothing_is_left_after_the_last_step(self, session, params, schedule):
        found = rates(session, dict(params, lr_schedule=schedule), [50, 51, 1000])
        np.testing.assert_allclose(found, 0.0, atol=1e-9)

    def test_everything_together_is_the_product(self, session, params):
        params.update(lr_scaling="linear", workers=3, lr_warmup_steps=5, lr_schedule="cosine")
        steps = [0, 3, 7, 9, 10, 30]
        expected = [
            0.1 * (1.0 + 2.0 * min(step / 10.0, 1.0)) * min((step + 1) / 5.0, 1.0) * math.cos(math.pi * step / 100) ** 2
            for step in steps
        ]
        np.testing.assert_allclose(rates(session, params, steps), expected, rtol=1e-5)


def minimise(session, params, steps, name="weight"):
    """Return where some steps take a weight from START whose loss is SLOPES times its square."""
    tf.train.create_global_step()
    weight = tf.get_variable(name, initializer=tf.constant(START, tf.float32))
    step = make_optimizer(params).minimize(
        tf.reduce_sum(SLOPES.astype(np.float32) * tf.square(weight)), global_step=tf.train.get_global_step()
    )
    session.run(tf.global_variables_initializer())
    for _ in range(steps):
        session.run(step)
    return session.run(weight)


class TestOptimizer:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_rmsprop_is_centred(self, session, params, momentum):
        expected, square, mean, speed = START, np.ones(2), np.zeros(2), np.zeros(2)
        for _ in range(5):
            gradient = 2.0 * SLOPES * expected
            square, mean = 0.9 * square + 0.1 * gradient**2, 0.9 * mean + 0.1 * gradient
            speed = momentum * speed + 0.01 * gradient / np.sqrt(square - mean**2 + 1e-10)
            expected = expected - speed
        params.update(base_lr=0.01, momentum=momentum)
        np.testing.assert_allclose(minimise(session, params, 5), expected, rtol=1e-5)

    def test_adam_is_that_of_its_authors(self, session, params):
        expected, mean, square = START, np.zeros(2), np.zeros(2)
        for number in range(1, 6):
            gradient = 2.0 * SLOPES * expected
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            expected = expected - 0.1 * (mean / (1 - 0.9**number)) / np.sqrt(square / (1 - 0.999**number))
        np.testing.assert_allclose(minimise(session, dict(params, optimizer="adam"), 5), expected, rtol=1e-4)

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_sgd_has_the_momentum_of_nesterov(self, session, params, momentum):
        expected, speed = START, np.zeros(2)
        for _ in range(5):
            gradient = 2.0 * SLOPES * expected
            speed = momentum * speed + gradient
            expected = expected - 0.1 * (gradient + momentum * speed)
        found = minimise(session, dict(params, optimizer="sgd", momentum=momentum), 5)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_follows_the_learning_rate_of_each_step(self, session, params):
        params.update(optimizer="sgd", lr_schedule="polynomial", lr_warmup_steps=3)
        expected = START
        for step in range(5):
            rate = 0.1 * min((step + 1) / 3.0, 1.0) * (1.0 - step / 50.0) ** 0.9
            expected = expected - rate * 2.0 * SLOPES * expected
        np.testing.assert_allclose(minimise(session, params, 5), expected, rtol=1e-5)


class TestWeightDecay:
    @pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
    def test_none_leaves_the_optimizer_as_it_is(self, params, optimizer):
        assert not isinstance(make_optimizer(dict(params, optimizer=optimizer)), DecoupledWeightDecay)

    def test_shrinks_a_kernel_by_learning_rate_times_decay_beside_the_gradient(self, session, params):
        params.update(optimizer="sgd", weight_decay=0.2, lr_schedule="cosine")
        expected = START
        for step in range(5):
            rate = 0.1 * 0.5 * (1.0 + math.cos(math.pi * step / 50.0))
            expected = expected - rate * (2.0 * SLOPES * expected + 0.2 * expected)
        np.testing.assert_allclose(minimise(session, params, 5, "input/kernel"), expected, rtol=1e-5)

    @pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
    def test_is_not_rescaled_with_the_gradient(self, session, params, optimizer):
        params.update(optimizer=optimizer, weight_decay=0.2)
        tf.train.create_global_step()
        weights = [tf.get_variable(name, initializer=tf.constant(START, tf.float32)) for name in ("a/kernel", "b/bias")]
        # Constant gradients: what the two have apart from each other is the decay alone.
        step = make_optimizer(params).minimize(tf.add_n([tf.reduce_sum(SLOPES * weight) for weight in weights]))
        session.run(tf.global_variables_initializer())
        decayed = 0.0
        for _ in range(3):
            decayed = decayed + 0.1 * 0.2 * session.run(weights[0])
            session.run(step)
        kernel, bias = session.run(weights)
        assert np.abs(bias - START).min() > 0.05
        np.testing.assert_allclose(bias - kernel, decayed, rtol=1e-4)

    def test_leaves_all_but_kernels_alone(self, session, params):
        params.update(optimizer="sgd", weight_decay=0.5)
        tf.train.create_global_step()
        volume = tf.constant(np.random.RandomState(0).randn(1, 4, 4, 4, 2).astype(np.float32))
        layers.convolution(volume, 3, 3, layers.batch_normalised)
        with tf.variable_scope("other"):
            layers.convolution(volume, 3, 3, layers.biased)
            tf.get_variable("slope", initializer=tf.constant(START, tf.float32))
        weights = tf.trainable_variables()
        names = {found.op.name for found in weights}
        assert names == {"kernel", "scale", "offset", "other/kernel", "other/bias", "other/slope"}
        step = make_optimizer(params).apply_gradients([(tf.zeros_like(weight), weight) for weight in weights])
        session.run(tf.global_variables_initializer())
        before = session.run(weights)
        session.run(step)
        for weight, old, new in zip(weights, before, session.run(weights)):
            np.testing.assert_allclose(new, old * (0.95 if weight.op.name.endswith("kernel") else 1.0), rtol=1e-6)

    def test_a_step_that_loss_scaling_leaves_out_decays_nothing(self, session, params):
        tf.train.create_global_step()
        kernel = tf.get_variable("kernel", initializer=tf.constant(START, tf.float32))
        slope = tf.placeholder(tf.float32, [])
        try:
            optimizer = scale_loss(make_optimizer(dict(params, optimizer="sgd", weight_decay=0.2)))
            step = optimizer.minimize(tf.reduce_sum(slope * kernel))
        finally:
            tf.train.experimental.disable_mixed_precision_graph_rewrite()
        session.run(tf.global_variables_initializer())
        session.run(step, {slope: np.inf})
        np.testing.assert_array_equal(session.run(kernel), START)
        session.run(step, {slope: 1.0})
        np.testing.assert_allclose(session.run(kernel), 0.98 * START - 0.1, rtol=1e-6)


class TestWeightAveraging:
    @pytest.mark.parametrize("decay", [0.05, 0.25, 0.99])
    def test_is_the_moving_average_of_the_weights_that_forgets_the_first_ones_quickly(self, session, decay):
        step = tf.train.create_global_step()
        weight = tf.get_variable("weight", initializer=tf.constant(START, tf.float32))
        value = tf.placeholder(tf.float32, [2])
        with tf.control_dependencies([tf.assign(weight, value)]):
            average = average_weights(decay)
        with tf.control_dependencies([average]):
            counted = tf.assign_add(step, 1)
        session.run(tf.global_variables_initializer())
        expected = START
        for number, new in enumerate(np.random.RandomState(0).randn(6, 2)):
            session.run(counted, {value: new})
            kept = min(decay, (1.0 + number) / (10.0 + number))
            expected = kept * expected + (1.0 - kept) * new
            np.testing.assert_allclose(session.run(variable("weight/ExponentialMovingAverage")), expected, rtol=1e-5)

    def test_takes_in_the_moving_statistics_and_nothing_that_belongs_to_the_optimizer(self, session):
        step = tf.train.create_global_step()
        volume = tf.constant(np.random.RandomState(0).randn(1, 4, 4, 4, 2).astype(np.float32))
        result = layers.convolution(volume, 3, 3, layers.batch_normalised)
        tf.train.AdamOptimizer().minimize(tf.reduce_sum(tf.square(result)))
        average_weights(0.9)
        averaged = [found for found in tf.global_variables() if found.op.name.endswith("/ExponentialMovingAverage")]
        names = sorted(found.op.name.split("/")[0] for found in averaged)
        assert names == ["kernel", "moving_mean", "moving_variance", "offset", "scale"]
        assert not set(averaged) & set(tf.trainable_variables()) and step not in averaged
        # Those of the statistics are the worker's own, as the statistics are.
        own = [found.op.name for found in tf.get_collection(layers.MOVING_STATISTICS)]
        assert own == ["moving_mean", "moving_variance"] + [
            "moving_{}/ExponentialMovingAverage".format(name) for name in ("mean", "variance")
        ]
        session.run(tf.global_variables_initializer())
        for found in averaged:
            first = session.run(variable(found.op.name.split("/")[0]))
            np.testing.assert_array_equal(session.run(found), first)

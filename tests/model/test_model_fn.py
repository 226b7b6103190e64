import os

import numpy as np
import pytest
from networks import random_volume, variable

from model import layers
from model.losses import segmentation_loss
from model.model_fn import (
    CLIP_NORM,
    LOSS_SCALE,
    model_fn,
    probabilities_of,
    training_step,
)
from model.networks import network_settings
from model.vnet import supervised_vnet, vnet
from utils.tf_runtime import cpu_mixed_precision, scale_loss, tf
from utils.var_storage import AVERAGE, master_weights_scope

pytestmark = pytest.mark.usefixtures("graph")

TRAIN, PREDICT = tf.estimator.ModeKeys.TRAIN, tf.estimator.ModeKeys.PREDICT
ONE_THREAD = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
CONFIG = tf.estimator.RunConfig(
    keep_checkpoint_max=2, session_config=ONE_THREAD, save_summary_steps=None, log_step_count_steps=None
)
PRELU_AVERAGED = {"activation": "prelu", "weight_averaging": 0.5}
# Everything beside the reference recipe.
LEVERS = {
    "downscale_blocks": [1, 1],
    "loss": "dice_ce",
    "deep_supervision": True,
    "optimizer": "adam",
    "lr_schedule": "cosine",
    "lr_warmup_steps": 3,
    "weight_decay": 0.01,
    "weight_averaging": 0.9,
    "train_epochs": 3,
    "steps_per_epoch": 10,
}


class CountingDescent(tf.train.GradientDescentOptimizer):
    """Gradient descent with rate 1: what it subtracts from the variables is what it was given to apply."""

    def __init__(self):
        super().__init__(1.0)
        self.computed = 0

    def compute_gradients(self, *arguments, **options):
        self.computed += 1
        return super().compute_gradients(*arguments, **options)


def batch():
    random = np.random.RandomState(0)
    return random.randn(2, 8, 8, 8, 1).astype(np.float32), random.randint(3, size=(2, 8, 8, 8)).astype(np.uint8)


def training_features(images, weight=1.0):
    return {"image": tf.constant(images), "weight": tf.constant(weight)}


def train_spec(params):
    """Return the training EstimatorSpec of the tiny network."""
    images, labels = batch()
    tf.train.create_global_step()
    return model_fn(training_features(images), tf.constant(labels), TRAIN, params, CONFIG)


def losses_of(params, seed):
    """Return the losses of the first steps."""
    with tf.Graph().as_default(), tf.Session(config=ONE_THREAD) as session:
        tf.set_random_seed(seed)
        spec = train_spec(params)
        session.run(tf.global_variables_initializer())
        return [session.run([spec.loss, spec.train_op])[0] for _ in range(4)]


def inputs():
    """Return the data set of one batch that comes again and again."""
    images, labels = batch()
    return tf.data.Dataset.from_tensors(({"image": images, "weight": 1.0}, labels)).repeat()


def clipped(gradients):
    norm = np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients))
    return [gradient * min(1.0, CLIP_NORM / norm) for gradient in gradients], norm


def global_norm(arrays):
    return np.sqrt(sum(np.square(array.astype(np.float64)).sum() for array in arrays))


def change_of(session, variables, operation):
    """Return how much running an operation lowers the variables."""
    before = session.run(variables)
    session.run(operation)
    return [old - new for old, new in zip(before, session.run(variables))]


class TestClipping:
    @pytest.mark.parametrize("scale", [1e6, 1e-2])
    def test_what_is_applied_is_the_clipped_gradient(self, session, scale):
        tf.train.create_global_step()
        weights = [tf.get_variable(name, shape) for name, shape in (("a", [3, 2]), ("b", [5]), ("c", []))]
        slopes = [random_volume(*weight.shape.as_list()) if weight.shape.as_list() else 2.0 for weight in weights]
        loss = scale * tf.add_n([tf.reduce_sum(weight * slope) for weight, slope in zip(weights, slopes)])
        optimizer = CountingDescent()
        step = training_step(optimizer, loss)
        session.run(tf.global_variables_initializer())
        expected, norm = clipped([np.float32(scale) * slope for slope in map(np.asarray, slopes)])
        found = change_of(session, weights, step)
        assert (norm > CLIP_NORM) == (scale > 1.0)
        assert global_norm(found) == pytest.approx(min(norm, 1.0), rel=1e-4)
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert optimizer.computed == 1

    def test_it_bites_in_the_network_too(self, session, params):
        images, labels = batch()
        tf.train.create_global_step()
        logits = vnet(tf.constant(images), network_settings(params), training=True)
        loss = 1e4 * segmentation_loss(dict(params, loss="dice"), logits, tf.constant(labels))
        variables = tf.trainable_variables()
        gradients = tf.gradients(loss, variables)
        optimizer = CountingDescent()
        step = training_step(optimizer, loss)
        session.run(tf.global_variables_initializer())
        expected, norm = clipped(session.run(gradients))
        assert norm > 10.0
        found = change_of(session, variables, step)
        assert global_norm(found) == pytest.approx(1.0, rel=1e-3)
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
        assert optimizer.computed == 1

    def test_it_holds_for_gradients_that_were_scaled_against_underflow(self, session):
        tf.train.create_global_step()
        weight = tf.get_variable("weight", [2], initializer=tf.zeros_initializer())
        try:
            step = training_step(scale_loss(CountingDescent()), tf.reduce_sum(weight * [300.0, -400.0]))
        finally:
            tf.train.experimental.disable_mixed_precision_graph_rewrite()
        session.run(tf.global_variables_initializer())
        session.run(step)
        np.testing.assert_allclose(session.run(weight), [-0.6, 0.8], rtol=1e-5)


class TestTrainingStep:
    def test_moves_the_statistics_once_and_counts_the_step(self, session):
        step = tf.train.create_global_step()
        volume = 7.0 + random_volume(2, 2, 2, 2, 3)
        normalised = layers.batch_normalised(lambda kernel: tf.constant(volume), tf.zeros([1, 1, 1, 1, 3]), 4)
        operation = training_step(CountingDescent(), tf.reduce_sum(tf.square(normalised)))
        session.run(tf.global_variables_initializer())
        session.run(operation)
        expected = 0.01 * volume.mean(axis=(0, 1, 2, 3))
        np.testing.assert_allclose(session.run(variable("moving_mean")), expected, rtol=1e-4)
        assert session.run(step) == 1

    def test_moves_every_statistic_of_the_network(self, session, params):
        spec = train_spec(params)
        moving = [found for found in tf.global_variables() if "moving_" in found.op.name]
        session.run(tf.global_variables_initializer())
        # A mean and a variance for each convolution but the last, and for the transposed one.
        assert len(moving) == 2 * 5
        for lowered in change_of(session, moving, spec.train_op):
            assert lowered.any()


class TestWeightAveraging:
    def test_the_averages_are_those_of_the_weights_after_each_step(self, session, params):
        step = train_spec(dict(params, weight_averaging=0.6, base_lr=0.01)).train_op
        averaged = [found for found in tf.global_variables() if found.op.name.endswith(AVERAGE)]
        sources = [variable(found.op.name[: -len(AVERAGE)]) for found in averaged]
        # All that prediction reads.
        assert set(sources) | set(averaged) > set(tf.get_collection(layers.MOVING_STATISTICS))
        assert set(sources) > set(tf.trainable_variables())
        session.run(tf.global_variables_initializer())
        expected = session.run(sources)
        for number in range(8):
            session.run(step)
            kept = min(0.6, (1.0 + number) / (10.0 + number))
            expected = [kept * old + (1.0 - kept) * new for old, new in zip(expected, session.run(sources))]
        for found, one, other in zip(averaged, session.run(averaged), expected):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=found.op.name)


class TestDeepSupervision:
    def test_the_loss_is_that_of_all_grids(self, session, params):
        params.update(downscale_blocks=[1, 1, 1], upscale_blocks=[1, 1], loss="dice_ce", deep_supervision=True)
        spec = train_spec(params)
        images, labels = batch()
        logits = supervised_vnet(tf.constant(images), network_settings(params))
        labels = [labels, labels[:, 1::2, 1::2, 1::2], labels[:, 2::4, 2::4, 2::4]]
        each = [segmentation_loss(params, *of_grid) for of_grid in zip(logits, labels)]
        session.run(tf.global_variables_initializer())
        found, each = session.run([spec.loss, each])
        assert found == pytest.approx((4 * each[0] + 2 * each[1] + each[2]) / 7, rel=1e-5)

    def test_predictions_need_nothing_of_it(self, session, params, tmp_path):
        params.update(downscale_blocks=[1, 1], upscale_blocks=[1])
        images, _ = batch()
        spec = train_spec(dict(params, deep_supervision=True))
        made = [found.op.name for found in tf.global_variables()]
        assert "vnet/up_1/supervision/kernel" in made
        expected = probabilities_of(tf.constant(images), params)
        assert [found.op.name for found in tf.global_variables()] == made
        session.run(tf.global_variables_initializer())
        session.run(spec.train_op)
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        with tf.Graph().as_default(), tf.Session() as other:
            spec = model_fn({"image": tf.constant(images)}, None, PREDICT, dict(params, weights=[checkpoint]), CONFIG)
            frozen = other.run(spec.predictions["probabilities"])
        np.testing.assert_allclose(frozen, session.run(expected), atol=1e-5)


class TestOptimizer:
    def test_of_the_reference_recipe_adds_nothing_to_the_graph(self, params):
        train_spec(params)
        parts = {found.op.name.split("/")[-1] for found in tf.global_variables()}
        normalised = {"kernel", "bias", "scale", "offset", "moving_mean", "moving_variance"}
        assert parts == normalised | {"global_step", "RMSProp", "RMSProp_1", "RMSProp_2"}

    def test_the_params_may_wrap_it(self, params):
        given = []

        def wrap(optimizer):
            given.append(optimizer)
            return CountingDescent()

        params["wrap_optimizer"] = wrap
        train_spec(params)
        assert [type(optimizer) for optimizer in given] == [tf.train.RMSPropOptimizer]
        # Gradient descent has no state: the wrapper's result was used, and nothing else.
        assert not [found for found in tf.global_variables() if "RMSProp" in found.op.name]


class TestWeight:
    def test_scales_the_step_and_not_the_loss(self, session, params):
        """What a worker's loss counts changes the gradients it hands in, not what it tells."""
        handed_in = []

        class Recording(tf.train.GradientDescentOptimizer):
            def apply_gradients(self, pairs, global_step=None, name=None):
                pairs = list(pairs)
                handed_in.append([gradient for gradient, _ in pairs])
                return super().apply_gradients(pairs, global_step, name)

        params["wrap_optimizer"] = lambda optimizer: Recording(1.0)
        images, labels = batch()
        tf.train.create_global_step()
        specs = [
            model_fn(training_features(images, weight), tf.constant(labels), TRAIN, params, CONFIG)
            for weight in (0.02, 0.01)
        ]
        session.run(tf.global_variables_initializer())
        losses, gradients = session.run([[spec.loss for spec in specs], handed_in])
        assert losses[0] == pytest.approx(losses[1])
        assert global_norm(gradients[0]) < CLIP_NORM, "the gradients were clipped, which hides the weight"
        for whole, half in zip(*gradients):
            np.testing.assert_allclose(half, 0.5 * whole, rtol=1e-3, atol=1e-3 * np.abs(whole).max())


class TestPrediction:
    @pytest.mark.parametrize("choices", [{}, PRELU_AVERAGED, {"normalization_layer": "none"}])
    def test_the_frozen_weights_predict_what_the_trained_ones_do(self, session, params, tmp_path, choices):
        params.update(choices, base_lr=0.01)
        images, _ = batch()
        train, expected = train_spec(params).train_op, probabilities_of(tf.constant(images), params)
        session.run(tf.global_variables_initializer())
        for _ in range(5):
            session.run(train)
        trained = session.run(expected)
        assert trained.std() > 0.05
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        params.update(weights=[checkpoint])
        np.testing.assert_allclose(self.frozen(images, params, ONE_THREAD), trained, atol=1e-5)
        rewritten = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        if cpu_mixed_precision(rewritten):
            np.testing.assert_allclose(self.frozen(images, params, rewritten), trained, atol=0.03)

    def frozen(self, images, params, config):
        """The probabilities that a session with this configuration predicts."""
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            spec = model_fn({"image": tf.constant(images)}, None, PREDICT, params, CONFIG)
            assert spec.train_op is None and spec.loss is None
            assert list(spec.predictions) == ["probabilities"]
            assert tf.global_variables() == []
            found = session.run(spec.predictions["probabilities"])
        assert found.shape == (2, 8, 8, 8, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-5)
        return found

    def test_the_averages_predict_and_not_the_last_weights(self, session, params):
        params.update(base_lr=0.01, weight_averaging=0.9)
        images, _ = batch()
        train = train_spec(params).train_op
        averaged = probabilities_of(tf.constant(images), params)
        last = probabilities_of(tf.constant(images), params, master_weights_scope)
        session.run(tf.global_variables_initializer())
        for _ in range(5):
            session.run(train)
        found, before = session.run([averaged, last])
        assert np.abs(found - before).max() > 1e-3
        averages = [average for average in tf.global_variables() if average.op.name.endswith(AVERAGE)]
        session.run([tf.assign(variable(average.op.name[: -len(AVERAGE)]), average) for average in averages])
        np.testing.assert_allclose(session.run(last), found, atol=1e-6)


class TestModes:
    def test_evaluation_is_refused(self, params):
        with pytest.raises(ValueError, match="trains and predicts"):
            model_fn({"image": tf.zeros([1, 8, 8, 8, 1])}, None, tf.estimator.ModeKeys.EVAL, params, CONFIG)

    def test_the_loss_has_the_name_that_hooks_look_for(self, graph, params):
        assert train_spec(params).loss is graph.get_tensor_by_name("loss:0")

    @pytest.mark.parametrize("levers", [{}, LEVERS, dict(LEVERS, optimizer="sgd", base_lr=0.1, momentum=0.9)])
    def test_training_lowers_the_loss_and_shows_in_predictions(self, session, params, levers):
        params.update(dict({"base_lr": 0.01}, **levers))
        images, labels = batch()
        labels = np.digitize(images[..., 0], [-0.5, 0.5]).astype(np.uint8)
        tf.train.create_global_step()
        spec = model_fn(training_features(images), tf.constant(labels), TRAIN, params, CONFIG)
        probabilities = probabilities_of(tf.constant(images), params)
        session.run(tf.global_variables_initializer())
        untrained = session.run(probabilities)
        losses = [session.run([spec.loss, spec.train_op])[0] for _ in range(30)]
        assert losses[-1] < 0.7 * losses[0]
        assert not np.allclose(session.run(probabilities), untrained, atol=1e-3)

    def test_the_seed_decides_the_losses(self, params):
        params["base_lr"] = 0.01
        found = losses_of(params, seed=5)
        assert losses_of(params, seed=5) == found != losses_of(params, seed=6)
        # Averages of the weights change nothing in training.
        assert losses_of(dict(params, weight_averaging=0.9), seed=5) == found


class TestScaffold:
    def estimator(self, folder, params, wrap_optimizer):
        return tf.estimator.Estimator(model_fn, str(folder), CONFIG, dict(params, wrap_optimizer=wrap_optimizer))

    @pytest.mark.skipif("NVIDIA_TENSORFLOW_VERSION" in os.environ, reason="this build scales losses by itself")
    @pytest.mark.parametrize("choices", [{}, {"optimizer": "adam", "weight_decay": 0.1, "weight_averaging": 0.9}])
    def test_a_run_may_go_on_with_loss_scaling_and_without(self, tmp_path, params, choices):
        made = []

        def scaled(optimizer):
            wrapped = scale_loss(optimizer)
            made.extend(variable.op.name for variable in tf.global_variables())
            return wrapped

        params.update(choices)
        for steps, wrap_optimizer in ((1, params["wrap_optimizer"]), (2, scaled), (3, params["wrap_optimizer"])):
            try:
                self.estimator(tmp_path, params, wrap_optimizer).train(inputs, max_steps=steps)
            finally:
                tf.train.experimental.disable_mixed_precision_graph_rewrite()
            assert tf.train.load_variable(str(tmp_path), "global_step") == steps
            saved = {name for name, _ in tf.train.list_variables(str(tmp_path))}
            assert not set(LOSS_SCALE) & saved
            assert any(name.endswith(AVERAGE) for name in saved) == ("weight_averaging" in choices)
        assert set(LOSS_SCALE) <= set(made)

    def test_keeps_as_many_checkpoints_as_asked_for_in_a_folder_that_may_move(self, tmp_path, params):
        hook = tf.train.CheckpointSaverHook(str(tmp_path / "here"), save_steps=1)
        self.estimator(tmp_path / "here", params, params["wrap_optimizer"]).train(inputs, hooks=[hook], max_steps=4)
        (tmp_path / "here").rename(tmp_path / "there")
        kept = tf.train.get_checkpoint_state(str(tmp_path / "there")).all_model_checkpoint_paths
        assert len(kept) == CONFIG.keep_checkpoint_max
        assert all(tf.train.load_variable(path, "global_step") > 2 for path in kept)


class TestNetworkSettings:
    def test_come_from_the_params(self, params):
        params.update(
            labels=["background", "a", "b", "c"],
            downscale_blocks=[1, 2],
            upscale_blocks=[3],
            convolution_size=5,
            activation="prelu",
            normalization_layer="none",
            pooling="max_pool",
        )
        assert network_settings(params)._asdict() == {
            "classes": 4,
            "downscale_blocks": (1, 2),
            "upscale_blocks": (3,),
            "convolution_size": 5,
            "activation": "prelu",
            "normalization_layer": "none",
            "pooling": "max_pool",
        }

"""Training with the loss scaling of float16, which takes the ordinary overflow upon itself.

Without a GPU the network stays in float32: it overflows all the same where the scale is large enough. That the session
is asked for the rewrite to float16 can be seen; what its kernels compute cannot.
"""

import io
import os

import numpy as np
import pytest
from plans import plan_of

from model.model_fn import model_fn
from utils.hooks.checkpoint_hook import CheckpointHook
from utils.hooks.training_hook import TrainingHook
from utils.model_dir.checkpoints import step_of
from utils.model_dir.epoch_state import Unfinished
from utils.running.workers import Workers
from utils.sampling.augmentation import Augmentation
from utils.system.progress import Progress
from utils.tf_runtime import scale_loss, tf

pytestmark = pytest.mark.skipif("NVIDIA_TENSORFLOW_VERSION" in os.environ, reason="this build scales losses by itself")
# Of these the product is beyond float32, and the scale alone, and one over it, are not.
SCALE, WEIGHT = 2.0**120, 1e4
STEPS = 12
LEVERS = {"optimizer": "adam", "weight_decay": 0.1, "weight_averaging": 0.9, "loss": "dice_ce"}


class Diverged(Exception):
    pass


class Watching(tf.train.SessionRunHook):
    """Begins with a scale that is too large; keeps the scale, the step and the weights before each step."""

    def __init__(self):
        self.scales, self.steps, self.weights = [], [], []

    def begin(self):
        (self._scale,) = [found for found in tf.global_variables() if found.op.name == "current_loss_scale"]
        self._raised = tf.assign(self._scale, SCALE)
        self._watched = self._scale, tf.train.get_global_step(), tf.trainable_variables()

    def after_create_session(self, session, coord):
        self.rewrite = session._config.graph_options.rewrite_options.auto_mixed_precision
        session.run(self._raised)
        self._look(session)

    def after_run(self, run_context, run_values):
        self._look(run_context.session)

    def _look(self, session):
        for kept, value in zip((self.scales, self.steps, self.weights), session.run(self._watched)):
            kept.append(value)


class Training:
    """Training of a tiny network on one batch that comes again and again, in one-step epochs."""

    def __init__(self, folder, params):
        self.folder = str(folder)
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config = tf.estimator.RunConfig(session_config=config, save_checkpoints_secs=None, save_summary_steps=None)
        params = dict(params, wrap_optimizer=scale_loss, train_epochs=STEPS, steps_per_epoch=1)
        self.estimator = tf.estimator.Estimator(model_fn, self.folder, config, params)

    def run(self, bad=None):
        """Train for STEPS steps, of which the one `bad` has a voxel that is no number; returns what was watched."""
        random = np.random.RandomState(0)
        labels = random.randint(3, size=(2, 8, 8, 8)).astype(np.uint8)
        images = random.randn(STEPS, 1, 8, 8, 8, 1).repeat(2, axis=1).astype(np.float32)
        if bad is not None:
            images[bad, 0, 0, 0, 0] = np.nan

        def batch(image):
            return {"image": image, "weight": tf.constant(WEIGHT)}, tf.constant(labels)

        def inputs():
            return tf.data.Dataset.from_tensor_slices(images).map(batch)

        watching, unfinished = Watching(), Unfinished()
        plan = plan_of(2, 2, 0, Augmentation())
        with Progress(2 * STEPS, "training", "images", stream=io.StringIO()) as progress:
            hooks = [
                TrainingHook(Workers(), plan, progress, 1, self.folder, unfinished, Diverged),
                watching,
                CheckpointHook(self.folder, 1, 2, unfinished, Diverged),
            ]
            try:
                self.estimator.train(inputs, hooks=hooks)
            finally:
                tf.train.experimental.disable_mixed_precision_graph_rewrite()
        return watching


def changed(before, after):
    return [not np.array_equal(one, other) for one, other in zip(before, after)]


def test_a_step_that_overflows_is_left_out_and_training_goes_on(tmp_path, params, logged):
    watched = Training(tmp_path, dict(params, **LEVERS)).run()
    assert watched.rewrite == 1
    assert watched.steps == list(range(STEPS + 1))
    left_out = [not any(changed(*pair)) for pair in zip(watched.weights, watched.weights[1:])]
    count = left_out.index(False)
    assert 2 < count < STEPS - 2 and left_out == [True] * count + [False] * (STEPS - count)
    assert watched.scales == [SCALE / 2 ** min(step, count) for step in range(STEPS + 1)]
    # Of a step that is not left out all is applied.
    assert all(changed(watched.weights[count], watched.weights[count + 1]))
    losses = [data["loss"] for step, data in logged() if len(step) == 1]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert step_of(tf.train.latest_checkpoint(str(tmp_path))) == STEPS
    saved = [name for name, _ in tf.train.list_variables(str(tmp_path))]
    assert all(np.isfinite(tf.train.load_variable(str(tmp_path), name)).all() for name in saved)


def test_a_loss_that_is_no_number_ends_it_all_the_same(tmp_path, params, logged):
    with pytest.raises(Diverged) as caught:
        Training(tmp_path, params).run(bad=2)
    assert caught.value.args == (2, "the loss is nan in")
    assert step_of(tf.train.latest_checkpoint(str(tmp_path))) == 2

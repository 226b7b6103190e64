"""The runner of ``--benchmark``: measures training or prediction steps and leaves the model's folder alone."""

import functools
import os
import tempfile

import numpy as np

from model.model_fn import probabilities_of
from utils import data_loader
from utils.hooks.profiling_hook import ProfilingHook
from utils.runner import Runner
from utils.running import benchmark
from utils.running.session_config import cpu_session_config
from utils.system import hardware
from utils.system.files import write_json_atomically
from utils.tf_runtime import tf

# Variables that begin as zeros or ones.
PLAIN = ("bias", "offset", "scale", "moving_mean", "moving_variance")


def fresh_checkpoint(params, folder):
    """Path of a checkpoint of an untrained network, made in ``folder``.

    Its biases and statistics are of no use, but none of them is 0 or 1, as in a trained network: TensorFlow leaves out
    what adds nothing, and with it fuses other operations.
    """
    with tf.Graph().as_default(), tf.Session(config=cpu_session_config(params)) as session:
        tf.train.create_global_step()
        probabilities_of(tf.zeros([1] + params["input_shape"] + [len(params["modalities"])]), params)
        session.run(tf.global_variables_initializer())
        random = np.random.RandomState(params["seed"])
        for variable in tf.global_variables():
            if variable.op.name.split("/")[-1] in PLAIN:
                variable.load(random.uniform(0.5, 0.9, variable.shape.as_list()), session)
        return tf.train.Saver().save(session, os.path.join(folder, "model.ckpt"))


class BenchmarkRunner(Runner):
    """Measures what ``Runner`` does; see there for its arguments."""

    def train(self):
        """Measure training steps; what they train is thrown away."""
        hook = self._profiling_hook("train")
        plan, batches = self._training_batches(hook.last_step)
        with tempfile.TemporaryDirectory() as folder:
            hooks = self.workers.hooks() + [hook]
            self._estimator(folder, plan).train(batches, hooks=hooks, max_steps=hook.last_step)
        self._tell(hook)

    def _training_batches(self, steps):
        images = self.workers.size * self.params["batch_size"]
        cases = benchmark.rounded_up(len(self.job.training), images) // self.workers.size
        if self.params["synthetic"]:
            return self._training_plan(cases), lambda: benchmark.synthetic_dataset(self.params, steps, labelled=True)
        cases_here = self._share(self.job.training)
        own = self._preparation.volumes(cases_here, "preparing training cases", trained_on=True)
        items = self._preparation.items(benchmark.cycled(own, cases))
        # Of a case's parts there may be any number.
        count = benchmark.rounded_up(len(items), self.params["batch_size"])
        plan = self._training_plan(count, lambda random: np.resize(items.order(random), count))
        return plan, lambda: data_loader.training_dataset(items, plan, 0, steps)

    def predict(self):
        """Measure prediction steps with the weights of ``fresh_checkpoint``."""
        hook = self._profiling_hook("predict")
        batches = self._prediction_batches(hook.last_step)
        with tempfile.TemporaryDirectory() as folder:
            weights = fresh_checkpoint(self.params, folder)
            predictions = self._estimator(folder, weights=[weights]).predict(
                batches, hooks=[hook], checkpoint_path=weights, yield_single_examples=False
            )
            for _ in predictions:
                pass
        self._tell(hook)

    def _prediction_batches(self, steps):
        if self.params["synthetic"]:
            return lambda: benchmark.synthetic_dataset(self.params, steps, labelled=False)
        volumes = self._preparation.volumes(self._share(self.job.predicted), "preparing images")
        batch_size, feeding = self.params["batch_size"], self._preparation.feeding
        shape = feeding.item_shape + (len(self.params["modalities"]),)
        items = functools.partial(data_loader.repeated_images, volumes, feeding, steps * batch_size)
        return lambda: data_loader.streamed_dataset(items, shape, batch_size)

    def _share(self, cases):
        # With more workers than cases, those that have none of their own measure on the first one.
        return self.workers.share(cases) or cases[:1]

    def _profiling_hook(self, mode):
        steps = self.params["warmup_steps"], self.params["benchmark_steps"]
        return ProfilingHook(mode, self.params["batch_size"], *steps, gather=self.workers.gather)

    def _tell(self, hook):
        result = benchmark.result(self.params, hook.mode, hook.figures)
        self._say("measured on {}".format(hardware.in_words(result["hardware"])))
        if self.params["output"] and self.workers.is_first:
            write_json_atomically(self.params["output"], result)
            self._say("figures: {}".format(self.params["output"]))

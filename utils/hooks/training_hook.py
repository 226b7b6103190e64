"""Progress, losses and speed of a training run, to the terminal, DLLogger and TensorBoard."""

import time

import dllogger
from utils.tf_runtime import tf


class TrainingHook(tf.train.SessionRunHook):
    """Follows the training step by step.

    Args:
        plan: the ``TrainingPlan``, for the steps of an epoch and the cases of a step.
        progress: a ``utils.progress.Progress`` that counts images.
        log_every: optimizer steps between two log lines.
        summary_dir: where the epochs' figures go as TensorBoard events.
    """

    def __init__(self, plan, progress, log_every, summary_dir):
        self.plan = plan
        self.progress = progress
        self.log_every = log_every
        self.summary_dir = summary_dir

    def begin(self):
        self._step = tf.train.get_global_step()
        self._loss = tf.get_default_graph().get_tensor_by_name("loss:0")
        self._writer = tf.summary.FileWriterCache.get(self.summary_dir)

    def after_create_session(self, session, coord):
        self._done = session.run(self._step)
        self._start_epoch()

    def _start_epoch(self):
        self._losses = []
        self._images = 0
        self._seconds = 0.0

    def before_run(self, run_context):
        self._started = time.time()
        # The Estimator fetches the loss at every step anyway: a second fetch of the same tensor is free.
        return tf.train.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self._seconds += time.time() - self._started
        images = len(self.plan.batch(self._done)[0])
        self._images += images
        self._done += 1
        self._losses.append(float(run_values.results))
        loss = sum(self._losses) / len(self._losses)
        self.progress.update(images, loss=loss)
        epoch = -(-self._done // self.plan.steps_per_epoch)
        if self._done % self.log_every == 0:
            dllogger.log((epoch, int(self._done)), {"loss": loss}, dllogger.Verbosity.VERBOSE)
        if self._done % self.plan.steps_per_epoch == 0:
            figures = {"loss": loss, "images_per_second": self._images / self._seconds}
            dllogger.log((int(epoch),), figures)
            write_scalars(self._writer, "training", figures, self._done)
            self._start_epoch()

    def end(self, session):
        dllogger.flush()
        self._writer.flush()


def write_scalars(writer, group, figures, step):
    """Write numbers as TensorBoard scalars ``group/name`` at an optimizer step."""
    values = [tf.Summary.Value(tag="{}/{}".format(group, name), simple_value=value) for name, value in figures.items()]
    writer.add_summary(tf.Summary(value=values), step)

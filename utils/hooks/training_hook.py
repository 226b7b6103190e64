"""Progress, losses and speed of a training run, to the terminal, DLLogger and TensorBoard."""

import time

import numpy as np

import dllogger
from utils.tf_runtime import tf


class TrainingHook(tf.train.SessionRunHook):
    """Follows the training step by step. All workers have one; the first tells what they did together.

    Args:
        workers: the ``utils.running.workers.Workers``.
        plan: the ``TrainingPlan``, for the steps of an epoch and the cases of a step.
        progress: a ``utils.system.progress.Progress`` that counts images.
        log_every: optimizer steps between two log lines.
        summary_dir: where the epochs' figures go as TensorBoard events.
        unfinished: the ``utils.model_dir.epoch_state.Unfinished`` of the epoch that an earlier run has begun; on the
            first worker it holds what all did.
        diverged: function (step, text) -> the exception for a loss that is not finite.
        clock: function () -> seconds.
    """

    def __init__(self, workers, plan, progress, log_every, summary_dir, unfinished, diverged, clock=time.perf_counter):
        self.workers = workers
        self.plan = plan
        self.progress = progress
        self.log_every = log_every
        self.summary_dir = summary_dir
        self.unfinished = unfinished
        self.diverged = diverged
        self._clock = clock

    def begin(self):
        self._step = tf.train.get_global_step()
        self._loss = tf.get_default_graph().get_tensor_by_name("loss:0")
        self._gather = self.workers.gatherer(2, "epoch_losses")
        if self.workers.is_first:
            self._writer = tf.summary.FileWriterCache.get(self.summary_dir)

    def after_create_session(self, session, coord):
        self._done = session.run(self._step)
        self._start_epoch()
        self._losses += self.unfinished.take_losses()

    def _start_epoch(self):
        # Sum of the losses of this worker's cases, and how many cases that were.
        self._losses = np.zeros(2)
        self._first_case = self.plan.items_before(self._done)
        self._seconds = 0.0

    def before_run(self, run_context):
        self._started = self._clock()
        # The Estimator fetches the loss at every step anyway: a second fetch of the same tensor is free.
        return tf.train.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self._seconds += self._clock() - self._started
        own = len(self.plan.batch(self._done)[0])
        everyones = self.plan.items_before(self._done + 1) - self.plan.items_before(self._done)
        loss = float(run_values.results)
        if not np.isfinite(loss):
            raise self.diverged(int(self._done), "the loss is {} in".format(loss))
        self._losses += loss * own, own
        self._done += 1
        loss = self._losses[0] / max(self._losses[1], 1.0)
        self.progress.update(everyones, loss=loss)
        if self._done % self.plan.steps_per_epoch == 0:
            self._end_epoch(run_context.session)
        elif self._done % self.log_every == 0:
            epoch = int(self._done // self.plan.steps_per_epoch + 1)
            dllogger.log((epoch, int(self._done)), {"loss": loss}, dllogger.Verbosity.VERBOSE)

    def _end_epoch(self, session):
        losses, cases = np.sum(self._gather(session, [self._losses]), axis=0)
        images = self.plan.items_before(self._done) - self._first_case
        figures = {"loss": losses / cases, "images_per_second": images / self._seconds}
        if self.workers.is_first:
            dllogger.log((int(self._done // self.plan.steps_per_epoch),), figures)
            write_scalars(self._writer, "training", figures, self._done)
        self._start_epoch()

    def end(self, session):
        self.unfinished.loss, self.unfinished.cases = np.sum(self._gather(session, [self._losses]), axis=0).tolist()
        if self.workers.is_first:
            dllogger.flush()
            self._writer.flush()


def write_scalars(writer, group, figures, step):
    """Write numbers as TensorBoard scalars ``group/name`` at an optimizer step."""
    values = [tf.Summary.Value(tag="{}/{}".format(group, name), simple_value=value) for name, value in figures.items()]
    writer.add_summary(tf.Summary(value=values), step)

"""Throughput and latency of training or prediction steps."""

import time

import numpy as np

import dllogger
from utils.tf_runtime import tf

PERCENTILES = (90, 95, 99)


class ProfilingHook(tf.train.SessionRunHook):
    """Times ``benchmark_steps`` steps after ``warmup_steps`` that do not count, and logs the figures.

    Args:
        mode: "train" or "predict", named in the log.
        batch_size: images per step of each worker.
        warmup_steps: steps at the start that are left out.
        benchmark_steps: steps that are measured.
        clock: function () -> seconds.
        gather: function from this worker's row, float64 [1, n], to those of all workers, [workers, n]; the workers wait
            for one another in it.

    After the run ``figures`` holds ``workers``, ``images_per_second`` and, in ms, ``latency_mean`` and
    ``latency_90``, ``latency_95`` and ``latency_99``: true percentiles of the measured step times.
    """

    def __init__(
        self, mode, batch_size, warmup_steps, benchmark_steps, clock=time.perf_counter, gather=lambda rows: rows
    ):
        self.mode = mode
        self.batch_size = batch_size
        self.warmup_steps = warmup_steps
        self.last_step = warmup_steps + benchmark_steps
        self.figures = None
        self._clock = clock
        self._gather = gather
        self._ends = []

    def before_run(self, run_context):
        if not self._ends:
            self._ends.append(self._clock())
        if len(self._ends) == self.warmup_steps + 1:
            # All measure at the same time, so that their rates add up.
            self._gather(np.zeros([1, 1]))
            self._ends[-1] = self._clock()

    def after_run(self, run_context, run_values):
        self._ends.append(self._clock())

    def end(self, session):
        # From end to end of each step, so that waiting for input counts as a user would feel it.
        seconds = np.diff(self._ends)[self.warmup_steps :]
        self.figures = step_figures(self._gather(seconds[np.newaxis]), self.batch_size)
        dllogger.log((), dict(self.figures, mode=self.mode, batch_size=self.batch_size, steps=len(seconds)))


def step_figures(seconds, batch_size):
    """Images per second of all workers, and latencies in ms, of step times in seconds, float64 [workers, steps].

    The workers begin at the same time, each with batches of its own: all are done when the slowest is.
    """
    seconds = np.atleast_2d(seconds)
    workers, steps = seconds.shape
    figures = {
        "workers": workers,
        "images_per_second": float(workers * batch_size * steps / np.max(np.sum(seconds, axis=1))),
        "latency_mean": 1000.0 * float(np.mean(seconds)),
    }
    for percentile in PERCENTILES:
        figures["latency_{}".format(percentile)] = 1000.0 * float(np.percentile(seconds, percentile))
    return figures

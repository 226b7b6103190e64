import numpy as np
import pytest

from utils.hooks.profiling_hook import ProfilingHook, step_figures
from utils.tf_runtime import tf

WARMUP, STEPS, BATCH = 3, 40, 4
SECONDS = np.random.RandomState(0).gamma(2.0, 0.05, WARMUP + STEPS)
SECONDS[:WARMUP] += 10.0
WAITED = 30.0
LATENCIES = ["latency_mean", "latency_90", "latency_95", "latency_99"]


def measured(mode="train", **options):
    """A hook that has followed a session whose steps took SECONDS, and that waited for others before the measured."""
    moments = np.cumsum(np.concatenate([[5.0], SECONDS[:WARMUP], [WAITED], SECONDS[WARMUP:]]))
    clock = iter(moments).__next__
    hook = ProfilingHook(mode, BATCH, WARMUP, STEPS, clock=clock, **options)
    with tf.Graph().as_default():
        operation = tf.assign_add(tf.train.create_global_step(), 1)
        with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
            for _ in range(hook.last_step):
                session.run(operation)
    return hook


def latencies(seconds):
    """Mean and percentiles in ms, as numpy has them."""
    return [1000.0 * np.mean(seconds)] + [1000.0 * np.percentile(seconds, part) for part in (90, 95, 99)]


class TestOneWorker:
    def test_figures_are_those_of_the_steps_after_the_warm_up(self, logged):
        figures = measured().figures
        assert figures["workers"] == 1
        assert figures["images_per_second"] == pytest.approx(BATCH * STEPS / SECONDS[WARMUP:].sum())
        assert [figures[name] for name in LATENCIES] == pytest.approx(latencies(SECONDS[WARMUP:]))
        assert figures["latency_99"] < 10000.0

    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_figures_are_logged(self, logged, mode):
        hook = measured(mode)
        ((step, data),) = logged()
        assert step == []
        assert data == dict(hook.figures, mode=mode, batch_size=BATCH, steps=STEPS)

    def test_nothing_is_known_before_the_end(self):
        assert ProfilingHook("train", BATCH, WARMUP, STEPS).figures is None
        assert ProfilingHook("train", BATCH, WARMUP, STEPS).last_step == WARMUP + STEPS


class TestSeveralWorkers:
    def test_all_are_done_with_the_slowest_and_latencies_are_over_all_steps(self, logged):
        rows = []

        def gather(own):
            rows.append(own)
            return np.concatenate([own, 3.0 * own])

        figures = measured(gather=gather).figures
        waited, own = rows
        assert waited.shape == (1, 1)
        assert (own.shape, own.dtype) == ((1, STEPS), np.float64)
        alone = BATCH * STEPS / SECONDS[WARMUP:].sum()
        assert figures["workers"] == 2
        assert figures["images_per_second"] == pytest.approx(2 * alone / 3.0)
        everyones = np.concatenate([SECONDS[WARMUP:], 3.0 * SECONDS[WARMUP:]])
        assert [figures[name] for name in LATENCIES] == pytest.approx(latencies(everyones))

    @pytest.mark.parametrize("workers", [1, 2, 8])
    def test_equal_workers_multiply_the_rate_and_keep_the_latencies(self, workers):
        seconds = SECONDS[np.newaxis]
        one, all_of_them = step_figures(seconds, BATCH), step_figures(np.repeat(seconds, workers, axis=0), BATCH)
        assert all_of_them["images_per_second"] == pytest.approx(workers * one["images_per_second"])
        assert all_of_them["latency_mean"] == pytest.approx(one["latency_mean"])


class TestStepFigures:
    def test_by_hand(self):
        figures = step_figures([0.1, 0.3], 4)
        assert (figures["workers"], figures["images_per_second"]) == (1, pytest.approx(20.0))
        assert figures["latency_mean"] == pytest.approx(200.0)
        assert figures["latency_90"] == pytest.approx(280.0)

    def test_one_step_is_its_own_percentile(self):
        figures = step_figures([[0.25]], 2)
        assert [figures[name] for name in LATENCIES] == [250.0] * 4 and figures["images_per_second"] == 8.0

    def test_one_outlier_shows_in_the_tail_alone(self):
        figures = step_figures(np.array([0.1] * 199 + [5.0]), 1)
        assert figures["latency_90"] == figures["latency_99"] == pytest.approx(100.0)
        assert figures["latency_mean"] > 100.0

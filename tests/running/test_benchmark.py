import numpy as np
import pytest
from plans import plan_of, whole

from utils import data_loader
from utils.hooks.profiling_hook import step_figures
from utils.running import benchmark
from utils.sampling.augmentation import Augmentation
from utils.sampling.tiling import Whole
from utils.tf_runtime import tf


def elements(session, dataset):
    """Everything a dataset gives, as NumPy values."""
    following = tf.data.make_one_shot_iterator(dataset).get_next()
    found = []
    while True:
        try:
            found.append(session.run(following))
        except tf.errors.OutOfRangeError:
            return found


class TestCycled:
    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_goes_round_the_cases(self, kept_volumes, count):
        volumes = kept_volumes(3)
        cycled = benchmark.cycled(volumes, count)
        assert len(cycled) == count
        for index in range(count):
            assert np.array_equal(cycled.image(index), volumes.image(index % 3))


class TestRoundedUp:
    @pytest.mark.parametrize("cases", [1, 5, 6, 13])
    @pytest.mark.parametrize("rank", [0, 1])
    def test_makes_every_batch_of_every_worker_a_whole_one(self, cases, rank):
        count = benchmark.rounded_up(cases, 2 * 3)
        assert cases <= count < cases + 6
        plan = plan_of(count, 3, seed=0, augmentation=Augmentation(), workers=2, rank=rank)
        assert {len(plan.batch(step)[0]) for step in range(3 * plan.steps_per_epoch)} == {3}
        assert {plan.weight(step) for step in range(plan.steps_per_epoch)} == {1.0}


class TestSynthetic:
    @pytest.fixture
    def settings(self, params):
        return dict(params, batch_size=2, input_shape=[8, 4, 6], modalities=["T1", "T2"])

    def test_training_batches(self, session, settings):
        batches = elements(session, benchmark.synthetic_dataset(settings, 3, labelled=True))
        assert len(batches) == 3
        features, labels = batches[0]
        assert features["image"].shape == (2, 8, 4, 6, 2) and features["image"].dtype == np.float32
        assert labels.shape == (2, 8, 4, 6) and labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1, 2}
        assert features["weight"] == 1

    def test_the_same_batch_over_and_over(self, session, settings):
        first, second = elements(session, benchmark.synthetic_dataset(settings, 2, labelled=False))
        assert np.array_equal(first["image"], second["image"])
        assert first["image"].std() > 0.5

    def test_has_the_form_of_the_real_batches(self, graph, settings, kept_volumes):
        volumes = kept_volumes(4, shape=(8, 4, 6), channels=2)
        plan = plan_of(4, 2, 0, Augmentation())
        images = data_loader.streamed_dataset(
            lambda: data_loader.repeated_images(volumes, Whole((8, 4, 6)), 4), (8, 4, 6, 2), 2
        )
        pairs = [
            (data_loader.training_dataset(whole(volumes), plan, 0, 2), benchmark.synthetic_dataset(settings, 2, True)),
            (images, benchmark.synthetic_dataset(settings, 2, False)),
        ]
        for real, synthetic in pairs:
            types = tf.data.get_output_types(real)
            assert tf.data.get_output_types(synthetic) == types
            tf.nest.map_structure(
                lambda one, other: one.assert_is_compatible_with(other),
                tf.data.get_output_shapes(real),
                tf.data.get_output_shapes(synthetic),
            )


class TestResult:
    @pytest.fixture
    def result(self, params):
        figures = step_figures(np.array([[0.1, 0.1, 0.2], [0.1, 0.2, 0.1]]), 4)
        return benchmark.result(dict(params, batch_size=4, task="Tiny", amp=True), "train", figures)

    def test_figures(self, result):
        assert result["mode"] == "train"
        assert result["images_per_second"] == pytest.approx(2 * 12 / 0.4)
        assert result["latency_ms"]["mean"] == pytest.approx(800 / 6.0)
        assert list(result["latency_ms"]) == ["mean", "p90", "p95", "p99"]
        assert result["latency_ms"]["p99"] == pytest.approx(200)

    def test_names_settings_hardware_and_runtime(self, result):
        wanted = {"batch_size": 4, "workers": 2, "amp": True, "xla": False, "threads": 1, "input_shape": [8, 8, 8]}
        wanted.update(task="Tiny", synthetic=False, warmup_steps=200, benchmark_steps=200)
        assert wanted.items() <= result["settings"].items()
        assert set(result["hardware"]) == {"cpu", "instructions", "cores", "gpus"}
        assert result["runtime"]["tensorflow"].split()[1] == tf.__version__

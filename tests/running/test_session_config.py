from typing import NamedTuple

import numpy as np
import pytest

from utils import tf_runtime
from utils.running import session_config
from utils.running.workers import Workers
from utils.system import environment, hardware
from utils.tf_runtime import RUNTIME, tf

REWRITER_ON = 1


class Place(NamedTuple):
    """Where a worker stands among several."""

    launched: int
    local_rank: int


@pytest.fixture
def config(params):
    """Function: changes of the params, and workers -> (ConfigProto, notice)."""

    def make(workers=None, **changes):
        return session_config.session_config(dict(params, **changes), workers or Workers())

    return make


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(session_config, "gpus", list)


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(session_config, "gpus", lambda: ["/physical_device:GPU:0"])


def bfloat16(found):
    """The rewriter's setting; 0 is the default, also where TensorFlow has none."""
    return getattr(found.graph_options.rewrite_options, "auto_mixed_precision_onednn_bfloat16", 0)


def float16(found):
    return found.graph_options.rewrite_options.auto_mixed_precision


def jit_level(found):
    return found.graph_options.optimizer_options.global_jit_level


class TestThreads:
    @pytest.mark.parametrize("threads, between", [(1, 1), (2, 2), (6, 2)])
    def test_one_means_one_altogether(self, config, threads, between):
        found, notice = config(threads=threads)
        assert (found.intra_op_parallelism_threads, found.inter_op_parallelism_threads) == (threads, between)
        assert notice is None

    def test_without_a_number_the_share_of_the_cores(self, config, monkeypatch):
        monkeypatch.setattr(environment, "available_cores", lambda: 8)
        monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2")
        assert config(threads=None)[0].intra_op_parallelism_threads == 4


class TestCpuSession:
    @pytest.mark.parametrize("threads", [1, 2, 6])
    def test_has_the_threads_of_the_session_that_trains(self, config, params, threads):
        trains, beside = config(threads=threads)[0], session_config.cpu_session_config(dict(params, threads=threads))
        for name in "intra_op_parallelism_threads", "inter_op_parallelism_threads":
            assert getattr(trains, name) == getattr(beside, name) > 0

    def test_takes_no_gpu(self, params):
        assert session_config.cpu_session_config(params).device_count["GPU"] == 0


class TestMemoryOptimisation:
    def test_is_left_to_graphs_for_gpus(self, config, with_gpu):
        assert config(workers=Place(1, 0))[0].graph_options.rewrite_options.memory_optimization == 0

    def test_is_off_without_one(self, config, without_gpu):
        rewrites = config()[0].graph_options.rewrite_options
        assert rewrites.memory_optimization == rewrites.NO_MEM_OPT


class TestXla:
    def test_is_the_jit_level(self, config):
        assert jit_level(config(xla=True)[0]) == tf.OptimizerOptions.ON_1
        assert jit_level(config(xla=False)[0]) not in (tf.OptimizerOptions.ON_1, tf.OptimizerOptions.ON_2)


class TestMixedPrecision:
    @pytest.mark.skipif(RUNTIME != "tf2", reason="TensorFlow 1.15 has no mixed precision for CPUs")
    @pytest.mark.parametrize("known, slow", [(["avx2", "amx_bf16"], False), (["avx2", "avx512f"], True), ([], False)])
    def test_on_a_cpu_is_bfloat16_which_may_be_slow(self, config, without_gpu, monkeypatch, known, slow):
        monkeypatch.setattr(hardware, "vector_instructions", lambda: known)
        found, notice = config(amp=True)
        assert bfloat16(found) == REWRITER_ON
        assert (notice is not None) == slow
        assert not slow or notice.startswith("--amp: this CPU has no AMX")

    @pytest.mark.skipif(RUNTIME != "tf1", reason="TensorFlow 2 has mixed precision for CPUs")
    def test_where_there_is_none_a_line_says_so(self, config, without_gpu):
        found, notice = config(amp=True)
        assert notice.startswith("--amp: ") and "float32" in notice and "\n" not in notice
        assert found == config(amp=False)[0]

    def test_on_a_gpu_nothing_is_rewritten_for_cpus(self, config, with_gpu):
        found, notice = config(amp=True)
        assert bfloat16(found) != REWRITER_ON and notice is None

    def test_on_a_gpu_is_float16_whatever_the_session_does(self, config, with_gpu, monkeypatch):
        monkeypatch.setattr(tf_runtime, "_NVIDIA_BUILD", False)
        assert float16(config(amp=True)[0]) == REWRITER_ON

    def test_on_a_gpu_nvidias_build_sees_to_it_by_itself(self, config, with_gpu, monkeypatch):
        monkeypatch.setattr(tf_runtime, "_NVIDIA_BUILD", True)
        assert config(amp=True)[0] == config(amp=False)[0]

    def test_on_a_cpu_there_is_no_float16(self, config, without_gpu):
        assert float16(config(amp=True)[0]) == 0

    def test_is_off_without_the_flag(self, config, without_gpu):
        found, notice = config(amp=False)
        assert bfloat16(found) != REWRITER_ON and notice is None

    def test_is_off_on_a_gpu_without_the_flag(self, config, with_gpu):
        found, notice = config(amp=False)
        assert float16(found) == 0 and notice is None


class TestGpus:
    @pytest.mark.parametrize("place", [Place(2, 0), Place(2, 1), Place(16, 7)])
    def test_each_of_several_workers_has_its_own(self, config, monkeypatch, place):
        monkeypatch.setattr(session_config, "gpus", lambda: ["GPU"] * 8)
        assert config(place)[0].gpu_options.visible_device_list == str(place.local_rank)

    def test_a_worker_that_sees_one_takes_that(self, config, with_gpu):
        assert config(Place(4, 3))[0].gpu_options.visible_device_list == "0"

    def test_without_a_gpu_there_is_none_to_take(self, config, without_gpu):
        assert config(Place(2, 1))[0].gpu_options.visible_device_list == ""

    def test_one_worker_sees_them_all(self, config):
        assert config()[0].gpu_options.visible_device_list == ""

    def test_memory_is_taken_as_it_is_needed(self, config):
        found = config()[0]
        assert found.gpu_options.allow_growth and found.allow_soft_placement


@pytest.mark.parametrize("changes", [{}, {"amp": True}, {"xla": True}])
def test_a_session_runs_with_it(graph, config, changes):
    weight = tf.get_variable("weight", [64, 8])
    product = tf.matmul(tf.ones([4, 64]), weight)
    with tf.Session(config=config(**changes)[0]) as session:
        session.run(tf.global_variables_initializer())
        found, value = session.run([product, weight])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.ones([4, 64]).dot(value), atol=0.05)

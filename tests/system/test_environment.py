import os
import subprocess
import sys

import pytest
from command_line import PROJECT

from utils.system import environment

ALWAYS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "OMP_NUM_THREADS": "3",
    "KMP_BLOCKTIME": "0",
    "KMP_WARNINGS": "0",
    "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT": "1",
    "TF_GPU_THREAD_MODE": "gpu_private",
}
AMP = {"TF_ENABLE_AUTO_MIXED_PRECISION": "1"}
NO_TF32 = {"NVIDIA_TF32_OVERRIDE": "0"}
FOLDS = {"HOROVOD_STALL_CHECK_DISABLE": "1"}
XLA = {"TF_XLA_FLAGS": "--tf_xla_cpu_global_jit"}
LAUNCHERS = ["OMPI_COMM_WORLD_LOCAL_SIZE", "HOROVOD_LOCAL_SIZE", "MPI_LOCALNRANKS"]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """None of the variables is set; afterwards all are as they were."""
    for name in list(ALWAYS) + list(AMP) + list(XLA) + list(NO_TF32) + list(FOLDS) + LAUNCHERS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def params(**changes):
    return dict({"threads": 3, "amp": False, "xla": False, "no_tf32": False, "folds": 0}, **changes)


def configured(**changes):
    """The variables that configure sets or changes."""
    before = dict(os.environ)
    environment.configure(params(**changes))
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def run(code):
    """What Python code prints, in a process of its own."""
    return subprocess.check_output([sys.executable, "-c", code], cwd=PROJECT, universal_newlines=True).strip()


class TestConfigure:
    @pytest.mark.parametrize(
        "changes, more",
        [
            ({}, {}),
            ({"amp": True}, AMP),
            ({"xla": True}, XLA),
            ({"no_tf32": True}, NO_TF32),
            ({"folds": 5}, FOLDS),
            ({"amp": True, "xla": True}, dict(AMP, **XLA)),
        ],
    )
    def test_sets_what_is_asked_for_and_no_more(self, changes, more):
        assert configured(**changes) == dict(ALWAYS, **more)

    @pytest.mark.parametrize("name", sorted(list(ALWAYS) + list(AMP) + list(XLA) + list(NO_TF32) + list(FOLDS)))
    def test_a_users_own_value_wins(self, monkeypatch, name):
        monkeypatch.setenv(name, "7")
        changed = configured(amp=True, xla=True, no_tf32=True, folds=5)
        assert os.environ[name] == "7" and name not in changed and len(changed) == len(ALWAYS) + 3

    def test_a_second_time_changes_nothing(self):
        configured(amp=True)
        assert configured(amp=True, threads=2) == {}

    def test_does_not_load_tensorflow(self):
        code = (
            "import sys; from utils.system import environment;"
            "environment.configure({'threads': None, 'amp': True, 'xla': True, 'no_tf32': True, 'folds': 0});"
            "print(sorted(name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'numpy')))"
        )
        assert run(code) == "[]"


class TestThreads:
    @pytest.mark.parametrize("local_size", [None, "1", "4"])
    def test_those_asked_for(self, monkeypatch, local_size):
        if local_size:
            monkeypatch.setenv(LAUNCHERS[0], local_size)
        assert environment.threads(params(threads=3)) == 3

    @pytest.mark.parametrize("nothing", [None, 0])
    def test_alone_every_core_there_is(self, nothing):
        assert environment.threads(params(threads=nothing)) == environment.available_cores() > 0

    @pytest.mark.parametrize("launcher", LAUNCHERS)
    @pytest.mark.parametrize("cores, workers, share", [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (2, 16, 1)])
    def test_else_a_workers_share_of_the_cores(self, monkeypatch, launcher, cores, workers, share):
        monkeypatch.setattr(environment, "available_cores", lambda: cores)
        monkeypatch.setenv(launcher, str(workers))
        assert environment.threads(params(threads=None)) == share
        assert configured(threads=None)["OMP_NUM_THREADS"] == str(share)

    def test_only_the_cores_this_process_may_use(self):
        code = (
            "import os; from utils.system import environment;"
            "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
            "print(environment.available_cores(), environment.threads({'threads': None}))"
        )
        assert run(code) == "1 1"

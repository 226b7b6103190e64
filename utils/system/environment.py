"""Environment variables that TensorFlow reads while it loads.

``configure`` runs before ``utils.tf_runtime`` is imported; afterwards is too late for most of them.
"""

import os
import sys

from utils.system import launch
from utils.system.errors import UserError
from utils.system.progress import say


def available_cores():
    """Cores this process may use, which in a container or under a batch system are not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_of_cores():
    """This worker's share of them, 1 at least."""
    return max(1, available_cores() // launch.local_size())


def threads(params):
    """Threads of this worker: ``threads`` where it is set, else its share of the machine's cores."""
    return params["threads"] or share_of_cores()


def configure(params):
    """Set what the params ask for, and what keeps the terminal readable; a user's own value wins.

    Raises UserError for an interpreter in which TensorFlow cannot be loaded.
    """
    if sys.flags.optimize > 1:
        raise UserError(
            "PYTHONOPTIMIZE=2, or python -OO, takes away texts that TensorFlow reads: use 1, or -O, at most"
        )
    defaults = {"TF_CPP_MIN_LOG_LEVEL": "2"}
    # Builds with oneDNN over OpenMP (intel-tensorflow 1.15) take their threads from here; their workers
    # otherwise spin for 200 ms after each operation and starve the other thread pool.
    defaults["OMP_NUM_THREADS"] = str(threads(params))
    defaults["KMP_BLOCKTIME"] = "0"
    defaults["KMP_WARNINGS"] = "0"
    if params["amp"]:
        defaults["TF_ENABLE_AUTO_MIXED_PRECISION"] = "1"
    # On GPUs: batch statistics in one pass over the volume, and kernels launched from a thread of their own.
    defaults["TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"] = "1"
    defaults["TF_GPU_THREAD_MODE"] = "gpu_private"
    if params["no_tf32"]:
        defaults["NVIDIA_TF32_OVERRIDE"] = "0"
    if params["folds"]:
        # A worker whose folds are done waits for the others, and Horovod would tell of it every minute.
        defaults["HOROVOD_STALL_CHECK_DISABLE"] = "1"
    if params["xla"]:
        # Without it, the just-in-time level leaves a graph on a CPU as it is.
        defaults["TF_XLA_FLAGS"] = "--tf_xla_cpu_global_jit"
    if os.environ.pop("TF_CONFIG", None) is not None and launch.is_first():
        # The Estimator would wait for the machines that it names.
        say("TF_CONFIG is left out of account: several workers are started with mpirun or the scripts in examples/")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

"""How TensorFlow sessions run: threads, precision, XLA, memory."""

from utils.system import hardware
from utils.system.environment import threads
from utils.tf_runtime import cpu_mixed_precision, gpu_mixed_precision, gpus, tf


def session_config(params, workers):
    """The ``tf.ConfigProto`` the params ask for, and a line for the user where a wish can't be granted (or None).

    Of several ``workers``, a ``utils.running.workers.Workers``, each gets one GPU of its machine.
    """
    config = tf.ConfigProto(allow_soft_placement=True, **_parallelism(params))
    config.gpu_options.allow_growth = True
    if workers.launched > 1 and gpus():
        # Where the launcher gave each worker a GPU of its own, that is the only one it sees.
        config.gpu_options.visible_device_list = str(workers.local_rank % len(gpus()))
    if not gpus():
        # Swaps what a GPU has no room for; without one it only makes copies of the graph, weights and all.
        rewrites = config.graph_options.rewrite_options
        rewrites.memory_optimization = rewrites.NO_MEM_OPT
    if params["xla"]:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    if not params["amp"]:
        return config, None
    if not gpus():
        return config, _mixed_precision_notice(cpu_mixed_precision(config))
    # Training's optimizer asks for it too, where it is wrapped; evaluation and prediction have none.
    gpu_mixed_precision(config)
    return config, None


def _parallelism(params):
    count = threads(params)
    return {"intra_op_parallelism_threads": count, "inter_op_parallelism_threads": 1 if count == 1 else 2}


def cpu_session_config(params):
    """The ``tf.ConfigProto`` of a session beside the one that trains, without a GPU: that one decides who gets which.

    The first session of a process sizes the threads of all later ones: it must have them as they have.
    """
    return tf.ConfigProto(device_count={"GPU": 0}, **_parallelism(params))


def _mixed_precision_notice(granted):
    if not granted:
        return "--amp: this TensorFlow has no mixed precision for CPUs; going on in float32"
    known = hardware.vector_instructions()
    if known and "amx_bf16" not in known:
        return "--amp: this CPU has no AMX: bfloat16 may be slower than float32 (vnet_benchmark.py measures it)"
    return None

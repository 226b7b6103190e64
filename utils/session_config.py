"""How TensorFlow sessions run: threads, precision, XLA, memory."""

from utils.environment import threads
from utils.tf_runtime import cpu_mixed_precision, gpus, tf


def session_config(params, workers):
    """The ``tf.ConfigProto`` the params ask for, and a line for the user where a wish can't be granted (or None).

    Of several ``workers``, a ``utils.workers.Workers``, each gets one GPU of its machine.
    """
    config = tf.ConfigProto(
        intra_op_parallelism_threads=threads(params),
        inter_op_parallelism_threads=1 if threads(params) == 1 else 2,
        allow_soft_placement=True,
    )
    config.gpu_options.allow_growth = True
    if workers.size > 1 and gpus():
        # Where the launcher gave each worker a GPU of its own, that is the only one it sees.
        config.gpu_options.visible_device_list = str(workers.local_rank % len(gpus()))
    if params["xla"]:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    if params["amp"] and not gpus() and not cpu_mixed_precision(config):
        return config, "--amp: this TensorFlow has no mixed precision for CPUs; going on in float32"
    return config, None

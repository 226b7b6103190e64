"""The only module that imports TensorFlow and the only one that knows which TensorFlow it is.

Everything else takes ``tf``, the TensorFlow 1 API, from here:

    tf1   TensorFlow 1.15 on Python 3.6 to 3.8
    tf2   TensorFlow 2.15 on Python 3.9 to 3.11, through ``tensorflow.compat.v1``

Environment variables that TensorFlow reads while it loads are set before this module is imported, by
``utils.system.environment``.
"""

import os

import tensorflow.compat.v1 as tf

__all__ = [
    "RUNTIME",
    "convolve",
    "cpu_mixed_precision",
    "gpu_mixed_precision",
    "gpus",
    "normalise",
    "relu",
    "scale_loss",
    "tf",
    "version",
]

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()

RUNTIME = "tf1" if tf.__version__.startswith("1.") else "tf2"

_NVIDIA_BUILD = "NVIDIA_TENSORFLOW_VERSION" in os.environ
# The oneDNN of TensorFlow 1.15 for CPUs writes outside its memory in the gradients of two operations in 3-D.
_FAULTY_GRADIENTS = RUNTIME == "tf1" and not tf.test.is_built_with_cuda()
_RELU_GRADIENT = "VNetReluGradient"


def version():
    """The runtime and TensorFlow's own version, as one word pair such as ``tf2 2.15.1``."""
    return "{} {}".format(RUNTIME, tf.__version__)


def gpus():
    """Names of the GPUs TensorFlow can use; empty on a machine without one."""
    return [device.name for device in tf.config.experimental.list_physical_devices("GPU")]


def cpu_mixed_precision(session_config):
    """Switch TensorFlow's bfloat16 rewrite for CPUs on in a ``tf.ConfigProto``; False if it has none."""
    if RUNTIME == "tf1":
        return False
    from tensorflow.core.protobuf import rewriter_config_pb2

    rewrites = session_config.graph_options.rewrite_options
    rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return True


def gpu_mixed_precision(session_config):
    """Switch TensorFlow's float16 rewrite for GPUs on in a ``tf.ConfigProto``.

    NVIDIA's build does it by itself once TF_ENABLE_AUTO_MIXED_PRECISION is set, and must not be asked twice.
    """
    if not _NVIDIA_BUILD:
        rewrites = session_config.graph_options.rewrite_options
        rewrites.auto_mixed_precision = rewrites.ON


def convolve(images, kernel, stride=1, padding="same"):
    """2-D or 3-D convolution with a square or cubic kernel [S, S, C, F] or [S, S, S, C, F].

    [N, X, Y, C] -> [N, X', Y', F], and [N, X, Y, Z, C] alike: X / stride with ``padding`` "same", which puts zeros
    around the images, (X - S + 1) / stride with "valid".
    """
    axes = kernel.shape.ndims - 2
    operation = {2: tf.nn.conv2d, 3: tf.nn.conv3d}[axes]
    strides = [1] + axes * [stride] + [1]
    size = kernel.shape[0].value
    if _FAULTY_GRADIENTS and axes == 3 and padding == "same" and size > 3 and stride == 1:
        # Only grids smaller than the kernel fail: zeros put around the grid beforehand make it larger.
        margin = [size // 2, size // 2]
        images, padding = tf.pad(images, [[0, 0], margin, margin, margin, [0, 0]]), "valid"
    return operation(images, kernel, strides, padding=padding.upper())


def normalise(images, scale, offset, epsilon):
    """Batch normalisation of images [N, X, Y, C] or volumes [N, X, Y, Z, C] by the fused kernel.

    ``scale`` and ``offset`` are [C]. Same shape out, then the mean and the unbiased variance of each channel, [C] both.

    A volume is viewed as [N * X, Y, Z, C], since the statistics do not care which axes they run over: the kernels of
    tf1, and the oneDNN kernels of both, take four dimensions only. Not on the GPUs of tf2: there float32 convolutions
    put the channels first, and a view of other dimensions between them costs a transpose on either side.
    """
    if RUNTIME == "tf2" and images.shape.ndims == 5 and gpus():
        return tf.nn.fused_batch_norm(images, scale, offset, epsilon=epsilon, data_format="NDHWC")
    shape = images.shape.as_list()
    flat = tf.reshape(images, [-1] + shape[-3:])
    flat, mean, variance = tf.nn.fused_batch_norm(flat, scale, offset, epsilon=epsilon)
    return tf.reshape(flat, [-1] + shape[1:]), mean, variance


def relu(values):
    """ReLU; same shape out."""
    if not _FAULTY_GRADIENTS:
        return tf.nn.relu(values)
    with tf.get_default_graph().gradient_override_map({"Relu": _RELU_GRADIENT}):
        return tf.nn.relu(values)


@tf.RegisterGradient(_RELU_GRADIENT)
def _relu_gradient(operation, gradient):
    return tf.where(operation.outputs[0] > 0, gradient, tf.zeros_like(gradient))


def scale_loss(optimizer):
    """Wrap an optimizer for float16 on GPUs: dynamic loss scaling, and the graph rewrite of ``gpu_mixed_precision``.

    NVIDIA's build does both by itself, as there.
    """
    if _NVIDIA_BUILD:
        return optimizer
    return tf.train.experimental.enable_mixed_precision_graph_rewrite(optimizer)

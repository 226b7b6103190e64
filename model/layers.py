"""The blocks V-Net is built from (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, section 2).

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C channels.
Every volume is [N, X, Y, Z, C]; ``settings`` is the ``NetworkSettings`` of ``model/vnet.py``.
"""

import zlib

from utils.tf_runtime import conv3d, relu, tf

BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3
# The collection of the variables that prediction normalises with.
MOVING_STATISTICS = "moving_statistics"


def convolution(volume, filters, size, stride=1, bias=False):
    """Zero-padded 3-D convolution: [N, X, Y, Z, C] -> [N, X/stride, Y/stride, Z/stride, filters]."""
    channels = volume.shape[-1].value
    volume = conv3d(volume, _kernel([size, size, size, channels, filters]), stride)
    return _add_bias(volume, filters) if bias else volume


def transposed_convolution(volume, filters, bias=False):
    """Transposed 2x2x2 convolution of stride 2: [N, X, Y, Z, C] -> [N, 2X, 2Y, 2Z, filters]."""
    channels = volume.shape[-1].value
    kernel = _kernel([2, 2, 2, filters, channels])
    spatial = [2 * size for size in volume.shape[1:4].as_list()]
    shape = tf.stack([tf.shape(volume)[0]] + spatial + [filters])
    volume = tf.nn.conv3d_transpose(volume, kernel, shape, strides=[1, 2, 2, 2, 1], padding="SAME")
    volume.set_shape([None] + spatial + [filters])
    return _add_bias(volume, filters) if bias else volume


def _kernel(shape):
    """The kernel of this scope; uniform to begin with (Glorot and Bengio 2010, section 4.2.1).

    It is drawn from the graph's seed and its own name alone, so that one seed starts the same network on all
    versions of TensorFlow, whatever else is in the graph.
    """
    own_seed = zlib.crc32(tf.get_variable_scope().name.encode("utf-8")) & 0x7FFFFFFF
    return tf.get_variable("kernel", shape, initializer=tf.glorot_uniform_initializer(own_seed))


def _add_bias(volume, filters):
    return tf.nn.bias_add(volume, tf.get_variable("bias", [filters], initializer=tf.zeros_initializer()))


def batch_normalization(volume, training):
    """Batch normalisation over N, X, Y, Z (Ioffe and Szegedy 2015); same shape out.

    The volume is viewed as [N * X, Y, Z, C], because the fused kernels of both runtimes take four
    dimensions and the statistics do not care which axes they run over. In training each step moves the
    moving statistics by a hundredth towards the batch's mean and unbiased variance.
    """
    channels = volume.shape[-1].value
    scale = tf.get_variable("scale", [channels], initializer=tf.ones_initializer())
    offset = tf.get_variable("offset", [channels], initializer=tf.zeros_initializer())
    moving_mean = _moving_statistic("moving_mean", channels, tf.zeros_initializer())
    moving_variance = _moving_statistic("moving_variance", channels, tf.ones_initializer())
    spatial = volume.shape[1:4].as_list()
    flat = tf.reshape(volume, [-1, spatial[1], spatial[2], channels])
    if training:
        flat, mean, variance = tf.nn.fused_batch_norm(flat, scale, offset, epsilon=BATCH_NORM_EPSILON)
        for moving, current in ((moving_mean, mean), (moving_variance, variance)):
            update = tf.assign_sub(moving, (moving - current) * (1.0 - BATCH_NORM_MOMENTUM))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    else:
        flat, _, _ = tf.nn.fused_batch_norm(
            flat, scale, offset, moving_mean, moving_variance, epsilon=BATCH_NORM_EPSILON, is_training=False
        )
    return tf.reshape(flat, [-1] + spatial + [channels])


def _moving_statistic(name, channels, initializer):
    collections = [tf.GraphKeys.GLOBAL_VARIABLES, MOVING_STATISTICS]
    return tf.get_variable(name, [channels], initializer=initializer, trainable=False, collections=collections)


def activation(volume, settings):
    """ReLU, or PReLU with one slope per channel (He et al. 2015); same shape out."""
    if settings.activation == "relu":
        return relu(volume)
    slope = tf.get_variable("slope", [volume.shape[-1].value], initializer=tf.constant_initializer(0.25))
    return relu(volume) - slope * relu(-volume)


def normalised(volume, settings, training):
    """The normalisation asked for; same shape out."""
    if settings.normalization_layer == "none":
        return volume
    return batch_normalization(volume, training)


def convolution_unit(volume, filters, size, settings, training, stride=1):
    """Convolution, normalisation, activation: [N, X, Y, Z, C] -> [N, X/stride, Y/stride, Z/stride, filters]."""
    volume = convolution(volume, filters, size, stride, bias=settings.normalization_layer == "none")
    return activation(normalised(volume, settings, training), settings)


def residual_block(volume, depth, settings, training):
    """``depth`` convolutions whose result is added to what came in; same shape out."""
    filters = volume.shape[-1].value
    bias = settings.normalization_layer == "none"
    shortcut = volume
    for number in range(1, depth + 1):
        with tf.variable_scope("convolution_{}".format(number)):
            volume = convolution(volume, filters, settings.convolution_size, bias=bias)
            volume = normalised(volume, settings, training)
            if number == depth:
                volume += shortcut
            volume = activation(volume, settings)
    return volume


def input_block(volume, filters, settings, training):
    """The first convolution: [N, X, Y, Z, C] -> [N, X, Y, Z, filters]."""
    with tf.variable_scope("input"):
        return convolution_unit(volume, filters, settings.convolution_size, settings, training)


def down_block(volume, depth, settings, training):
    """Halve each side, double the channels, then a residual block: -> [N, X/2, Y/2, Z/2, 2C]."""
    filters = 2 * volume.shape[-1].value
    with tf.variable_scope("pooling"):
        if settings.pooling == "max_pool":
            volume = tf.nn.max_pool3d(volume, [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], padding="SAME")
            volume = convolution_unit(volume, filters, 1, settings, training)
        else:
            volume = convolution_unit(volume, filters, 2, settings, training, stride=2)
    return residual_block(volume, depth, settings, training)


def upsample(volume, filters, settings, training):
    """Double each side: [N, X, Y, Z, C] -> [N, 2X, 2Y, 2Z, filters]."""
    with tf.variable_scope("upsampling"):
        volume = transposed_convolution(volume, filters, bias=settings.normalization_layer == "none")
        return activation(normalised(volume, settings, training), settings)


def up_block(volume, skip, depth, settings, training):
    """Upsample to the skip connection's grid and channels, join it, then a residual block: -> [N, 2X, 2Y, 2Z, 2S].

    ``skip`` is [N, 2X, 2Y, 2Z, S].
    """
    volume = upsample(volume, skip.shape[-1].value, settings, training)
    volume = tf.concat([volume, skip], axis=-1)
    return residual_block(volume, depth, settings, training)


def output_block(volume, classes, settings):
    """The convolution to one logit per class: [N, X, Y, Z, C] -> [N, X, Y, Z, classes]."""
    with tf.variable_scope("output"):
        return convolution(volume, classes, settings.convolution_size, bias=True)

"""The layers of both networks, and the blocks V-Net is built from (Milletari et al. 2016, arXiv:1606.04797, section 2).

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C channels.
Every volume is [N, X, Y, Z, C]. What does not name the axis z takes images [N, X, Y, C] alike; a kernel that is cubic
for volumes is square for images. ``settings`` is the ``VNetSettings`` of ``model/vnet.py``, and where nothing but
its activation, normalisation, padding and initial weights counts, that of ``model/unet.py`` too.
"""

import zlib

from utils.tf_runtime import convolve, normalise, relu, tf

BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3
# The collection of the variables that prediction normalises with.
MOVING_STATISTICS = "moving_statistics"


def convolution(volume, filters, size, finish, stride=1, padding="same", initial_weights="glorot_uniform"):
    """Convolution: [N, X, Y, Z, C] -> [N, X/stride, Y/stride, Z/stride, filters], zero-padded.

    With ``padding`` "valid" each side loses ``size`` - 1 voxels instead. ``finish`` is one of the functions
    ``normalisation`` chooses from: what follows the convolution.
    """
    axes, channels = volume.shape.ndims - 2, volume.shape[-1].value
    kernel = _kernel(axes * [size] + [channels, filters], initial_weights, size**axes * channels)
    return finish(lambda weights: convolve(volume, weights, stride, padding), kernel, filters_axis=axes + 1)


def transposed_convolution(volume, filters, finish, initial_weights="glorot_uniform"):
    """Transposed 2x2x2 convolution of stride 2: [N, X, Y, Z, C] -> [N, 2X, 2Y, 2Z, filters]; ``finish`` as above."""
    axes, channels = volume.shape.ndims - 2, volume.shape[-1].value
    spatial = [2 * size for size in volume.shape[1:-1].as_list()]
    shape = tf.stack([tf.shape(volume)[0]] + spatial + [filters])
    transpose = {2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}[axes]

    def transposed(weights):
        result = transpose(volume, weights, shape, strides=[1] + axes * [2] + [1], padding="SAME")
        result.set_shape([None] + spatial + [filters])
        return result

    kernel = _kernel(axes * [2] + [filters, channels], initial_weights, channels)
    return finish(transposed, kernel, filters_axis=axes)


def _kernel(shape, initial_weights, inputs):
    """The kernel of this scope, to begin with uniform or normal.

    ``glorot_uniform``: Glorot and Bengio 2010, section 4.2.1. ``he_normal``: standard deviation sqrt(2 / ``inputs``),
    the number of values that an output follows from (He et al. 2015, arXiv:1502.01852, section 2.2).

    It is drawn from the graph's seed and its own name alone, so that one seed starts the same network on all
    versions of TensorFlow, whatever else is in the graph.
    """
    own_seed = zlib.crc32(tf.get_variable_scope().name.encode("utf-8")) & 0x7FFFFFFF
    if initial_weights == "he_normal":
        initializer = tf.random_normal_initializer(stddev=(2.0 / inputs) ** 0.5, seed=own_seed)
    else:
        initializer = tf.glorot_uniform_initializer(own_seed)
    return tf.get_variable("kernel", shape, initializer=initializer)


def normalisation(settings, training):
    """What follows a convolution: ``biased``, ``batch_normalised`` or ``folded``.

    Each is a function (convolve, kernel, filters_axis): ``convolve`` makes a volume of the kernel, whose axis
    ``filters_axis`` is that of the output channels.
    """
    if settings.normalization_layer == "none":
        return biased
    return batch_normalised if training else folded


def biased(convolve, kernel, filters_axis):
    """The convolution plus a bias per channel."""
    bias = tf.get_variable("bias", [kernel.shape[filters_axis].value], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(convolve(kernel), bias)


def batch_normalised(convolve, kernel, filters_axis):
    """The convolution, normalised over N, X, Y, Z (Ioffe and Szegedy 2015).

    Each step moves the moving statistics by a hundredth towards the batch's mean and unbiased variance.
    """
    volume = convolve(kernel)
    scale, offset, moving_mean, moving_variance = _normalising_variables(kernel.shape[filters_axis].value)
    volume, mean, variance = normalise(volume, scale, offset, BATCH_NORM_EPSILON)
    for moving, current in ((moving_mean, mean), (moving_variance, variance)):
        update = tf.assign_sub(moving, (moving - current) * (1.0 - BATCH_NORM_MOMENTUM))
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    return volume


def folded(convolve, kernel, filters_axis):
    """The convolution, normalised with the moving statistics.

    That scales and shifts each channel, and a scaled channel is one of a scaled kernel: one pass over the
    volume less (Jacob et al. 2018, arXiv:1712.05877, section 3.2).
    """
    scale, offset, moving_mean, moving_variance = _normalising_variables(kernel.shape[filters_axis].value)
    factor = scale * tf.rsqrt(moving_variance + BATCH_NORM_EPSILON)
    trailing_axes = [1] * (kernel.shape.ndims - 1 - filters_axis)
    weights = kernel * tf.reshape(factor, [-1] + trailing_axes)
    return tf.nn.bias_add(convolve(weights), offset - moving_mean * factor)


def _normalising_variables(channels):
    """Scale, offset, moving mean and moving variance [channels] of this scope."""
    return (
        tf.get_variable("scale", [channels], initializer=tf.ones_initializer()),
        tf.get_variable("offset", [channels], initializer=tf.zeros_initializer()),
        _moving_statistic("moving_mean", channels, tf.zeros_initializer()),
        _moving_statistic("moving_variance", channels, tf.ones_initializer()),
    )


def _moving_statistic(name, channels, initializer):
    collections = [tf.GraphKeys.GLOBAL_VARIABLES, MOVING_STATISTICS]
    return tf.get_variable(name, [channels], initializer=initializer, trainable=False, collections=collections)


def activation(volume, settings):
    """ReLU, or PReLU with one slope per channel (He et al. 2015); same shape out."""
    if settings.activation == "relu":
        return relu(volume)
    slope = tf.get_variable("slope", [volume.shape[-1].value], initializer=tf.constant_initializer(0.25))
    return relu(volume) - slope * relu(-volume)


def convolution_unit(volume, filters, size, settings, training, stride=1):
    """Convolution, normalisation, activation: [N, X, Y, Z, C] -> [N, X/stride, Y/stride, Z/stride, filters].

    The settings' padding is that of ``convolution``.
    """
    finish = normalisation(settings, training)
    volume = convolution(volume, filters, size, finish, stride, settings.padding, settings.initial_weights)
    return activation(volume, settings)


def max_pooling(volume):
    """The largest of each 2x2x2 voxels: [N, X, Y, Z, C] -> [N, X/2, Y/2, Z/2, C]."""
    axes = volume.shape.ndims - 2
    pool = {2: tf.nn.max_pool2d, 3: tf.nn.max_pool3d}[axes]
    strides = [1] + axes * [2] + [1]
    return pool(volume, strides, strides, padding="SAME")


def dropout(volume, rate):
    """Values dropped at random, the others scaled up by 1 / (1 - ``rate``), in training (Hinton et al. 2012).

    Which ones follows from the graph's seed, the global step and the scope's name alone, so that a run that was
    interrupted goes on as it would have.
    """
    name = zlib.crc32(tf.get_variable_scope().name.encode("utf-8")) & 0x7FFFFFFF
    graph_seed = tf.get_default_graph().seed or 0
    step = tf.cast(tf.train.get_global_step(), tf.int32)
    chances = tf.random.stateless_uniform(tf.shape(volume), tf.stack([name ^ graph_seed, step]))
    return tf.where(chances < rate, tf.zeros_like(volume), volume / (1.0 - rate))


def residual_block(volume, depth, settings, training):
    """``depth`` convolutions whose result is added to what came in; same shape out."""
    filters = volume.shape[-1].value
    shortcut = volume
    for number in range(1, depth + 1):
        with tf.variable_scope("convolution_{}".format(number)):
            volume = convolution(volume, filters, settings.convolution_size, normalisation(settings, training))
            if number == depth:
                # Not ``+``, whose gradient looks for axes to sum over where the number of images is open.
                volume = tf.add_n([volume, shortcut])
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
            volume = max_pooling(volume)
            volume = convolution_unit(volume, filters, 1, settings, training)
        else:
            volume = convolution_unit(volume, filters, 2, settings, training, stride=2)
    return residual_block(volume, depth, settings, training)


def upsample(volume, filters, settings, training):
    """Double each side: [N, X, Y, Z, C] -> [N, 2X, 2Y, 2Z, filters]."""
    with tf.variable_scope("upsampling"):
        finish = normalisation(settings, training)
        return activation(transposed_convolution(volume, filters, finish, settings.initial_weights), settings)


def up_block(volume, skip, depth, settings, training):
    """Upsample to the skip connection's grid and channels, join it, then a residual block: -> [N, 2X, 2Y, 2Z, 2S].

    ``skip`` is [N, 2X, 2Y, 2Z, S].
    """
    volume = upsample(volume, skip.shape[-1].value, settings, training)
    volume = tf.concat([volume, skip], axis=-1)
    return residual_block(volume, depth, settings, training)


def output_block(volume, settings):
    """The convolution to one logit for each of the K classes: [N, X, Y, Z, C] -> [N, X, Y, Z, K]."""
    with tf.variable_scope("output"):
        return convolution(volume, settings.classes, settings.convolution_size, biased)


def supervised_block(volume, classes):
    """The 1x1x1 convolution to one logit per class of a coarser grid: [N, X, Y, Z, C] -> [N, X, Y, Z, classes]."""
    with tf.variable_scope("supervision"):
        return convolution(volume, classes, 1, biased)

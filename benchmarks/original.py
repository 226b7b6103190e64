"""A plain transcription of the graph that the original recipe describes, in float32, on this TensorFlow.

Convolutions with biases and batch normalisation are those of `tf.layers` as they come, on five dimensions; the loss
is the soft Dice of one-hot labels; the optimizer's gradients are applied as they are. The environment variables are
the recipe's, so that only graphs are compared; the session's options are TensorFlow's own, but in whole runs
(`benchmarks/original_run.py`), where they are the recipe's too.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes.
"""

import warnings

from benchmarks import graphs
from benchmarks.contender import Built
from benchmarks.network import BASE_FILTERS, LEARNING_RATE, Network
from benchmarks.ours import params_of
from utils.system import environment


def build(given, contender):
    """Returns the `Built` of the cells."""
    environment.configure(params_of(given.network, amp=False))
    from utils.tf_runtime import version

    made, steps = 0, {}
    for name in given.cells:
        kind, size = name.split(":")
        step, made = (_training if kind == "train" else _prediction)(given.network, int(size))
        steps[name] = step, int(size)
    return Built(version(), made, steps)


def logits_of(images, network, training):
    """Logits float32 [N, X, Y, Z, K] of images [N, X, Y, Z, C]."""
    from utils.tf_runtime import tf

    with warnings.catch_warnings():
        # TensorFlow 2 says of each layer that it belongs to TensorFlow 1.
        warnings.simplefilter("ignore")
        volume = _unit(tf.layers.conv3d(images, BASE_FILTERS, 3, padding="same"), training)
        skips = []
        for depth in network.downscale_blocks:
            skips.append(volume)
            filters = 2 * volume.shape[-1].value
            volume = _unit(tf.layers.conv3d(volume, filters, 2, strides=2, padding="same"), training)
            volume = _residual_block(volume, depth, training)
        for depth in network.upscale_blocks:
            skip = skips.pop()
            volume = _upsample(volume, skip.shape[-1].value, training)
            volume = _residual_block(tf.concat([volume, skip], axis=-1), depth, training)
        if skips:
            volume = _upsample(volume, BASE_FILTERS, training)
        return tf.layers.conv3d(volume, network.classes, 3, padding="same")


def _unit(volume, training, shortcut=None):
    from utils.tf_runtime import tf

    volume = tf.layers.batch_normalization(volume, training=training)
    return tf.nn.relu(volume if shortcut is None else volume + shortcut)


def _residual_block(volume, depth, training):
    from utils.tf_runtime import tf

    shortcut, filters = volume, volume.shape[-1].value
    for number in range(1, depth + 1):
        volume = tf.layers.conv3d(volume, filters, 3, padding="same")
        volume = _unit(volume, training, shortcut if number == depth else None)
    return volume


def _upsample(volume, filters, training):
    from utils.tf_runtime import tf

    return _unit(tf.layers.conv3d_transpose(volume, filters, 2, strides=2, padding="same"), training)


def dice_loss(logits, labels):
    """One minus the mean soft Dice of classes and cases: float32 scalar, of labels uint8 [N, X, Y, Z]."""
    from utils.tf_runtime import tf

    classes = logits.shape[-1].value
    voxels = logits.shape[1:-1].num_elements()
    probabilities = tf.reshape(tf.nn.softmax(logits), [-1, voxels, classes])
    truth = tf.reshape(tf.one_hot(labels, classes), [-1, voxels, classes])
    overlap = tf.reduce_sum(probabilities * truth, axis=1)
    size = tf.reduce_sum(probabilities * probabilities + truth * truth, axis=1)
    return 1.0 - tf.reduce_mean((2.0 * overlap + 1e-6) / (size + 1e-6))


def minimise(loss, learning_rate):
    """One operation that applies the gradients of a loss as they are, and moves the statistics of the batches."""
    from utils.tf_runtime import tf

    optimizer = tf.train.RMSPropOptimizer(learning_rate, momentum=0.0, centered=True)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(loss, global_step=tf.train.get_or_create_global_step())


def model_fn(features, labels, mode, params, config):
    """The Estimator's model function, of the arguments of that of `model/model_fn.py`, in training and prediction.

    Of what the params ask for, it has the network's shape and the learning rate.
    """
    from model.model_fn import scaffold
    from utils.tf_runtime import tf

    shapes = [tuple(params[name]) for name in ("input_shape", "downscale_blocks", "upscale_blocks")]
    network = Network(*shapes, channels=len(params["modalities"]), classes=len(params["labels"]))
    training = mode == tf.estimator.ModeKeys.TRAIN
    logits = logits_of(features["image"], network, training)
    if not training:
        return tf.estimator.EstimatorSpec(mode, predictions={"probabilities": tf.nn.softmax(logits)})
    loss = tf.identity(dice_loss(logits, labels), name="loss")
    train_op = minimise(loss, params["base_lr"])
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, scaffold=scaffold(config.keep_checkpoint_max))


def _training(network, size):
    """A function that does one step of training and returns the loss; and the number of parameters trained."""
    from utils.tf_runtime import tf

    with tf.Graph().as_default():
        tf.set_random_seed(0)
        images, labels, fed = graphs.placeholders(network, size, open_batch=False)
        loss = dice_loss(logits_of(images, network, training=True), labels)
        train_op = minimise(loss, LEARNING_RATE)
        session = graphs.session()
        return lambda: session.run([loss, train_op], fed)[0], graphs.parameters()


def _prediction(network, size):
    """A function that predicts one batch and returns one of its probabilities; and the number of parameters."""
    from utils.tf_runtime import tf

    with tf.Graph().as_default():
        tf.set_random_seed(0)
        images, labels, fed = graphs.placeholders(network, size, open_batch=False)
        del fed[labels]
        probabilities = tf.nn.softmax(logits_of(images, network, training=False))
        session = graphs.session()
        return lambda: session.run(probabilities, fed).flat[0], graphs.parameters()

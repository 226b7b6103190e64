"""What the contenders on TensorFlow share: the one batch they work on, over and over, sessions, parameter counts."""

import numpy as np


def placeholders(network, size, open_batch):
    """A placeholder of images, one of labels, and what to feed both with; `open_batch`: the graph knows no batch size.

    They are fed, since the work on what a graph holds as a constant is done before it is timed.
    """
    from utils.tf_runtime import tf

    arrays = batch(network, size)
    made = [tf.placeholder(array.dtype, (None if open_batch else size,) + array.shape[1:]) for array in arrays]
    return made[0], made[1], dict(zip(made, arrays))


def batch(network, size):
    """Returns images float32 [N, X, Y, Z, C] and labels uint8 [N, X, Y, Z] of noise, the same every time."""
    random = np.random.RandomState(0)
    shape = (size,) + tuple(network.input_shape)
    images = random.randn(*shape + (network.channels,)).astype(np.float32)
    return images, random.randint(network.classes, size=shape).astype(np.uint8)


def session(config=None):
    """A session of the default graph, with fresh variables."""
    from utils.tf_runtime import tf

    started = tf.Session(config=config)
    started.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return started


def parameters():
    """How many numbers the default graph trains."""
    from utils.tf_runtime import tf

    return sum(variable.shape.num_elements() for variable in tf.trainable_variables())

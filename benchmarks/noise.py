"""The one batch that contenders on TensorFlow work on, over and over."""

import numpy as np


def batch(network, size):
    """Returns images float32 [N, X, Y, Z, C] and labels uint8 [N, X, Y, Z] of noise, the same every time."""
    random = np.random.RandomState(0)
    shape = (size,) + tuple(network.input_shape)
    images = random.randn(*shape + (network.channels,)).astype(np.float32)
    return images, random.randint(network.classes, size=shape).astype(np.uint8)

"""Settings of networks to build, and their values."""

import numpy as np

from model.vnet import VNetSettings
from utils.tf_runtime import tf

DEFAULT = VNetSettings(
    classes=3,
    downscale_blocks=(3, 3, 3),
    upscale_blocks=(3, 3),
    convolution_size=3,
    activation="relu",
    normalization_layer="batchnorm",
    pooling="conv_pool",
)


def settings(**changes):
    """Return the default settings with changes."""
    return DEFAULT._replace(**changes)


def variable(name):
    """Return the variable of the default graph whose name ends with `name`, such as "input/kernel"."""
    matches = [found for found in tf.global_variables() if ("/" + found.op.name).endswith("/" + name)]
    assert len(matches) == 1, [found.op.name for found in tf.global_variables()]
    return matches[0]


def random_volume(*shape):
    """Return np.float32 of `shape` with values about zero, always the same."""
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)

"""How many items are predicted at a time; known without loading TensorFlow."""

from utils.config.network_rules import filters, seen_shape
from utils.system import memory

# What the first convolution gives that keeps a CPU and a GPU busy in prediction; more takes memory, and time to the
# first mask, for little.
PREDICTED_VALUES = {False: 8 * 32**3 * 16, True: 32 * 32**3 * 16}


def prediction_batch_size(params, on_gpu):
    """Items to predict at a time where the user has not said how many."""
    values = memory.voxels(seen_shape(params, params["input_shape"])) * filters(params)
    return max(1, PREDICTED_VALUES[on_gpu] // values)

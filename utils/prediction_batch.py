"""How many items are predicted at a time; known without loading TensorFlow."""

from utils import memory

# What keeps a CPU and a GPU busy in prediction; more takes memory, and time to the first mask, for little.
PREDICTED_VOXELS = {False: 8 * 32**3, True: 32 * 32**3}


def prediction_batch_size(input_shape, on_gpu):
    """Items to predict at a time where the user has not said how many."""
    return max(1, PREDICTED_VOXELS[on_gpu] // memory.voxels(input_shape))

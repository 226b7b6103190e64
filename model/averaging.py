"""Several opinions on the same images, averaged: those of several networks, and of one about mirrored images.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes.
"""

import itertools

from utils.tf_runtime import tf

AXES = {"x": 1, "y": 2, "z": 3}


def mirrorings(axes):
    """Every choice of some of ``axes`` ("x", "y", "z"), none and all included, as axes of a batch: a list of lists."""
    numbers = sorted(AXES[axis] for axis in set(axes))
    return [list(some) for count in range(len(numbers) + 1) for some in itertools.combinations(numbers, count)]


def mean_probabilities(images, networks, flip_axes):
    """Probabilities [N, X, Y, Z, K] of images [N, X, Y, Z, C], averaged over networks and mirrorings.

    Args:
        images: float32 [N, X, Y, Z, C].
        networks: functions from images to probabilities.
        flip_axes: axes of which every mirroring is predicted and mirrored back; empty for the image as it is.
    """
    flips = mirrorings(flip_axes)
    # One batch of all mirrorings, so that each network is in the graph once.
    batch = _joined([_mirrored(images, axes) for axes in flips])  # [F * N, X, Y, Z, C]
    probabilities = _mean([network(batch) for network in networks])  # [F * N, X, Y, Z, K]
    parts = tf.split(probabilities, len(flips)) if len(flips) > 1 else [probabilities]
    return _mean([_mirrored(part, axes) for part, axes in zip(parts, flips)])


def _mirrored(batch, axes):
    return tf.reverse(batch, axes) if axes else batch


def _joined(batches):
    return tf.concat(batches, axis=0) if len(batches) > 1 else batches[0]


def _mean(tensors):
    return tf.add_n(tensors) / len(tensors) if len(tensors) > 1 else tensors[0]

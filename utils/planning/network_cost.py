"""What a network takes: the values and weights it holds, and so its memory. Known without loading TensorFlow.

The constants are those of peaks of resident memory measured with both networks; see ``benchmarks/NOTES.md``.
"""

from typing import NamedTuple

from utils.config.network_flags import UNET
from utils.config.network_rules import BASE_FILTERS, seen_shape
from utils.system import memory

# Python, its libraries, TensorFlow and a session, in bytes.
BASE = {"training": 575e6, "prediction": 530e6}
# Of the weights: with what the optimizer keeps, gradients and checkpoints; and as constants of a graph, which
# TensorFlow rewrites several times.
COPIES_OF_WEIGHTS = {"training": 7.0, "prediction": 15.5}
# Of the values that training keeps for the way back, and of the largest ones in prediction, which keeps none.
COPIES_OF_VALUES = {"training": 2.3, "prediction": 3.5}
HALF = 0.5


class Layer(NamedTuple):
    """What a layer gives for one item, its voxels and channels; and its weights."""

    voxels: int
    channels: int
    weights: int = 0

    @property
    def values(self):
        """How many numbers it gives."""
        return self.voxels * self.channels


def needed(settings, part, shape, batch_size):
    """Bytes that ``part``, "training" or "prediction", takes with items of ``shape`` (U, V, W).

    ``settings`` are params with "modalities" and "labels".
    """
    found = layers(settings, shape)
    values = [layer.values for layer in found]
    number = memory.FLOAT * (HALF if settings["amp"] else 1)
    held = sum(values) if part == "training" else max(values)
    return (
        BASE[part]
        + COPIES_OF_WEIGHTS[part] * memory.FLOAT * sum(layer.weights for layer in found)
        + COPIES_OF_VALUES[part] * number * held * batch_size
    )


def layers(settings, shape):
    """The ``Layer`` of each convolution and each concatenation of the network of ``settings`` (params), in order."""
    make = _unet if settings["model"] == UNET else _vnet
    voxels = memory.voxels(seen_shape(settings, shape))
    return make(settings, voxels, len(settings["modalities"]), len(settings["labels"]))


def _vnet(settings, voxels, channels, classes):
    """See ``model/vnet.py``."""
    size, filters, skips = settings["convolution_size"] ** 3, BASE_FILTERS, []
    found = [Layer(voxels, filters, size * channels * filters)]
    for depth in settings["downscale_blocks"]:
        skips.append((voxels, filters))
        voxels, filters = voxels // 8, 2 * filters
        found.append(Layer(voxels, filters, 8 * filters * filters // 2))
        found += [Layer(voxels, filters, size * filters**2)] * depth
    for depth in settings["upscale_blocks"]:
        below, (voxels, filters) = filters, skips.pop()
        found += [Layer(voxels, filters, 8 * below * filters), Layer(voxels, 2 * filters)]
        filters *= 2
        found += [Layer(voxels, filters, size * filters**2)] * depth
    if skips:
        below, (voxels, filters) = filters, skips.pop()
        found.append(Layer(voxels, filters, 8 * below * filters))
    return found + [Layer(voxels, classes, size * filters * classes)]


def _unet(settings, voxels, channels, classes):
    """See ``model/unet.py``: as if no convolution took anything off the borders."""
    filters, skips, found = settings["filters"], [], []
    for _ in range(settings["levels"]):
        found += _two_convolutions(voxels, channels, filters)
        skips.append((voxels, filters))
        voxels, channels, filters = voxels // 4, filters, 2 * filters
        found.append(Layer(voxels, channels))
    found += _two_convolutions(voxels, channels, filters)
    while skips:
        below, (voxels, filters) = filters, skips.pop()
        found += [Layer(voxels, filters, 4 * below * filters), Layer(voxels, 2 * filters)]
        found += _two_convolutions(voxels, 2 * filters, filters)
    return found + [Layer(voxels, classes, filters * classes)]


def _two_convolutions(voxels, channels, filters):
    return [Layer(voxels, filters, 9 * channels * filters), Layer(voxels, filters, 9 * filters * filters)]

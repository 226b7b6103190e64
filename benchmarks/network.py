"""The network that all contenders run, as numbers: its convolutions, its parameters, its arithmetic.

Known without loading TensorFlow or PyTorch. A floating-point operation (FLOP) is one multiplication or one
addition of a convolution; everything else in the network is small beside them and is not counted.
"""

from typing import NamedTuple, Tuple

BASE_FILTERS = 16
BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3
CLIP_NORM = 1.0
LEARNING_RATE = 0.0001


class Network(NamedTuple):
    """V-Net's shape: the grid of its input in voxels, channels, classes, and the depth of each residual block."""

    input_shape: Tuple[int, ...] = (32, 32, 32)
    downscale_blocks: Tuple[int, ...] = (3, 3, 3)
    upscale_blocks: Tuple[int, ...] = (3, 3)
    channels: int = 1
    classes: int = 3


class Convolution(NamedTuple):
    """One convolution, transposed ones included.

    Attributes:
        size: side of its cubic kernel.
        inputs, outputs: channels.
        voxels: places its kernel is applied at, which for a transposed one are those of its input.
        normalised: whether batch normalisation follows.
    """

    size: int
    inputs: int
    outputs: int
    voxels: int
    normalised: bool = True

    @property
    def weights(self):
        """Elements of its kernel."""
        return self.size**3 * self.inputs * self.outputs

    @property
    def flop(self):
        """Of one image; padding counts as voxels do."""
        return 2 * self.voxels * self.weights


def convolutions(network):
    """Returns the list of `Convolution`s of a `Network`, in the order of the graph."""
    voxels = network.input_shape[0] * network.input_shape[1] * network.input_shape[2]
    filters = BASE_FILTERS
    found = [Convolution(3, network.channels, filters, voxels)]
    skips = []
    for depth in network.downscale_blocks:
        skips.append((filters, voxels))
        voxels //= 8
        found.append(Convolution(2, filters, 2 * filters, voxels))
        filters *= 2
        found += [Convolution(3, filters, filters, voxels)] * depth
    for depth in network.upscale_blocks:
        skipped, finer = skips.pop()
        found.append(Convolution(2, filters, skipped, voxels))
        filters, voxels = 2 * skipped, finer
        found += [Convolution(3, filters, filters, voxels)] * depth
    if skips:
        found.append(Convolution(2, filters, BASE_FILTERS, voxels))
        filters, voxels = BASE_FILTERS, 8 * voxels
    found.append(Convolution(3, filters, network.classes, voxels, normalised=False))
    return found


def parameters(network, biases=False):
    """Returns the number of trained parameters; with `biases`, every convolution has one, also before batch norm."""
    count = 0
    for convolution in convolutions(network):
        count += convolution.weights
        count += 2 * convolution.outputs if convolution.normalised else 0
        count += convolution.outputs if biases or not convolution.normalised else 0
    return count


def forward_gflop(network):
    """Returns the GFLOP of one image forward."""
    return sum(convolution.flop for convolution in convolutions(network)) / 1e9


def trained_gflop(network):
    """Returns the GFLOP of one image trained: forward, and as much for each of the two gradients.

    The first convolution has one gradient only: nobody asks for the image's.
    """
    return 3 * forward_gflop(network) - convolutions(network)[0].flop / 1e9


def gflop(network, kind):
    """Returns the GFLOP of one image of kind "train" or "predict"."""
    return {"train": trained_gflop, "predict": forward_gflop}[kind](network)

"""The benchmark's contenders are one network: its convolutions, parameters and arithmetic are those counted."""

import numpy as np
import pytest
from networks import DEFAULT

from benchmarks import original
from benchmarks.network import BASE_FILTERS, Network, convolutions, forward_gflop, parameters, trained_gflop
from model.losses import segmentation_loss
from model.vnet import vnet
from utils.tf_runtime import tf

SMALL = Network(input_shape=(8, 4, 6), downscale_blocks=(2,), upscale_blocks=(1,), channels=2)
DICE = {"loss": "dice"}
NETWORKS = [Network(), Network(upscale_blocks=(3, 3, 3)), SMALL, Network((16, 16, 32), (1, 2), (1,), classes=4)]


def logits_of(network, name):
    images = tf.zeros((1,) + tuple(network.input_shape) + (network.channels,))
    if name == "original":
        return original.logits_of(images, network, training=True)
    settings = DEFAULT._replace(
        classes=network.classes,
        downscale_blocks=network.downscale_blocks,
        upscale_blocks=network.upscale_blocks,
    )
    return vnet(images, settings, training=True)


def trained():
    return sum(variable.shape.num_elements() for variable in tf.trainable_variables())


def places_and_kernel(operation):
    """What a convolution's arithmetic follows from; a transposed one is the other's gradient."""
    if operation.type == "Conv3D":
        return operation.outputs[0].shape[1:4].num_elements(), operation.inputs[1].shape.as_list()
    return operation.inputs[2].shape[1:4].num_elements(), operation.inputs[1].shape.as_list()


@pytest.mark.usefixtures("graph")
class TestParameters:
    @pytest.mark.parametrize("network", NETWORKS)
    def test_ours(self, network):
        logits_of(network, "ours")
        assert trained() == parameters(network)

    @pytest.mark.parametrize("network", NETWORKS)
    def test_the_originals_has_a_bias_for_each_filter_besides(self, network):
        logits_of(network, "original")
        biases = sum(convolution.outputs for convolution in convolutions(network)[:-1])
        assert trained() == parameters(network, biases=True) == parameters(network) + biases

    def test_are_as_many_as_the_recipe_says(self):
        assert 3.55e6 < parameters(Network()) < 3.65e6


@pytest.mark.usefixtures("graph")
class TestArithmetic:
    @pytest.mark.parametrize("name", ["ours", "original"])
    @pytest.mark.parametrize("network", NETWORKS[1:])
    def test_convolutions_are_those_of_the_graph(self, graph, network, name):
        logits_of(network, name)
        found = [
            places_and_kernel(operation)
            for operation in graph.get_operations()
            if operation.type in ("Conv3D", "Conv3DBackpropInputV2")
        ]
        expected = [(convolution.voxels, convolution.weights) for convolution in convolutions(network)]
        assert [(places, int(np.prod(kernel))) for places, kernel in found] == expected

    def test_by_hand(self):
        """One level of depth 1: two 3x3x3 convolutions on each of two grids, one down, one up, and the output."""
        network = Network(input_shape=(4, 4, 4), downscale_blocks=(1,), upscale_blocks=(1,))
        fine, coarse, filters = 64, 8, BASE_FILTERS
        first = fine * 27 * filters
        others = coarse * 8 * filters * 32 + coarse * 27 * 32 * 32
        others += coarse * 8 * 32 * filters + fine * 27 * 32 * 32 + fine * 27 * 32 * 3
        assert forward_gflop(network) == pytest.approx(2e-9 * (first + others))
        assert trained_gflop(network) == pytest.approx(2e-9 * (2 * first + 3 * others))

    def test_of_the_recipes_network(self):
        assert forward_gflop(Network()) == pytest.approx(5.547, abs=0.001)
        assert trained_gflop(Network()) == pytest.approx(16.61, abs=0.01)


class TestChannels:
    def test_suit_tensor_cores(self):
        """These multiply float16 in eights; the image's channel and the classes are as many as the task has."""
        first, *others, last = convolutions(Network())
        assert first.normalised and not last.normalised
        for convolution in others:
            assert convolution.normalised
            assert (convolution.inputs % 8, convolution.outputs % 8) == (0, 0)


class TestOriginal:
    def test_its_loss_is_the_recipes(self, session):
        random = np.random.RandomState(0)
        logits = tf.constant(random.randn(2, 4, 2, 3, 3).astype(np.float32))
        labels = tf.constant(random.randint(3, size=(2, 4, 2, 3)).astype(np.uint8))
        found, expected = session.run([original.dice_loss(logits, labels), segmentation_loss(DICE, logits, labels)])
        assert found == pytest.approx(expected, rel=1e-5)


class TestPyTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="PyTorch is not in this environment; `make bench` has its own")

    @pytest.mark.parametrize("network", NETWORKS)
    def test_has_our_parameters(self, torch, network):
        from benchmarks.pytorch import VNet

        model = VNet(network)
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters(network)
        logits = model(torch.zeros((2, network.channels) + tuple(network.input_shape)))
        assert tuple(logits.shape) == (2, network.classes) + tuple(network.input_shape)

    def test_its_loss_is_ours(self, torch, session):
        from benchmarks import pytorch

        random = np.random.RandomState(0)
        logits = random.randn(2, 4, 2, 3, 3).astype(np.float32)
        labels = random.randint(3, size=(2, 4, 2, 3)).astype(np.uint8)
        found = pytorch.dice_loss(torch.tensor(logits).movedim(-1, 1), torch.tensor(labels))
        expected = session.run(segmentation_loss(DICE, tf.constant(logits), tf.constant(labels)))
        assert found.item() == pytest.approx(expected, rel=1e-5)

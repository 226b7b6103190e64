import numpy as np
import pytest

from model.networks import supervised_logits
from utils.config.network_flags import UNET, VNET
from utils.planning import network_cost
from utils.tf_runtime import tf

CONVOLUTIONS = ("Conv2D", "Conv3D", "Conv2DBackpropInput", "Conv3DBackpropInputV2")


def built(params, shape):
    """The values that the convolutions and concatenations of the real graph give for one item, and its kernels."""
    images = tf.zeros([1] + list(shape) + [len(params["modalities"])])
    supervised_logits(images, params, tf.variable_scope)
    graph = tf.get_default_graph()
    values = [
        int(np.prod(operation.outputs[0].shape.as_list()[1:]))
        for operation in graph.get_operations()
        if operation.type in CONVOLUTIONS or (operation.type == "ConcatV2" and operation.outputs[0].shape.ndims > 2)
    ]
    weights = [variable.shape.num_elements() for variable in tf.trainable_variables() if "/kernel" in variable.name]
    return sorted(values), sorted(weights)


def told(params, shape):
    layers = network_cost.layers(params, shape)
    return sorted(layer.values for layer in layers), sorted(layer.weights for layer in layers if layer.weights)


VNETS = (
    {},
    {"downscale_blocks": [3, 3, 3], "upscale_blocks": [3, 1]},
    {"downscale_blocks": [2, 1], "upscale_blocks": [1, 2], "convolution_size": 5},
    {"modalities": ["a", "b", "c", "d"], "labels": ["background", "one"]},
)


class TestLayers:
    @pytest.mark.parametrize("changes", VNETS)
    def test_of_vnet_are_those_of_the_graph(self, graph, params, changes):
        params = dict(params, model=VNET, **changes)
        assert told(params, (16, 8, 24)) == built(params, (16, 8, 24))

    @pytest.mark.parametrize("levels, filters", [(1, 8), (3, 4)])
    def test_of_unet_are_those_of_the_graph(self, graph, params, levels, filters):
        params = dict(params, model=UNET, levels=levels, filters=filters, padding="same", dropout=0.0, slice_axis="y")
        found, expected = told(params, (16, 1, 24)), built(params, (16, 1, 24))
        assert found[1] == expected[1]
        # Pooling gives values too.
        pooled = [16 * 24 // 4**level * filters * 2 ** (level - 1) for level in range(1, levels + 1)]
        assert found[0] == sorted(expected[0] + pooled)


class TestNeeded:
    def test_grows_with_what_is_held(self, params):
        needed = [network_cost.needed(params, "training", (size,) * 3, 2) for size in (32, 64, 96)]
        assert needed == sorted(needed) and needed[0] > 5e8
        assert network_cost.needed(params, "training", (64,) * 3, 4) > needed[1]
        assert network_cost.needed(dict(params, amp=True), "training", (64,) * 3, 2) < needed[1]
        assert network_cost.needed(params, "prediction", (64,) * 3, 2) < needed[1]

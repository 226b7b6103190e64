"""The networks that main.py trains: from the params dict to the logits of each.

Dimensions: N items in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes. V-Net sees volumes,
U-Net slices of one voxel along ``slice_axis``, in the same five dimensions.
"""

from typing import Any, Callable, NamedTuple

from model.averaging import AXES
from model.unet import UNetSettings, labelled
from model.vnet import VNetSettings, supervised_vnet, vnet
from utils.tf_runtime import tf


class Network(NamedTuple):
    """A network: ``settings`` (params) -> its settings; ``logits`` (images, params, training, scope) -> logits."""

    settings: Callable[..., Any]
    logits: Callable[..., Any]


def logits_of(images, params, training, scope):
    """Logits float32 [N, X, Y, Z, K] of images [N, X, Y, Z, C], by the network that ``params["model"]`` names.

    ``training`` chooses between batch statistics and moving ones; ``scope`` makes the outermost variable scope.
    """
    return NETWORKS[params["model"]].logits(images, params, training, scope)


def supervised_logits(images, params, scope):
    """Logits in training: a list, whose first is ``logits_of``; with deep supervision those of coarser grids follow."""
    if params["deep_supervision"]:
        return supervised_vnet(images, _vnet_settings(params), scope)
    return [logits_of(images, params, True, scope)]


def network_settings(params):
    """The settings of the network that a params dict asks for."""
    return NETWORKS[params["model"]].settings(params)


def _vnet_settings(params):
    return VNetSettings(
        classes=len(params["labels"]),
        downscale_blocks=tuple(params["downscale_blocks"]),
        upscale_blocks=tuple(params["upscale_blocks"]),
        convolution_size=params["convolution_size"],
        activation=params["activation"],
        normalization_layer=params["normalization_layer"],
        pooling=params["pooling"],
    )


def _vnet_logits(images, params, training, scope):
    return vnet(images, _vnet_settings(params), training, scope)


def _unet_settings(params):
    names = ("filters", "levels", "padding", "normalization_layer", "dropout")
    return UNetSettings(classes=len(params["labels"]), **{name: params[name] for name in names})


def _unet_logits(images, params, training, scope):
    axis = AXES[params["slice_axis"]]
    flat = tf.squeeze(images, [axis])  # [N, X, Y, C] where the axis is z
    return tf.expand_dims(labelled(flat, _unet_settings(params), training, scope), axis)


NETWORKS = {"vnet": Network(_vnet_settings, _vnet_logits), "unet": Network(_unet_settings, _unet_logits)}

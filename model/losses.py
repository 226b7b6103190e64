"""What training minimises.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes, V of them; K classes. Of images, the axis z is
left out throughout.
"""

from typing import Any, NamedTuple

from utils.tf_runtime import tf


def training_loss(params, logits, label, weights=None):
    """What a training step minimises: float32 scalar.

    Deep supervision (Lee et al. 2015, arXiv:1409.5185) adds the losses of coarser grids, which count half as much from
    each to the next; the weights sum to 1 (Isensee et al. 2021, "nnU-Net", online methods).

    Args:
        params: a dict with "loss" and "cross_entropy_weight".
        logits: a list of float32 [N, X, Y, Z, K], the network's output first; any others lie on grids of half as
            many voxels along each side, of a quarter, and so on.
        label: uint8 [N, X, Y, Z].
        weights: float32 [N, X, Y, Z] of the voxels, which "weighted_ce" needs; nothing else does.
    """
    output, coarser = logits[0], logits[1:]
    loss = segmentation_loss(params, output, label, weights)
    if not coarser:
        return loss
    losses = [loss]
    for power, coarse in enumerate(coarser, 1):
        coarser_weights = None if weights is None else coarser_label(weights, 2**power)
        losses.append(segmentation_loss(params, coarse, coarser_label(label, 2**power), coarser_weights))
    shares = [0.5**power for power in range(len(losses))]
    return tf.add_n([share / sum(shares) * loss for share, loss in zip(shares, losses)])


def coarser_label(label, stride):
    """[N, X, Y, Z] -> [N, X/stride, Y/stride, Z/stride]: of each block of voxels the one next to its middle."""
    blocks = slice(stride // 2, None, stride)
    return label[(slice(None),) + (blocks,) * (label.shape.ndims - 1)]


def segmentation_loss(params, logits, label, weights=None):
    """The loss that the params ask for, of one grid: float32 scalar.

    ``dice`` is one minus the mean of ``soft_dice`` over cases and classes, background included. ``dice_ce`` adds to it
    "cross_entropy_weight" times the mean cross-entropy of the voxels, ``dice_focal`` as many times the mean focal one
    with gamma = 2: each voxel's cross-entropy times the squared probability that the network gives to other classes
    than its own (Lin et al. 2017, arXiv:1708.02002).
    ``weighted_ce`` is the mean of each voxel's cross-entropy times its weight (Ronneberger et al. 2015, section 3).
    ``logits`` is float32 [N, X, Y, Z, K]; ``label`` uint8 [N, X, Y, Z]; ``weights`` float32 [N, X, Y, Z].
    """
    voxels = _voxels(logits, label)
    if params["loss"] == "weighted_ce":
        return tf.reduce_mean(_cross_entropy(voxels) * tf.reshape(weights, [tf.shape(weights)[0], -1]))
    loss = _one_minus_dice(voxels)
    if params["loss"] == "dice":
        return loss
    cross_entropy = _cross_entropy(voxels)
    if params["loss"] == "dice_focal":
        cross_entropy *= tf.square(1.0 - tf.exp(-cross_entropy))
    return loss + params["cross_entropy_weight"] * tf.reduce_mean(cross_entropy)


class _Voxels(NamedTuple):
    """What all losses start from. The softmax is ``powers / total``, its logarithm ``shifted - log(total)``."""

    one_hot: Any  # [N, K, V]
    shifted: Any  # [N, K, V], logits with a maximum of 0 in each voxel
    powers: Any  # [N, K, V]
    total: Any  # [N, 1, V]


def _voxels(logits, label):
    classes = logits.shape[-1].value
    # Classes before voxels: what runs over voxels then runs over neighbours in memory, in half the time.
    logits = tf.transpose(tf.reshape(logits, [tf.shape(logits)[0], -1, classes]), [0, 2, 1])  # [N, K, V]
    label = tf.reshape(label, [tf.shape(label)[0], -1])  # [N, V]
    one_hot = tf.one_hot(label, classes, axis=1, dtype=tf.float32)
    # The softmax over axis 1 by hand: ``tf.nn.softmax`` would move that to the end and back.
    shifted = logits - tf.stop_gradient(tf.reduce_max(logits, axis=1, keepdims=True))
    powers = tf.exp(shifted)
    return _Voxels(one_hot, shifted, powers, tf.reduce_sum(powers, axis=1, keepdims=True))


def _one_minus_dice(voxels):
    return 1.0 - tf.reduce_mean(soft_dice(voxels.powers / voxels.total, voxels.one_hot))


def _cross_entropy(voxels):
    """Minus the logarithm of the probability of each voxel's own class: float32 [N, V]."""
    return tf.log(voxels.total[:, 0]) - tf.reduce_sum(voxels.one_hot * voxels.shifted, axis=1)


def soft_dice(probabilities, one_hot):
    """Soft Dice coefficient of every case and class: float32 [N, K].

    2 sum(p g) / (sum(p^2) + sum(g^2)) over the voxels (Milletari et al. 2016, section 3). Both are float32
    [N, K, V]. A class that neither holds counts as found, so that it pulls the weights nowhere.
    """
    overlap = tf.reduce_sum(probabilities * one_hot, axis=2)
    size = tf.reduce_sum(tf.square(probabilities), axis=2) + tf.reduce_sum(one_hot, axis=2)
    epsilon = 1e-6
    return (2.0 * overlap + epsilon) / (size + epsilon)

"""What training minimises.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; K classes.
"""

from utils.tf_runtime import tf


def soft_dice(probabilities, label):
    """Soft Dice coefficient of every case and class: float32 [N, K].

    2 sum(p g) / (sum(p^2) + sum(g^2)) over the voxels (Milletari et al. 2016, section 3).
    ``probabilities`` is float32 [N, X, Y, Z, K]; ``label`` uint8 [N, X, Y, Z]. A class that neither holds
    counts as found, so that it pulls the weights nowhere.
    """
    one_hot = tf.one_hot(label, probabilities.shape[-1].value, dtype=tf.float32)
    voxels = [1, 2, 3]
    overlap = tf.reduce_sum(probabilities * one_hot, axis=voxels)
    size = tf.reduce_sum(tf.square(probabilities), axis=voxels) + tf.reduce_sum(one_hot, axis=voxels)
    epsilon = 1e-6
    return (2.0 * overlap + epsilon) / (size + epsilon)


def dice_loss(logits, label):
    """One minus the mean soft Dice over cases and classes, background included: float32 scalar."""
    return 1.0 - tf.reduce_mean(soft_dice(tf.nn.softmax(logits), label))

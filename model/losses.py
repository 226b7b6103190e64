"""What training minimises.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes, V of them; K classes.
"""

from utils.tf_runtime import tf


def dice_loss(logits, label):
    """One minus the mean soft Dice over cases and classes, background included: float32 scalar.

    ``logits`` is float32 [N, X, Y, Z, K]; ``label`` uint8 [N, X, Y, Z].
    """
    classes = logits.shape[-1].value
    # Classes before voxels: what runs over voxels then runs over neighbours in memory, in half the time.
    logits = tf.transpose(tf.reshape(logits, [tf.shape(logits)[0], -1, classes]), [0, 2, 1])  # [N, K, V]
    label = tf.reshape(label, [tf.shape(label)[0], -1])  # [N, V]
    one_hot = tf.one_hot(label, classes, axis=1, dtype=tf.float32)  # [N, K, V]
    return 1.0 - tf.reduce_mean(soft_dice(_softmax(logits), one_hot))


def _softmax(logits):
    """Softmax over axis 1, which ``tf.nn.softmax`` would move to the end and back."""
    powers = tf.exp(logits - tf.stop_gradient(tf.reduce_max(logits, axis=1, keepdims=True)))
    return powers / tf.reduce_sum(powers, axis=1, keepdims=True)


def soft_dice(probabilities, one_hot):
    """Soft Dice coefficient of every case and class: float32 [N, K].

    2 sum(p g) / (sum(p^2) + sum(g^2)) over the voxels (Milletari et al. 2016, section 3). Both are float32
    [N, K, V]. A class that neither holds counts as found, so that it pulls the weights nowhere.
    """
    overlap = tf.reduce_sum(probabilities * one_hot, axis=2)
    size = tf.reduce_sum(tf.square(probabilities), axis=2) + tf.reduce_sum(one_hot, axis=2)
    epsilon = 1e-6
    return (2.0 * overlap + epsilon) / (size + epsilon)

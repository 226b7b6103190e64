"""How well a segmentation agrees with the truth, per structure.

A structure that is in neither has no Dice: the score is NaN, and means leave it out. The distances of surfaces are in
``utils.evaluation.surface_scores``, what the network itself thinks of its mask in ``utils.evaluation.uncertainty``.
"""

import numpy as np

# How many numbers are looked at at a time.
VALUES_AT_ONCE = 1 << 22


class SoftDice:
    """The V-Net paper's Dice per class, 2 sum(p g) / (sum(p^2) + sum(g^2)), gathered from parts of a volume.

    Args:
        classes: K, background included.
    """

    def __init__(self, classes):
        self._overlap, self._squares = np.zeros(classes), np.zeros(classes)
        self._true, self._predicted = np.zeros(classes, np.int64), np.zeros(classes, np.int64)

    def put(self, probabilities, label):
        """Take in a part of the volume.

        Args:
            probabilities: [X, Y, Z, K] float, the softmax of the network.
            label: [X, Y, Z] int, the true class of each voxel, in range(K).

        Raises:
            ValueError: the shapes do not go together.
        """
        probabilities, label = np.asarray(probabilities), np.asarray(label)
        _check_shapes("probabilities", probabilities.shape[:-1], "label", label.shape)
        mask = probabilities.argmax(axis=-1)
        for k in range(len(self._overlap)):
            probability, true = probabilities[..., k].astype(np.float64), label == k
            self._overlap[k] += probability[true].sum()
            self._squares[k] += np.square(probability).sum()
            self._true[k] += np.count_nonzero(true)
            self._predicted[k] += np.count_nonzero(mask == k)

    def result(self):
        """np.float64 [K]; NaN for a class that is absent from the label and is the most probable one nowhere."""
        total = self._squares + self._true
        # A network that has diverged has found nothing.
        defined = np.isfinite(total) & (total > 0)
        dice = 2.0 * np.where(defined, self._overlap, 0.0) / np.where(defined, total, 1.0)
        return np.where((self._true == 0) & (self._predicted == 0), np.nan, dice)


def soft_dice(probabilities, label):
    """The same of a whole volume: probabilities [X, Y, Z, K] float and label [X, Y, Z] int give np.float64 [K].

    Slices along z are read one after another: what lies in a file may be larger than memory.

    Raises:
        ValueError: the shapes do not go together.
    """
    _check_shapes("probabilities", probabilities.shape[:-1], "label", label.shape)
    gathered = SoftDice(probabilities.shape[-1])
    width, height, depth, classes = probabilities.shape
    step = max(1, VALUES_AT_ONCE // (width * height * classes))
    for first in range(0, depth, step):
        gathered.put(probabilities[:, :, first : first + step], label[:, :, first : first + step])
    return gathered.result()


def hard_dice(mask, truth, classes):
    """Returns 2 |A and B| / (|A| + |B|) per class as np.float64 [classes]; NaN where both are empty.

    Args:
        mask: [X, Y, Z] int, the predicted class of each voxel.
        truth: [X, Y, Z] int, the true one.
        classes: the number of classes, background included.

    Raises:
        ValueError: the shapes differ.
    """
    mask, truth = np.asarray(mask), np.asarray(truth)
    _check_shapes("mask", mask.shape, "truth", truth.shape)
    return np.array([_hard_dice_of_class(mask == k, truth == k) for k in range(classes)], dtype=np.float64)


def _hard_dice_of_class(predicted, true):
    total = np.count_nonzero(predicted) + np.count_nonzero(true)
    return 2.0 * np.count_nonzero(predicted & true) / total if total else np.nan


def voxel_counts(mask, classes):
    """Returns how many voxels each class has in a mask, int [X, Y, Z], as np.float64 [classes]."""
    return np.array([np.count_nonzero(mask == k) for k in range(classes)], dtype=np.float64)


def volumes_ml(mask, classes, spacing):
    """Returns the volume of each class in ml as np.float64 [classes]; 0 for one that is nowhere.

    Args:
        mask: [X, Y, Z] int, the class of each voxel.
        classes: the number of classes, background included.
        spacing: mm from voxel to voxel along X, Y and Z.
    """
    voxel = float(np.prod(np.asarray(spacing, np.float64))) / 1000.0
    return voxel_counts(mask, classes) * voxel


def mean_of_defined(values, axis=None):
    """Returns the mean of the values that are not NaN along `axis` (None: of all); NaN where there are none."""
    values = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[()]


def _check_shapes(name, shape, other_name, other_shape):
    if shape != other_shape:
        raise ValueError(
            "{} of shape {} and {} of shape {} do not go together".format(name, shape, other_name, other_shape)
        )

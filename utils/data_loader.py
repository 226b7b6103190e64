"""Batches for the Estimator, read from the kept copy of the preprocessed cases.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels.

What a step trains on (which cases, flipped how) follows from the seed and the step's number alone, so
that a run that was interrupted goes on with the batches it would have had.
"""

import numpy as np

from utils.tf_runtime import tf

PREFETCHED_BATCHES = 4
READERS = 2


class Volumes:
    """The preprocessed cases, read lazily through memory maps.

    ``kept`` is the list that ``utils.kept_copy.keep`` returns.
    """

    def __init__(self, kept):
        self.kept = list(kept)
        self._open = {}

    def __len__(self):
        return len(self.kept)

    def _array(self, path):
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._open[path]

    def image(self, index):
        """The image of one case: float32 [X, Y, Z, C], a read-only view of the file."""
        return self._array(self.kept[index].image)

    def label(self, index):
        """The label of one case: uint8 [X, Y, Z], a read-only view of the file."""
        return self._array(self.kept[index].label)

    def images(self, indices):
        """Several images: float32 [N, X, Y, Z, C]."""
        return np.stack([self.image(index) for index in indices])


class TrainingPlan:
    """Which cases each training step sees, and how they are flipped.

    Every epoch goes through all ``count`` cases once, in an order of its own; its last batch holds what
    is left over.
    """

    def __init__(self, count, batch_size, seed, augment):
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.steps_per_epoch = -(-count // batch_size)
        self._epoch = None

    def _draw(self, epoch):
        if self._epoch is None or self._epoch[0] != epoch:
            random = np.random.RandomState([self.seed, epoch])
            order = random.permutation(self.count)
            flips = random.rand(self.count, 2) < 0.5
            self._epoch = (epoch, order, flips & self.augment)
        return self._epoch[1:]

    def batch(self, step):
        """Case indices int [N] and flips bool [N, 2] (along x, along y) of one step, counted from 0."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        order, flips = self._draw(epoch)
        chosen = slice(position * self.batch_size, (position + 1) * self.batch_size)
        return order[chosen], flips[chosen]

    def cases_before(self, step):
        """How many cases the steps before ``step`` have seen, counted with repetition."""
        epochs, position = divmod(step, self.steps_per_epoch)
        return epochs * self.count + min(position * self.batch_size, self.count)


def flipped(array, flips):
    """A view of [X, Y, Z, ...] mirrored along x and y where ``flips`` (two booleans) says so."""
    along_x, along_y = (slice(None, None, -1 if flip else 1) for flip in flips)
    return array[along_x, along_y]


def training_batch(volumes, plan, step):
    """The batch of one step: float32 images [N, X, Y, Z, C] and uint8 labels [N, X, Y, Z]."""
    indices, flips = plan.batch(step)
    images = np.stack([flipped(volumes.image(index), flip) for index, flip in zip(indices, flips)])
    labels = np.stack([flipped(volumes.label(index), flip) for index, flip in zip(indices, flips)])
    return images, labels


def training_dataset(volumes, plan, first_step, end_step):
    """A ``tf.data`` pipeline of the batches of steps ``first_step`` up to ``end_step`` (exclusive)."""
    shape = volumes.image(0).shape

    def read(step):
        images, labels = tf.numpy_function(
            lambda number: training_batch(volumes, plan, number), [step], [tf.float32, tf.uint8]
        )
        images.set_shape((None,) + shape)
        labels.set_shape((None,) + shape[:3])
        return images, labels

    return tf.data.Dataset.range(first_step, end_step).map(read, READERS).prefetch(PREFETCHED_BATCHES)


def ordered_dataset(volumes, batch_size):
    """A ``tf.data`` pipeline of all images in order; the last batch holds what is left over."""
    return _images(volumes, tf.data.Dataset.range(len(volumes))).batch(batch_size).prefetch(PREFETCHED_BATCHES)


def repeated_dataset(volumes, batch_size, steps):
    """A ``tf.data`` pipeline of ``steps`` full batches of images, going round the cases as often as it takes."""
    indices = tf.data.Dataset.range(len(volumes)).repeat().take(steps * batch_size)
    return _images(volumes, indices).batch(batch_size).prefetch(PREFETCHED_BATCHES)


def _images(volumes, indices):
    shape = volumes.image(0).shape

    def read(index):
        image = tf.numpy_function(lambda number: volumes.image(int(number)), [index], tf.float32)
        image.set_shape(shape)
        return image

    return indices.map(read, READERS)

"""Batches for the Estimator, read from the kept copy of the preprocessed cases.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels.

What a step trains on (which cases, changed how) follows from the seed, the worker and the step's number
alone, so that a run that was interrupted goes on with the batches it would have had.
"""

import numpy as np

from utils.augmentation import UNCHANGED, augmented, draws
from utils.tf_runtime import tf

PREFETCHED_BATCHES = 4
READERS = 2


class Volumes:
    """The preprocessed cases, read when they are asked for.

    ``kept`` is the list that ``utils.kept_copy.keep`` returns.
    """

    def __init__(self, kept):
        self.kept = list(kept)

    def __len__(self):
        return len(self.kept)

    def image(self, index):
        """The image of one case: float32 [X, Y, Z, C], a read-only view of the file."""
        return view(self.kept[index].image)

    def label(self, index):
        """The label of one case: uint8 [X, Y, Z], a read-only view of the file."""
        return view(self.kept[index].label)

    def images(self, indices):
        """Several images: float32 [N, X, Y, Z, C]."""
        return np.stack([self.image(index) for index in indices])


def view(path):
    """The array in a .npy file, read-only and read where it is used."""
    # Mapped anew each time: a map holds its file open, and a task has more files than a process may open.
    return np.load(path, mmap_mode="r", allow_pickle=False)


class TrainingPlan:
    """Which cases each training step of a worker sees, and how they are changed.

    Every epoch goes through all cases once, in an order of its own; its last batches hold what is left
    over. The cases are dealt out to the workers in turn (``Workers.share``), so that shares differ by one
    case at most and all workers take the same number of steps.

    Args:
        count: cases of all workers.
        batch_size: cases per step of each worker.
        seed: what orders and changes follow from.
        augmentation: the ``utils.augmentation.Augmentation``, how strong the changes are.
        workers: how many workers there are.
        rank: which of them this is.
    """

    def __init__(self, count, batch_size, seed, augmentation, workers=1, rank=0):
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.shares = [len(range(worker, count, workers)) for worker in range(workers)]
        self.count = self.shares[rank]
        self.steps_per_epoch = -(-self.shares[0] // batch_size)
        self._seed = [seed, rank] if workers > 1 else [seed]
        self._epoch = None

    def _draw(self, epoch):
        # Several threads ask at once: what one returns must not be what another has just drawn.
        drawn = self._epoch
        if drawn is None or drawn[0] != epoch:
            random = np.random.RandomState(self._seed + [epoch])
            order = random.permutation(self.count)
            drawn = self._epoch = (epoch, order, draws(self.augmentation, self.count, random))
        return drawn[1:]

    def batch(self, step):
        """Case indices int [N] and a list of their N ``utils.augmentation.Draw`` of one step, counted from 0."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        order, changes = self._draw(epoch)
        chosen = slice(position * self.batch_size, (position + 1) * self.batch_size)
        return order[chosen], changes[chosen]

    def cases_before(self, step):
        """How many cases all workers have seen in the steps before ``step``, counted with repetition."""
        epochs, position = divmod(int(step), self.steps_per_epoch)
        return epochs * sum(self.shares) + sum(min(position * self.batch_size, share) for share in self.shares)

    def weight(self, step):
        """What this worker's mean gradient of a step counts in the mean over the workers.

        Its part of the step's cases, times the number of workers: 1 wherever the batches are equal.
        """
        everyones = self.cases_before(int(step) + 1) - self.cases_before(step)
        return len(self.batch(step)[0]) * len(self.shares) / everyones


def training_batch(volumes, plan, step):
    """The batch of one step: float32 images [N, X, Y, Z, C], float32 weight [], uint8 labels [N, X, Y, Z].

    A worker that has no case left in an epoch's last step gets its first one, with weight 0.
    """
    indices, changes = plan.batch(step)
    if not len(indices):
        indices, changes = [0], [UNCHANGED._replace(crop=plan.augmentation.crop)]
    cases = [augmented(volumes.image(index), volumes.label(index), draw) for index, draw in zip(indices, changes)]
    images, labels = (np.stack(arrays) for arrays in zip(*cases))
    return images, np.float32(plan.weight(step)), labels


def training_dataset(volumes, plan, first_step, end_step):
    """A ``tf.data`` pipeline of the batches of steps ``first_step`` up to ``end_step`` (exclusive).

    Its elements are ({"image": float32 [N, X, Y, Z, C], "weight": float32 []}, uint8 labels [N, X, Y, Z]).
    """
    shape = (plan.augmentation.crop or volumes.image(0).shape[:3]) + volumes.image(0).shape[3:]

    def read(step):
        images, weight, labels = tf.numpy_function(
            lambda number: training_batch(volumes, plan, number), [step], [tf.float32, tf.float32, tf.uint8]
        )
        images.set_shape((None,) + shape)
        weight.set_shape(())
        labels.set_shape((None,) + shape[:3])
        return {"image": images, "weight": weight}, labels

    return tf.data.Dataset.range(first_step, end_step).map(read, READERS).prefetch(PREFETCHED_BATCHES)


def streamed_dataset(images, shape, batch_size):
    """A ``tf.data`` pipeline of images in order, each read when it is due; the last batch holds what is left over.

    ``images`` is a function that returns an iterator over float32 [X, Y, Z, C], all of ``shape``.
    """

    def features():
        return ({"image": image} for image in images())

    dataset = tf.data.Dataset.from_generator(features, {"image": tf.float32}, {"image": tf.TensorShape(shape)})
    return dataset.batch(batch_size).prefetch(1)


def repeated_images(volumes, count):
    """An iterator over ``count`` images float32 [X, Y, Z, C], going round the cases as often as it takes."""
    return (volumes.image(number % len(volumes)) for number in range(count))

"""Batches for the Estimator, read from the kept copy of the preprocessed cases.

Dimensions: N items in a batch; X, Y, Z voxels of a case, U, V, W of an item, along the image's axes; C input channels.

What a step trains on (which items, changed how) follows from the seed, the worker and the step's number
alone, so that a run that was interrupted goes on with the batches it would have had.
"""

import itertools

import numpy as np

from utils.preprocessing.cache import view
from utils.sampling.augmentation import UNCHANGED, draws
from utils.sampling.patches import centred, middle
from utils.sampling.sliding_window import inside
from utils.sampling.tiling import items_of
from utils.tf_runtime import tf

PREFETCHED_BATCHES = 4
READERS = 2


class Volumes:
    """The preprocessed cases, read when they are asked for.

    ``kept`` is the list that ``utils.preprocessing.cache.keep`` returns.
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

    def positions(self, index):
        """Some voxels of one case's structures: int32 [N, 4], structure, x, y and z, a read-only view of the file."""
        return view(self.kept[index].positions)

    def borders(self, index):
        """What borders add to the weights of one case's voxels: float32 [X, Y, Z], a read-only view of the file."""
        return view(self.kept[index].borders)


class Parts(Volumes):
    """Of each case a part of ``shape`` (X, Y, Z), or as much as there is, about the middle of its structures.

    What is measured again and again while a model is trained must not take longer the larger the scans are.
    """

    def __init__(self, kept, shape):
        super().__init__(kept)
        self._shape = shape

    def image(self, index):
        """The image of one case's part: float32, of ``shape`` at most, C channels; a read-only view of the file."""
        return super().image(index)[self._part(index)]

    def label(self, index):
        """The label of one case's part: uint8, of ``shape`` at most; a read-only view of the file."""
        return super().label(index)[self._part(index)]

    def _part(self, index):
        shape = super().label(index).shape
        corner = centred(middle(shape, self.positions(index)), shape, self._shape, self._shape)
        return inside(corner, self._shape, shape)[1]


class TrainingPlan:
    """Which items each training step of a worker sees, and how they are changed.

    Every epoch goes through all of its items once, in an order of its own; its last batches hold what is left
    over. All workers take the same number of steps, also where one of them has fewer items.

    Args:
        shares: how many items of an epoch each worker has.
        batch_size: items per step of each worker.
        seed: what orders and changes follow from.
        augmentation: the ``utils.sampling.augmentation.Augmentation``, how strong the changes are.
        rank: which of the workers this is.
        order: function (np.random.RandomState) -> the items of an epoch in their order, int [shares[rank]]; by
            default all numbers below that.
    """

    def __init__(self, shares, batch_size, seed, augmentation, rank=0, order=None):
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.shares = list(shares)
        self.count = self.shares[rank]
        self.steps_per_epoch = -(-max(self.shares) // batch_size)
        self._order = order or (lambda random: random.permutation(self.count))
        self._seed = [seed, rank] if len(self.shares) > 1 else [seed]
        self._epochs = ()

    def _draw(self, epoch):
        # Several threads ask at once: what one returns must not be what another has just drawn.
        drawn = next((known for known in self._epochs if known[0] == epoch), None)
        if drawn is None:
            random = np.random.RandomState(self._seed + [epoch])
            order = self._order(random)
            drawn = epoch, order, draws(self.augmentation, self.count, random)
            # Two are kept, since what reads ahead is in the next epoch before this one is over.
            self._epochs = (drawn,) + self._epochs[:1]
        return drawn[1:]

    def batch(self, step):
        """Item numbers int [N] and a list of their N ``Draw`` of one step, counted from 0."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        order, changes = self._draw(epoch)
        chosen = slice(position * self.batch_size, (position + 1) * self.batch_size)
        return order[chosen], changes[chosen]

    def items_before(self, step):
        """How many items all workers have seen in the steps before ``step``, counted with repetition."""
        epochs, position = divmod(int(step), self.steps_per_epoch)
        return epochs * sum(self.shares) + sum(min(position * self.batch_size, share) for share in self.shares)

    def weight(self, step):
        """What this worker's mean gradient of a step counts in the mean over the workers.

        Its part of the step's items, times the number of workers: 1 wherever the batches are equal.
        """
        everyones = self.items_before(int(step) + 1) - self.items_before(step)
        return len(self.batch(step)[0]) * len(self.shares) / everyones


def training_batch(items, plan, step):
    """The batch of one step: float32 images [N, U, V, W, C], float32 weight [], uint8 labels [N, U, V, W].

    Where ``items`` have weights of voxels, these come last: float32 [N, U, V, W]. A worker that has no item left in an
    epoch's last step gets its first one, with weight 0.
    """
    numbers, changes = plan.batch(step)
    if not len(numbers):
        numbers, changes = [0], [UNCHANGED._replace(crop=plan.augmentation.crop)]
    examples = [items.example(number, draw) for number, draw in zip(numbers, changes)]
    images, labels, weights = zip(*examples)
    batch = np.stack(images), np.float32(plan.weight(step)), np.stack(labels)
    return batch if weights[0] is None else batch + (np.stack(weights),)


def training_dataset(items, plan, first_step, end_step):
    """A ``tf.data`` pipeline of the batches of steps ``first_step`` up to ``end_step`` (exclusive).

    Its elements are ({"image": float32 [N, U, V, W, C], "weight": float32 []}, uint8 labels [N, U, V, W]); where
    ``items`` have weights of voxels, the features have "voxel_weights": float32 [N, U, V, W] too.
    """
    first = items.example(0, UNCHANGED._replace(crop=plan.augmentation.crop))
    shape = first.image.shape
    types = [tf.float32, tf.float32, tf.uint8] + [tf.float32] * (first.weights is not None)

    def read(step):
        images, weight, labels, *weights = tf.numpy_function(
            lambda number: training_batch(items, plan, number), [step], types
        )
        images.set_shape((None,) + shape)
        weight.set_shape(())
        labels.set_shape((None,) + shape[:3])
        features = {"image": images, "weight": weight}
        for voxel_weights in weights:
            voxel_weights.set_shape((None,) + shape[:3])
            features["voxel_weights"] = voxel_weights
        return features, labels

    return tf.data.Dataset.range(first_step, end_step).map(read, READERS).prefetch(PREFETCHED_BATCHES)


def streamed_dataset(images, shape, batch_size):
    """A ``tf.data`` pipeline of images in order, each read when it is due; the last batch holds what is left over.

    ``images`` is a function that returns an iterator over float32 [U, V, W, C], all of ``shape``.
    """

    def features():
        return ({"image": image} for image in images())

    dataset = tf.data.Dataset.from_generator(features, {"image": tf.float32}, {"image": tf.TensorShape(shape)})
    return dataset.batch(batch_size).prefetch(1)


def repeated_images(volumes, feeding, count):
    """An iterator over ``count`` items float32 [U, V, W, C], going round the cases as often as it takes."""
    images = (volumes.image(number % len(volumes)) for number in itertools.count())
    items = itertools.chain.from_iterable(items_of(image, feeding) for image in images)
    return itertools.islice(items, count)

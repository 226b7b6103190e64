"""Training plans of whole cases."""

import numpy as np

from utils.data_loader import TrainingPlan
from utils.sampling.samples import Items
from utils.sampling.tiling import Whole


def dealt_out(count, workers=1):
    """How many of so many cases each worker has: they are dealt out in turn."""
    return [len(range(worker, count, workers)) for worker in range(workers)]


def plan_of(count, batch_size, seed, augmentation, workers=1, rank=0):
    """A `TrainingPlan` of one of the workers that share so many cases."""
    return TrainingPlan(dealt_out(count, workers), batch_size, seed, augmentation, rank)


def whole(volumes):
    """The cases of `Volumes` as they come to V-Net."""
    return Items(volumes, Whole(volumes.image(0).shape[:3]))


def images_of(volumes):
    """The images of all cases of `Volumes`: [N, X, Y, Z, C]."""
    return np.stack([volumes.image(number) for number in range(len(volumes))])

"""Labels and probabilities at random, for the tests of scores."""

import numpy as np

SHAPE = (5, 7, 3)


def one_hot(label, classes):
    return np.eye(classes)[label]


def random_label(seed, classes=3, shape=SHAPE):
    return np.random.RandomState(seed).randint(classes, size=shape)


def random_probabilities(seed, classes=3, shape=SHAPE):
    exponentials = np.exp(np.random.RandomState(seed).normal(size=shape + (classes,)))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)

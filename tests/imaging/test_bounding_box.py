import numpy as np
import pytest

from utils.imaging.bounding_box import bounding_box


@pytest.mark.parametrize("seed", range(3))
def test_all_is_within_and_every_side_is_needed(seed):
    inside = np.zeros((7, 12, 5), bool)
    inside[np.random.RandomState(seed).randint(1, 5, 4), np.random.RandomState(seed).randint(2, 12, 4), seed] = True
    box = bounding_box(inside)
    assert inside[box].sum() == inside.sum()
    for axis in range(3):
        for end in (0, -1):
            assert inside[box].take(end, axis=axis).any()


def test_nothing():
    assert bounding_box(np.zeros((3, 4, 5), bool)) is None

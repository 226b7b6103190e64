"""Voxels of the structures of a label, a bounded number of them: where patches may lie, what intensities there are."""

import numpy as np

# Of each structure.
MOST_POSITIONS = 10000


def positions(label, classes, seed, most=MOST_POSITIONS):
    """Voxels of each structure of a label, all or a random sample of them.

    Args:
        label: uint8 [X, Y, Z], values 0 (background) to ``classes`` - 1.
        classes: K.
        seed: whole numbers that the sample follows from.
        most: voxels of each structure.

    Returns:
        int32 [N, 4]: structure, x, y and z; those of one structure together, structures rising.
    """
    random = np.random.RandomState(seed)
    # A slice at a time: places in a whole scan take more memory than the scan.
    counts = np.array([np.bincount(plane.ravel(), minlength=classes) for plane in label])
    found = [np.zeros((0, 4), np.int32)]
    for value in range(1, classes):
        places = some_voxels(lambda x, value=value: label[x] == value, counts[:, value], most, random)
        found.append(np.insert(places, 0, value, axis=1))
    return np.concatenate(found)


def some_voxels(marked, counts, most, random):
    """Some of the voxels of a volume that are marked, or all where they are no more than ``most``: int32 [n, 3].

    Args:
        marked: function from x to bool [Y, Z].
        counts: how many are marked at each x, int [X].
        most: how many voxels may be taken.
        random: np.random.RandomState.
    """
    ends = np.cumsum(counts)
    total = int(ends[-1])
    # Drawn with repetition, of which one each is taken: to draw without takes memory for all.
    numbers = np.arange(total) if total <= most else np.unique(random.randint(total, size=most))
    planes = np.searchsorted(ends, numbers, side="right")
    found = np.empty((len(numbers), 3), np.int32)
    for x in np.unique(planes):
        rows, plane = np.flatnonzero(planes == x), marked(x)
        own = numbers[rows] - (ends[x] - counts[x])
        found[rows, 0] = x
        found[rows, 1], found[rows, 2] = divmod(np.flatnonzero(plane)[own], plane.shape[1])
    return found

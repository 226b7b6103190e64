"""How sure the network is of a mask, per structure: no truth is needed."""

import numpy as np

# A structure that no voxel has with this probability is nowhere, as far as the network knows: there is nothing to
# be unsure of. What the softmax leaves over in each of a million voxels would add up to something otherwise.
LEAST_PROBABILITY = 0.1


class Uncertainty:
    """1 - the Dice that the network itself expects of a mask, per class, gathered from slabs of slices along z.

    With the probability p of a class and its mask m, 1 - 2 sum(p over m) / (|m| + sum(p)): each voxel counts as much
    as the network believes that it is of the class. Sums are taken slice by slice, so that the result does not depend
    on how thick the slabs are.

    Args:
        depth: the number of slices.
        classes: the number of classes, background included.
    """

    def __init__(self, depth, classes):
        self._counts = np.zeros((depth, classes), np.int64)
        self._expected, self._overlap, self._likely = (np.zeros((depth, classes), np.float64) for _ in range(3))

    def put(self, first, mask, probabilities):
        """Take in the slices from ``first`` on, or take them in anew.

        Args:
            first: index of the slab's first slice.
            mask: int [X, Y, S], the class of each voxel.
            probabilities: float [X, Y, S, K], those of the network on the mask's grid.

        Raises:
            ValueError: the shapes do not go together.
        """
        if probabilities.shape[:-1] != mask.shape:
            raise ValueError(
                "probabilities of shape {} and mask of shape {} do not go together".format(
                    probabilities.shape[:-1], mask.shape
                )
            )
        depth, classes = mask.shape[-1], probabilities.shape[-1]
        slices = slice(first, first + depth)
        # Along the memory of what comes from SimpleITK.
        voxels = probabilities.transpose(2, 1, 0, 3).reshape(depth, -1, classes)
        mask = mask.transpose(2, 1, 0).reshape(depth, -1)
        self._expected[slices] = voxels.sum(axis=1, dtype=np.float64)
        for k in range(classes):
            inside = mask == k
            self._counts[slices, k] = inside.sum(axis=1)
            if inside.any():
                self._overlap[slices, k] = np.where(inside, voxels[..., k], 0).sum(axis=1, dtype=np.float64)
            else:
                self._overlap[slices, k] = 0
                likely = voxels[..., k] >= LEAST_PROBABILITY
                self._likely[slices, k] = np.where(likely, voxels[..., k], 0).sum(axis=1, dtype=np.float64)

    def result(self):
        """np.float64 [K], 0 to 1.

        NaN for a class that is in no voxel of the mask and likely in none; 1 where the probabilities are no numbers.
        """
        sums = zip(*(values.sum(axis=0) for values in (self._counts, self._expected, self._overlap, self._likely)))
        return np.array([_of_class(*figures) for figures in sums], np.float64)


def _of_class(count, expected, overlap, likely):
    if not np.isfinite(expected):
        return 1.0
    if not count:
        return 1.0 if likely >= 1.0 else np.nan
    # Resampling leaves probabilities that are above one by a rounding error.
    return max(0.0, 1.0 - 2.0 * overlap / (count + expected))

"""How much each pixel counts in the weighted cross-entropy: rare classes more, and the borders between objects.

Ronneberger et al. 2015, section 3: w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)), with the distances d1
and d2 to the nearest and the second nearest object. An object is a connected part of one class other than the
background: where two classes touch, there is a border too, and corners alone connect nothing.
"""

import numpy as np
import SimpleITK as sitk

W0 = 10.0
SIGMA = 5.0
# In standard deviations: where d1 + d2 is more, the border counts less than 2e-8 times w0, too little for float32.
REACH = 6.0


def class_counts(labels, classes):
    """How many pixels of several labels (arrays of values 0 to ``classes`` - 1) each class has: np.int64 [classes]."""
    counts = np.zeros(classes, np.int64)
    for label in labels:
        counts += np.bincount(np.ravel(label), minlength=classes)
    return counts


def class_weights(counts):
    """The weights w_c that make up for the frequencies of the classes: np.float64 [classes].

    Each class that there is counts as much as every other in all, and a pixel 1 on the average.
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    share = counts.sum() / max(1, np.count_nonzero(present))
    return np.where(present, share / np.where(present, counts, 1.0), 0.0)


def border_weights(label, w0=W0, sigma=SIGMA):
    """What borders add to the weight of each pixel, the second summand of w: np.float32 of the label's shape.

    Args:
        label: np.uint8 [X, Y], values 0 (background) to K - 1; or a volume [X, Y, Z].
        w0: what a border between touching objects counts.
        sigma: pixels over which that falls off.
    """
    # Distances that are infinite, with fewer than two objects in reach, add nothing.
    return (w0 * np.exp(-0.5 * (_both_distances(label, REACH * sigma) / sigma) ** 2)).astype(np.float32)


def _both_distances(label, reach):
    """d1 + d2 at each pixel, float64; what is more than ``reach`` may be infinite. Within an object d1 is 0."""
    nearest, second = np.full((2,) + label.shape, np.inf)
    for inside, box in _objects(label, int(np.ceil(reach))):
        distance = _distance(inside)
        # Views of the box: of three distances the two smallest stay.
        first, other = nearest[box], second[box]
        np.minimum(other, np.maximum(first, distance), out=other)
        np.minimum(first, distance, out=first)
    return nearest + second


def _objects(label, reach):
    """Yields for each object a box, slices of the label that reach so many pixels beyond it, and where it is there."""
    for value in np.unique(label[label > 0]):
        parts = sitk.ConnectedComponent(sitk.GetImageFromArray((label == value).astype(np.uint8)))
        bounds = sitk.LabelShapeStatisticsImageFilter()
        bounds.Execute(parts)
        numbered = sitk.GetArrayFromImage(parts)
        for number in bounds.GetLabels():
            # SimpleITK has the axes of the array reversed.
            found = bounds.GetBoundingBox(number)
            low, size = found[label.ndim - 1 :: -1], found[: label.ndim - 1 : -1]
            box = tuple(slice(max(0, at - reach), at + length + reach) for at, length in zip(low, size))
            yield numbered[box] == number, box


def _distance(inside):
    """The distance in pixels of each one to the nearest that is inside, between their centres: float64."""
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    squared = sitk.SignedMaurerDistanceMap(image, squaredDistance=True, useImageSpacing=False)
    distance = np.sqrt(np.abs(sitk.GetArrayFromImage(squared).astype(np.float64)))
    distance[inside] = 0.0
    return distance

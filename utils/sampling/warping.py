"""Rotation, scaling, shift and smooth displacement of an image and its label, in one resampling.

What lies outside the image is taken to be its outermost voxels, intensity and label alike.
"""

import numpy as np

# Of the points whose random displacements are joined smoothly, in voxels.
KNOT_SPACING = 12


# All of an image.
WHOLE = (slice(None),) * 3


def warped(image, label, draw, part=WHOLE):
    """An image, float32 [X, Y, Z, C], and its label, uint8 [X, Y, Z], moved as a ``utils.sampling.augmentation.Draw``
    says.

    Of the moved ones a part is returned, three slices; views of the given ones where the draw moves nothing.
    Intensities are interpolated linearly. A voxel of the label gets the class that has the largest share there,
    interpolated linearly too; of equal shares the lowest value wins.
    """
    if not moves(draw):
        return image[part], label[part]
    resampling = Resampling(sources(label.shape, draw, part), label.shape)
    channels = [resampling.linear(image[..., channel]) for channel in range(image.shape[-1])]
    return np.stack(channels, axis=-1), resampling.majority(label)


def moves(draw):
    """Whether a ``utils.sampling.augmentation.Draw`` moves anything, mirroring and cropping aside."""
    return bool(any(draw.angles) or draw.scale != 1 or any(draw.shift) or draw.elastic)


def sources(shape, draw, part=WHOLE):
    """Where each voxel of a part of the moved image comes from: three float32 [X, Y, Z], in voxels along x, y and z.

    The image is scaled and rotated about its centre, then shifted: what is found at the centre plus d was at the
    centre plus the inverse of (rotation * scale) times (d - shift). The displacement is added to that. The rotation
    is that of a grid of voxels of the draw's spacing.
    """
    centre = (np.array(shape) - 1) / 2.0
    offsets = [np.arange(size) - middle - shift for size, middle, shift in zip(shape, centre, draw.shift)]
    along_x, along_y, along_z = np.ix_(*[along[kept] for along, kept in zip(offsets, part)])
    places = []
    for row, middle in zip(backwards(draw), centre):
        plane = (row[0] * along_x + row[1] * along_y + middle).astype(np.float32)
        places.append(plane + (row[2] * along_z).astype(np.float32))
    if draw.elastic:
        random = np.random.RandomState(draw.seed)
        for place in places:
            place += np.float32(draw.elastic) * smooth_field(shape, random, draw.knots)[part]
    return places


def backwards(draw):
    """The 3 x 3 matrix from places in the moved image to those they come from, about its centre, in voxels."""
    return rotation(np.radians(draw.angles)).T * draw.spacing / np.reshape(draw.spacing, [3, 1]) / draw.scale


def rotation(angles):
    """The 3 x 3 rotation by ``angles`` (radians) about x, then y, then z: from x to y for one about z, and so on."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn.dot(matrix)
    return matrix


def smooth_field(shape, random, knots=0):
    """Random values, float32 ``shape``: normal with standard deviation 1 at every voxel, smooth between the knots.

    They are a cubic B-spline over knots of independent values, taken from ``random`` (np.random.RandomState). So many
    ``knots`` span each axis; without a number they are KNOT_SPACING apart.
    """
    splines = [_spline(size, (size - 1) / (knots - 1) if knots else KNOT_SPACING) for size in shape]
    field = random.standard_normal([first[-1] + 4 for first, _ in splines]).astype(np.float32)
    # The last step, of the most values, goes along x: there, neighbours in memory have one weight.
    for axis in (2, 1, 0):
        first, weights = splines[axis]
        along = [-1 if other == axis else 1 for other in range(3)]
        field = sum(field.take(first + knot, axis) * weights[knot].reshape(along) for knot in range(4))
    return field


def _spline(size, spacing):
    """For each voxel of a line: the first of the four knots that reach it, int [size], and their weights [4, size].

    The knots are ``spacing`` voxels apart, which may be less than one.
    The sum of the weights' squares is 1, so that the spline has the spread of its knots wherever a voxel lies.
    """
    first, place = np.divmod(np.arange(size), spacing or 1)
    first, place = first.astype(np.intp), place / float(spacing or 1)
    weights = [
        (1 - place) ** 3,
        4 - 6 * place**2 + 3 * place**3,
        1 + 3 * place + 3 * place**2 - 3 * place**3,
        place**3,
    ]
    return first, (weights / np.linalg.norm(weights, axis=0)).astype(np.float32)


class Resampling:
    """Takes values at ``places`` (three float32 [X, Y, Z], in voxels) from arrays of ``shape``, by default the same."""

    def __init__(self, places, shape=None):
        self.shape = places[0].shape
        shape = shape or self.shape
        # One voxel more along each axis, so that the last one has a neighbour too.
        self._padded = [size + 1 for size in shape]
        index, self._fractions = 0, []
        for place, size in zip(places, shape):
            place = np.minimum(np.maximum(place, 0), np.float32(size - 1)).ravel()
            lower = np.floor(place)
            self._fractions.append(place - lower)
            index = index * (size + 1) + lower.astype(np.intp)
        self._index = index
        strides = (self._padded[1] * self._padded[2], self._padded[2], 1)
        self._corners = [sum(np.multiply(corner, strides)) for corner in np.ndindex(2, 2, 2)]

    def linear(self, channel):
        """A channel, float32 of the arrays' shape, interpolated linearly: [X, Y, Z]."""
        flat = _with_edges(channel).ravel()
        # In the order of the corners: pairs along z, then along y, then along x.
        values = [flat[corner:].take(self._index) for corner in self._corners]
        for fraction in reversed(self._fractions):
            values = [_between(lower, upper, fraction) for lower, upper in zip(values[::2], values[1::2])]
        return values[0].reshape(self.shape)

    def majority(self, label):
        """A label, uint8 of that shape: at each place the class with the largest share; of equal shares the lowest."""
        padded = _with_edges(label)
        flat = padded.ravel()
        result = flat.take(self._index)
        # Between eight voxels of one class, there is nothing to weigh.
        rows = np.flatnonzero(_mixed(padded).ravel().take(self._index))
        index, fractions = self._index[rows], [fraction[rows] for fraction in self._fractions]
        classes = [flat[corner:].take(index) for corner in self._corners]
        largest = np.zeros(len(rows), np.float32)
        winner = np.zeros(len(rows), np.uint8)
        for value in np.unique(classes):
            shares = [(one == value).astype(np.float32) for one in classes]
            for fraction in reversed(fractions):
                shares = [_between(lower, upper, fraction) for lower, upper in zip(shares[::2], shares[1::2])]
            np.copyto(winner, value, where=shares[0] > largest)
            np.maximum(largest, shares[0], out=largest)
        result[rows] = winner
        return result.reshape(self.shape)


def _between(lower, upper, fraction):
    # The differences are fresh arrays, and large ones: they become the result.
    result = upper - lower
    result *= fraction
    result += lower
    return result


def _with_edges(array):
    """[X, Y, Z] with its last voxel along each axis twice."""
    return np.pad(array, [(0, 1)] * 3, "edge")


def _mixed(label):
    """Where a label, [X, Y, Z], and its next voxels along the axes are not all of one class: bool [X, Y, Z]."""
    low = high = label
    for axis in range(3):
        size = label.shape[axis] - 1
        low, high = (
            function(array.take(range(size), axis), array.take(range(1, size + 1), axis))
            for function, array in ((np.minimum, low), (np.maximum, high))
        )
    mixed = np.zeros(label.shape, bool)
    mixed[:-1, :-1, :-1] = low != high
    return mixed

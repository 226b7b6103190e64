"""Windows over a volume that may be larger than the network's input, and what the network says of them put together.

Dimensions: X, Y, Z voxels of the volume; K classes. A window is told by where its first voxel lies, (x, y, z). Along
an axis on which the volume is smaller than the window, the volume lies in the window's middle, as it does in training,
and the window begins before it.
"""

import contextlib
import itertools
import tempfile

import numpy as np

from utils.system import memory
from utils.system.errors import CannotWrite

# Of the Gaussian that weighs a window's voxels: an eighth of the window (Isensee et al. 2021, nnU-Net).
SIGMA = 1.0 / 8.0
# Bytes of the probabilities of a volume. Those of larger ones go to a file: several cases may wait for their masks.
IN_MEMORY = 1 << 25


def starts(size, patch, overlap):
    """Where windows of ``patch`` voxels begin along an axis of ``size`` voxels: whole numbers, rising.

    The first window begins at the border and the last one ends there; they lie as evenly as voxels allow, and any two
    neighbours share at least about ``overlap`` of the patch (from 0 to below 1).
    """
    if size <= patch:
        return [-((patch - size) // 2)]
    step = max(1.0, patch * (1.0 - overlap))
    # A little less, so that rounding makes no window more.
    gaps = int(np.ceil((size - patch) / step - 1e-6))
    return [(2 * number * (size - patch) + gaps) // (2 * gaps) for number in range(gaps + 1)]


def windows(shape, patch, overlap):
    """Windows of ``patch`` (X, Y, Z) voxels over a volume of ``shape``: a list in the order of their z."""
    along_x, along_y, along_z = map(starts, shape, patch, [overlap] * 3)
    return [(x, y, z) for z, y, x in itertools.product(along_z, along_y, along_x)]


def inside(window, patch, shape):
    """The part of a window that is in a volume of ``shape``: its slices of the window, and of the volume.

    They are empty where the window lies beside the volume.
    """
    first = [min(length, max(0, -start)) for start, length in zip(window, patch)]
    end = [max(low, min(length, size - start)) for low, start, length, size in zip(first, window, patch, shape)]
    own = tuple(slice(low, high) for low, high in zip(first, end))
    return own, tuple(slice(start + low, start + high) for start, low, high in zip(window, first, end))


def cut(array, window, patch, filling):
    """A window of an array [X, Y, Z, ...], a new array; ``filling`` (a number, or one per channel) around it.

    No more of a memory-mapped array is read than what is in the window.
    """
    own, part = inside(window, patch, array.shape)
    result = np.empty(tuple(patch) + array.shape[3:], array.dtype)
    if result[own].shape != result.shape:
        result[...] = filling
    result[own] = array[part]
    return result


def importance(size):
    """How much the voxels of a window of ``size`` voxels count along an axis: float64 [size], 1 at most, above 0."""
    offsets = np.arange(size) - (size - 1) / 2.0
    return np.exp(-0.5 * (offsets / (size * SIGMA)) ** 2)


def shares(size, patch, overlap):
    """What each window along an axis counts at each of its voxels: a dict of start to float64 [patch].

    At each voxel of the axis, the shares of all windows add up to one. A window's share in a volume is the product of
    those along its axes, since its windows are all combinations of those.
    """
    curve, total = importance(patch), np.zeros(max(size, patch))
    # Where the volume is the smaller one, there is one window, which begins before it.
    places = {start: max(0, start) for start in starts(size, patch, overlap)}
    for place in places.values():
        total[place : place + patch] += curve
    return {start: curve / total[place : place + patch] for start, place in places.items()}


class InFile:
    """An array float32 [X, Y, Z, K], to be read alone, whose slices along z lie in a file one after another.

    Slicing it reads what is sliced. As the file is mapped anew each time, no more stays in memory than is in use.
    """

    dtype, ndim = np.dtype(np.float32), 4

    def __init__(self, file, shape):
        self._file, self.shape = file, shape

    def __getitem__(self, key):
        return self._mapped()[key]

    def __array__(self, dtype=None):
        return np.asarray(self._mapped(), dtype)

    def _mapped(self):
        width, height, depth, classes = self.shape
        mapped = np.memmap(self._file, self.dtype, "r", shape=(depth, width, height, classes))
        return np.asarray(mapped).transpose(1, 2, 0, 3)


class Stitched:
    """The probabilities of a volume, float32 [X, Y, Z, K], from those of its windows, weighted and added up.

    Of a large volume no more is in memory than the slices that a window reaches; those that are finished go to a file
    without a name, which is gone with whoever reads it, or with the process.

    Args:
        shape: X, Y, Z of the volume.
        patch: X, Y, Z of a window.
        overlap: of two neighbours, as a share of the patch.
        classes: K.
        folder: where the file goes.
    """

    def __init__(self, shape, patch, overlap, classes, folder):
        self.shape, self.patch, self.folder = tuple(shape), tuple(patch), folder
        self._shares = [shares(size, length, overlap) for size, length in zip(shape, patch)]
        self._file, self._finished, depth = None, 0, self.shape[2]
        if memory.voxels(self.shape) * classes * memory.FLOAT > IN_MEMORY:
            depth = min(self.patch[2], depth)
            with self._refused():
                self._file = tempfile.TemporaryFile(buffering=0, dir=folder)
        # Slice z lies at z modulo their number.
        self._slices = np.zeros((depth,) + self.shape[:2] + (classes,), np.float32)

    def put(self, window, probabilities):
        """Take in the probabilities [X, Y, Z, K] of one of ``windows``, in their order, but those of one z in any.

        Raises:
            ValueError: windows of a larger z were there before.
            CannotWrite: the disk is full, or does not let the file be written.
        """
        own, (along_x, along_y, along_z) = inside(window, self.patch, self.shape)
        if self._file is not None:
            if along_z.start < self._finished:
                raise ValueError("window {}: slices from {} on are open".format(window, self._finished))
            self._finish(along_z.start)
        weights = [share[start][part] for share, start, part in zip(self._shares, window, own)]
        in_plane = np.multiply.outer(*weights[:2])[..., None]
        for number, weight in enumerate(weights[2]):
            place = (along_z.start + number) % len(self._slices)
            seen = probabilities[own[0], own[1], own[2].start + number]
            self._slices[place, along_x, along_y] += seen * (in_plane * weight).astype(np.float32)

    def result(self):
        """All probabilities, once all windows are there: array-like float32 [X, Y, Z, K], to be read alone.

        Raises CannotWrite as ``put`` does.
        """
        if self._file is None:
            return self._slices.transpose(1, 2, 0, 3)
        self._finish(self.shape[2])
        return InFile(self._file, self.shape + self._slices.shape[3:])

    def _finish(self, end):
        for number in range(self._finished, end):
            one = self._slices[number % len(self._slices)]
            # Not through a map: on a full disk, that would end the process.
            with self._refused():
                left = memoryview(one).cast("B")
                while left:
                    left = left[self._file.write(left) :]
            one[...] = 0
        self._finished = max(self._finished, end)

    @contextlib.contextmanager
    def _refused(self):
        try:
            yield
        except OSError as error:
            raise CannotWrite(
                "{}: cannot hold the probabilities of a scan of {} voxels ({}): make room there, or use another "
                "--cache_dir".format(self.folder, memory.by_axis(self.shape), error.strerror or error)
            ) from error

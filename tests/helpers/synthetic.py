"""Small scans whose grids are as awkward as those of real ones: asymmetric, anisotropic, oblique, flipped."""

import gzip
import struct

import numpy as np
import SimpleITK as sitk

SHAPE = (5, 7, 4)


def scan(seed=0, shape=SHAPE):
    """Return noise, np.float32 [X, Y, Z], from 0 to 1."""
    return np.random.RandomState(seed).rand(*shape).astype(np.float32)


def rotation(angles):
    """Return the 3 x 3 rotation by `angles` (degrees) about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn.dot(matrix)
    return matrix


DIRECTIONS = {
    "identity": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "left_handed": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.eye(3)[[2, 0, 1]],
    "oblique": rotation((10, -25, 40)),
    "oblique_left_handed": rotation((-33, 7, 120)).dot(np.diag([1.0, -1.0, 1.0])),
}
SPACING = (0.7, 1.1, 2.9)
ORIGIN = (-57.3, 12.9, 101.7)


def image_of(array, direction="oblique", spacing=SPACING, origin=ORIGIN):
    """Return an array [X, Y, Z] as a SimpleITK image on a grid of the given direction (a key of DIRECTIONS)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.transpose(array, (2, 1, 0))))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(DIRECTIONS[direction].ravel().tolist())
    return image


def grid_of(image):
    """Return all that places an image: size, spacing, origin and direction."""
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def blob(shape, centre, radii):
    """Return np.float32 [X, Y, Z], 1 within an ellipsoid (in voxels) and falling smoothly to 0 around it."""
    axes = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
    distance = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii))
    return np.exp(-distance).astype(np.float32)


def write_image(image, path):
    """Write a SimpleITK image as NIfTI and return the path as text."""
    sitk.WriteImage(image, str(path))
    return str(path)


def raw_nifti(order="<", qform=None, sform=None, spacing=(0.7, 1.1, 2.9), qfac=1.0, units=2, array=None):
    """Return the bytes of a NIfTI-1 float32 file; qform: (code, b, c, d, x, y, z), sform: (code, 12 numbers)."""
    array = scan() if array is None else array
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, array.ndim, *(array.shape + (1,) * (7 - array.ndim)))
    struct.pack_into(order + "2h", header, 70, 16, 32)
    struct.pack_into(order + "4f", header, 76, qfac, *spacing)
    struct.pack_into(order + "3f", header, 108, 352, 1, 0)
    header[123] = units
    if qform:
        struct.pack_into(order + "h", header, 252, qform[0])
        struct.pack_into(order + "6f", header, 256, *qform[1:])
    if sform:
        struct.pack_into(order + "h", header, 254, sform[0])
        struct.pack_into(order + "12f", header, 280, *sform[1:])
    header[344:348] = b"n+1\0"
    return bytes(header) + array.astype(order + "f4").tobytes(order="F")


def affine(direction, spacing=(0.7, 1.1, 2.9), origin=(-30.4, 17.7, 5.1)):
    """Return the 12 numbers of an sform."""
    matrix = np.column_stack([DIRECTIONS[direction] * spacing, origin])
    return tuple(matrix.ravel())


def written(path, content):
    """Write bytes to a file, compressed where its name says so, and return the path as text."""
    path.write_bytes(gzip.compress(content) if str(path).endswith(".gz") else content)
    return str(path)

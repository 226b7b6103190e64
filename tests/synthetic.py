"""Small scans whose grids are as awkward as those of real ones: asymmetric, anisotropic, oblique, flipped."""

import numpy as np
import SimpleITK as sitk


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

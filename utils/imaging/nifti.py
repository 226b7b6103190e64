"""Reading scans and labels, writing masks: NIfTI files and SimpleITK images, with their geometry.

Arrays have the axes [X, Y, Z] of the NIfTI header; SimpleITK's own arrays have them reversed.
"""

import gzip

import numpy as np
import SimpleITK as sitk

from utils.imaging import label_values
from utils.imaging.nifti_header import HeaderError, check_file, geometry_of, mask_header, read_header, tilt_of
from utils.imaging.scan_grid import GEOMETRY_KEY, ScanGrid
from utils.system import memory
from utils.system.errors import UnusableFile, last_line
from utils.system.files import replace_on_success

# Of the numbers of a direction, and the share of a voxel's size that its spacing may differ by, and the origin.
GRID_TOLERANCE, ORIGIN_TOLERANCE = 1e-3, 1e-2
# A header's numbers have 32 bits, and are computed with.
ROUNDINGS = 8
SMALLEST_TILT = 0.01
VOXELS_AT_ONCE = 1 << 22

# What ITK has to say about unusual headers would otherwise land between the lines of a progress bar.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_channels(path):
    """Return the channels of a scan: a list of 3-D SimpleITK float32 images.

    A 3-D file has one channel, a 4-D file one for each index of its fourth axis, each with the spacing
    (mm), origin (mm) and direction of the first three. Raises UserError for a file that cannot be read
    or is not 3-D or 4-D, and for voxels that are not finite.
    """
    header = scan_header(path)
    image = _read(path, header, memory.FLOAT)
    channels = [image] if image.GetDimension() == 3 else _split(image)
    # A CT scan of its own type need not stay beside what becomes of it.
    del image
    for number, channel in enumerate(channels):
        channels[number] = channel = sitk.Cast(channel, sitk.sitkFloat32)
    if not all(np.isfinite(part).all() for channel in channels for part in _parts(sitk.GetArrayViewFromImage(channel))):
        raise UnusableFile(
            "{}: has voxels beyond {:.2g}, which is the largest number of 32 bits{}: rescale or leave out this "
            "scan".format(
                path,
                np.finfo(np.float32).max,
                "" if (header.slope, header.intercept) == (1, 0) else ", once they are scaled as its header says",
            )
        )
    for channel in channels:
        channel.SetMetaData(GEOMETRY_KEY, header.geometry.hex())
    return channels


def scan_header(path):
    """Return the `utils.imaging.nifti_header.Header` of a scan, of which no more is read.

    Raises UserError for a file that cannot be read or is not 3-D or 4-D.
    """
    header = _checked(path, read_header)
    if len(header.dimensions) not in (3, 4):
        raise UnusableFile(
            "{}: has {} dimensions: a scan has 3, or 4 with channels: put its slices together or leave it out".format(
                path, len(header.dimensions)
            )
        )
    return header


def channels_of(header):
    """Return how many channels the scan of a header has."""
    return header.dimensions[3] if len(header.dimensions) == 4 else 1


def read_grid(path):
    """Return the ScanGrid of a scan: that of the images of `read_channels`, to the last bit.

    Only the header is read. Raises UserError as `scan_header` does.
    """
    header = scan_header(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(path)
    _checked(path, lambda path: reader.ReadImageInformation())
    axes, direction = reader.GetDimension(), reader.GetDirection()
    rows = [direction[axes * row : axes * row + 3] for row in range(3)]
    grid = reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], rows[0] + rows[1] + rows[2]
    return ScanGrid(*grid, geometry=header.geometry)


def read_label(path, like, classes):
    """Return a label as a 3-D SimpleITK uint8 image of values 0 to `classes` - 1 on the grid of `like`.

    `like` may be None, of an image that cannot be read. Raises UserError for a file that cannot be read, one on
    another grid (size; spacing, origin and direction but for rounding), and for values that
    `utils.imaging.label_values` refuses.
    """
    header = _checked(path, read_header)
    label = _read(path, header, 1)
    if like is not None:
        _check_grid(path, label, like)
    parts = _parts(sitk.GetArrayViewFromImage(label))
    if any([label_values.check(values, classes, path, header) for values in parts]):
        label = sitk.Round(label)
    return label if label.GetPixelID() == sitk.sitkUInt8 else sitk.Cast(label, sitk.sitkUInt8)


def to_array(image):
    """Return the voxels of a 3-D SimpleITK image as a new C-contiguous array [X, Y, Z] of the image's type.

    An image of K numbers per voxel gives [X, Y, Z, K].
    """
    view = sitk.GetArrayViewFromImage(image)
    return np.array(view.transpose((2, 1, 0) + tuple(range(3, view.ndim))), order="C")


def write_mask(mask, like, path):
    """Write np.uint8 [X, Y, Z] as NIfTI (.nii.gz or .nii) on the grid of `like`, of `read_channels` or `read_grid`.

    Read back with SimpleITK, the mask has exactly the size, spacing, origin and direction of `like`. For an
    image that was not read from a file they agree as far as NIfTI's 32-bit numbers can say. The file
    appears only when it is complete. Raises UserError when it cannot be written.
    """
    if mask.dtype != np.uint8 or mask.shape != like.GetSize():
        raise ValueError("not a mask of this image: {} {}, image {}".format(mask.dtype, mask.shape, like.GetSize()))
    if like.HasMetaDataKey(GEOMETRY_KEY):
        geometry = bytes.fromhex(like.GetMetaData(GEOMETRY_KEY))
    else:
        geometry = geometry_of(like.GetSpacing(), like.GetOrigin(), like.GetDirection())
    header, content = mask_header(mask.shape, geometry), np.ascontiguousarray(mask.T)
    with replace_on_success(path) as temporary, open(temporary, "wb") as file:
        if path.endswith(".gz"):
            # Neither name nor time goes into the file, so that equal masks are equal files.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
                compressed.write(header)
                compressed.write(content)
        else:
            file.write(header)
            file.write(content)


def _read(path, header, bytes_per_voxel):
    """The image, which is going to take so many bytes per voxel beside those in the file."""
    size = header.dimensions
    memory.refuse_beyond(
        memory.voxels(size) * (header.bytes_per_voxel + bytes_per_voxel),
        "{}: its {} voxels need".format(path, memory.by_axis(size)),
        "leave it out, or get it again if its header is wrong",
        UnusableFile,
    )
    _checked(path, check_file)
    image = _checked(path, lambda path: sitk.ReadImage(path, imageIO="NiftiImageIO"))
    if "vector" not in image.GetPixelIDTypeAsString():
        return image
    # By its intent code. Vectors are of one number here, as a fifth axis is refused.
    scalars = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image), isVector=False)
    scalars.CopyInformation(image)
    return scalars


def _checked(path, read):
    """What `read(path)` returns; UserError for what it raises."""
    try:
        with memory.running_out_over(path):
            return read(path)
    except HeaderError as error:
        raise UnusableFile("{}: {}: {}".format(path, error, error.advice)) from error
    except OSError as error:
        raise UnusableFile(
            "{}: cannot be read ({}): put it right or leave it out".format(path, error.strerror)
        ) from error
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise UnusableFile("{}: {}".format(path, _no_grid(read_header(path)))) from error
        raise UnusableFile(
            "{}: cannot be read as NIfTI ({}): save it anew with another program or leave it out".format(
                path, last_line(error)
            )
        ) from error


def _no_grid(header):
    """What is wrong with the axes of a scan that ITK cannot take, and what to do."""
    tilt = tilt_of(header.geometry)
    if tilt is None:
        return "has axes without a direction: correct qform and sform in its header or leave it out"
    if tilt < SMALLEST_TILT:
        return "has a place in space that ITK cannot take: make pixdim, qform and sform in its header agree"
    return "has axes that are not at right angles, but up to {:.3g} degrees off: resample it, or leave it out".format(
        tilt
    )


def _parts(voxels):
    """An array [Z, Y, X] in parts: what is made of each on the way to an answer takes little memory."""
    step = max(1, VOXELS_AT_ONCE // voxels[:1].size)
    return (voxels[first : first + step] for first in range(0, len(voxels), step))


def _split(image):
    size = list(image.GetSize()[:3]) + [0]
    return [sitk.Extract(image, size, [0, 0, 0, index]) for index in range(image.GetSize()[3])]


def _check_grid(path, label, like):
    if label.GetSize() != like.GetSize():
        raise UnusableFile(_another(path, "size", *(map(str, image.GetSize()) for image in (label, like))))
    for name in ("Spacing", "Origin", "Direction"):
        own, expected = (np.array(getattr(image, "Get" + name)()) for image in (label, like))
        if (np.abs(own - expected) > _tolerance(name, own, expected, np.array(like.GetSpacing()))).any():
            raise UnusableFile(_another(path, name.lower(), *_told_apart(own, expected)))


def _tolerance(name, own, expected, spacing):
    """By how much numbers that tell of a grid may differ, so that its voxels are still in the same places."""
    if name == "Direction":
        return GRID_TOLERANCE
    if name == "Spacing":
        return GRID_TOLERANCE * spacing
    farthest = max(np.abs(own).max(), np.abs(expected).max())
    return ORIGIN_TOLERANCE * spacing.min() + ROUNDINGS * np.finfo(np.float32).eps * farthest


def _told_apart(own, expected):
    """Two lists of numbers as texts, with as many digits as show where they differ most."""
    most = np.abs(own - expected).argmax()
    for digits in range(6, 18):
        told = [["{:.{}g}".format(value, digits) for value in values] for values in (own, expected)]
        if told[0][most] != told[1][most]:
            break
    return told


def _another(path, what, own, expected):
    return "{}: has the {} ({}), its image ({}): draw it on its image's grid".format(
        path, what, ", ".join(own), ", ".join(expected)
    )

"""The NIfTI-1 header: is the file whole, which bytes say where the scan lies, and the header of a mask there.

ITK reads a file that is cut off or has voxels that are not finite without complaint (both come out as
zeros), writes one that is cut off when the disk is full, and rounds the numbers of an oblique header.
"""

import gzip
import hashlib
import math
import os
import stat
import struct
import zlib
from typing import NamedTuple, Tuple

import numpy as np

SIZE = 348
VOXELS_AT = 352
MAGIC = b"n+1\0"
UINT8 = 2
MILLIMETRES = 2
NUMBER_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
READ_AT_ONCE = 1 << 20
# A few bytes in gzip's form may stand for any number: what lies before and behind the voxels is bounded.
FARTHEST_VOXELS = MOST_BEYOND = 1 << 26
# In any unit that there is.
LEAST_SPACING, LARGEST_SPACING = 1e-5, 1e5
# What ITK makes of a matrix with numbers near float32's largest it never comes back from, in some releases.
LARGEST_PLACE = 1e9

# What data types are that have not one real number for each voxel.
OTHER_TYPES = {
    1: "single bits",
    32: "complex numbers",
    128: "RGB colours",
    1792: "complex numbers",
    2304: "RGBA colours",
}
# By these intent codes ITK takes voxels for what they say, whatever the dimensions say, and refuses them or changes
# signs; vectors may be of one number, which is a scan's.
INTENTS, VECTORS = {1004: "matrices", 1005: "symmetric matrices", 1006: "displacements"}, 1007
PLACE = "correct pixdim, qform and sform in its header or leave it out"
AGAIN = "get the file again or leave it out"
# What other files begin with, at a byte: what they are, and what to do.
OTHER_FILES = (
    (4, b"n+2\0", "is NIfTI-2, not NIfTI-1", "convert it, as nibabel's Nifti1Image.from_image does"),
    (4, b"ni2\0", "is NIfTI-2, not NIfTI-1", "convert it, as nibabel's Nifti1Image.from_image does"),
    (344, b"ni1\0", "is the header of a pair, whose voxels are in an .img file", "save both as one .nii file"),
    (0, b"\x1f\x8b", "is gzip-compressed twice", "unpack it once"),
    (0, b"version https://git-lfs", "is what Git LFS leaves in a file's place", "fetch the file with git lfs pull"),
    (128, b"DICM", "is DICOM, not NIfTI-1", "convert it, as dcm2niix does"),
)

Header = NamedTuple(
    "Header",
    [
        ("dimensions", Tuple[int, ...]),
        ("geometry", bytes),
        ("bytes_per_voxel", int),
        ("slope", float),
        ("intercept", float),
    ],
)
Header.__doc__ = """Dimensions (dim[1] to dim[dim[0]]), the geometry fields as `mask_header` takes them, bytes per
voxel, and what the voxels are scaled by: a slope of 1 and an intercept of 0 where they are not."""

# (offset, struct format) of pixdim[0] to pixdim[3], xyzt_units, and qform_code to srow_z.
GEOMETRY_FIELDS = ((76, "4f"), (123, "B"), (252, "2h18f"))


class HeaderError(Exception):
    """The file is not a whole NIfTI-1 file; the message says why, `advice` what to do."""

    def __init__(self, message, advice=AGAIN):
        super().__init__(message)
        self.advice = advice


def read_header(path):
    """Return the Header of a NIfTI-1 file (.nii or .nii.gz), of which no more is read.

    Raises HeaderError for a file that is not NIfTI-1, OSError for one that cannot be opened.
    """
    return _read(path, lambda file: _header(file)[0])


def check_file(path):
    """Return the Header of a NIfTI-1 file (.nii or .nii.gz) after making sure that its voxels are all there.

    The file is read to its end, so that the checksum of a compressed one is known to be right. Raises
    HeaderError for a file that is not NIfTI-1 or not complete or has voxels that are not finite, OSError
    for one that cannot be opened.
    """
    return _read(path, _check_content)


def hash_of(path):
    """Return a hash of what is in a NIfTI-1 file (.nii or .nii.gz) when it is unpacked, 64 bytes.

    No more of it is read than `check_file` would let pass. Raises HeaderError and OSError as `read_header` does.
    """
    return _read(path, _hash_of_content)


def tilt_of(geometry):
    """Return by how many degrees the axes of the sform of a Header's geometry are off right angles.

    None where there is no sform, or one of its axes has no direction.
    """
    fields = struct.unpack("<" + "".join(form for _, form in GEOMETRY_FIELDS), geometry)
    axes = np.reshape(fields[-12:], (3, 4))[:, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if fields[6] <= 0 or not lengths.all():
        return None
    cosines = (axes / lengths).T.dot(axes / lengths)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.clip(np.abs(cosines).max(), 0, 1))))


def _read(path, read):
    if stat.S_ISFIFO(os.stat(path).st_mode):
        # It would be waited for.
        raise HeaderError("is a pipe, no file", "give a file")
    with open(path, "rb") as file:
        start = file.read(2)
    if not start:
        raise HeaderError("is empty")
    compressed = start == b"\x1f\x8b"
    if compressed and not path.endswith(".gz"):
        raise HeaderError("is gzip-compressed: its name must end with .nii.gz", "rename it")
    with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
        try:
            return read(file)
        except (EOFError, zlib.error, OSError) as error:
            if str(error).startswith("Not a gzipped file"):
                # It begins as one: Python says so of what comes behind the first.
                raise HeaderError(
                    "has something else behind its gzip-compressed part", "get it again, or unpack and compress it anew"
                ) from error
            raise HeaderError("is damaged or cut off ({})".format(error)) from error


def mask_header(dimensions, geometry):
    """Return the bytes before the voxels of a NIfTI-1 file of uint8 [X, Y, Z] with the geometry of a Header."""
    header = bytearray(VOXELS_AT)
    struct.pack_into("<i", header, 0, SIZE)
    struct.pack_into("<8h", header, 40, 3, *(tuple(dimensions) + (1, 1, 1, 1)))
    struct.pack_into("<2h", header, 70, UINT8, 8)
    struct.pack_into("<3f", header, 108, VOXELS_AT, 1, 0)
    header[344:348] = MAGIC
    taken = 0
    for offset, fields in GEOMETRY_FIELDS:
        size = struct.calcsize("<" + fields)
        header[offset : offset + size] = geometry[taken : taken + size]
        taken += size
    return bytes(header)


def geometry_of(spacing, origin, direction):
    """Return the geometry fields of a grid given as ITK gives it: mm, and x and y growing to left and posterior."""
    to_nifti = (-1, -1, 1)
    rows = [
        [to_nifti[row] * direction[3 * row + axis] * spacing[axis] for axis in range(3)] + [to_nifti[row] * origin[row]]
        for row in range(3)
    ]
    orientation = [0, 1] + 6 * [0] + rows[0] + rows[1] + rows[2]
    return _pack(([1] + list(spacing), [MILLIMETRES], orientation))


def _pack(geometry):
    return b"".join(struct.pack("<" + fields, *values) for (_, fields), values in zip(GEOMETRY_FIELDS, geometry))


def _check_content(file):
    header, number_type, voxels_at = _header(file)
    file.seek(voxels_at)
    _check_voxels(file, number_type, header.dimensions)
    return header


def _header(file):
    """The Header, the type of the voxels and their place in the file."""
    content = file.read(SIZE)
    order = "<" if content[:4] == struct.pack("<i", SIZE) else ">"
    if len(content) < SIZE or content[344:348] != MAGIC or content[:4] != struct.pack(order + "i", SIZE):
        for at, start, what, advice in OTHER_FILES:
            if content[at : at + len(start)] == start:
                raise HeaderError(what, advice)
        raise HeaderError("is not a NIfTI-1 file")
    _check_intent(content, order)
    dimensions = _dimensions(content, order)
    _check_spacing(content, order, dimensions)
    geometry, number_type = _geometry(content, order), _number_type(content, order)
    header = Header(dimensions, geometry, number_type.itemsize, *_scaling(content, order))
    return header, number_type, _voxels_at(content, order)


def _check_voxels(file, number_type, dimensions):
    needed = _bytes_of(number_type.itemsize, dimensions)
    found, bad = 0, 0
    for chunk in iter(lambda: file.read(READ_AT_ONCE), b""):
        whole = min(len(chunk), max(needed - found, 0)) // number_type.itemsize
        # ITK would turn these into zeros without a word.
        if number_type.kind == "f":
            bad += whole - np.count_nonzero(np.isfinite(np.frombuffer(chunk, number_type, whole)))
        found += len(chunk)
        _refuse_endless(found, needed)
    if found < needed:
        raise HeaderError("is cut off: it holds {} bytes of voxels of {}".format(found, needed))
    if bad:
        raise HeaderError(
            "has voxels that are not finite numbers (NaN or infinity): {} of {}".format(
                bad, needed // number_type.itemsize
            ),
            "give them a value, such as that of the background, or leave the file out",
        )


def _hash_of_content(file):
    header, _, voxels_at = _header(file)
    needed = voxels_at + _bytes_of(header.bytes_per_voxel, header.dimensions)
    content, found = hashlib.blake2b(), 0
    file.seek(0)
    for chunk in iter(lambda: file.read(READ_AT_ONCE), b""):
        content.update(chunk)
        found += len(chunk)
        _refuse_endless(found, needed)
    return content.digest()


def _bytes_of(itemsize, dimensions):
    for size in dimensions:
        itemsize *= size
    return itemsize


def _refuse_endless(found, needed):
    if found > needed + MOST_BEYOND:
        raise HeaderError("goes on and on behind the {} bytes of voxels that its header tells of".format(needed))


def _number_type(content, order):
    number = struct.unpack_from(order + "h", content, 70)[0]
    if number not in NUMBER_TYPES:
        what = (
            "are {}, not single real numbers".format(OTHER_TYPES[number])
            if number in OTHER_TYPES
            else "are of a type that cannot be read"
        )
        raise HeaderError(
            "has voxels that {} (NIfTI data type {})".format(what, number), "convert it to float32 or leave it out"
        )
    return np.dtype(order + NUMBER_TYPES[number])


def _scaling(content, order):
    slope, intercept = struct.unpack_from(order + "2f", content, 112)
    # As ITK has it.
    scaled = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    return (slope, intercept) if scaled else (1.0, 0.0)


def _voxels_at(content, order):
    offset = struct.unpack_from(order + "f", content, 108)[0]
    if not 0 <= offset < FARTHEST_VOXELS:
        raise HeaderError("says that its voxels begin at byte {:g}".format(offset))
    if offset < VOXELS_AT:
        # Some programs would begin there, ITK at byte 348, and others at 352.
        raise HeaderError(
            "says that its voxels begin at byte {:g}, within its header of {} bytes".format(offset, VOXELS_AT),
            "set vox_offset to {} if they begin there, or get the file again".format(VOXELS_AT),
        )
    return int(offset)


def _check_intent(content, order):
    intent, axes, components = (struct.unpack_from(order + "h", content, at)[0] for at in (68, 40, 50))
    if intent in INTENTS:
        raise HeaderError(
            "says that its voxels are {} (intent code {})".format(INTENTS[intent], intent),
            "set intent_code to 0 if each is one number, or leave it out",
        )
    if intent == VECTORS and axes > 4 and components > 1:
        raise HeaderError(
            "has vectors of {} numbers for voxels (intent code {}), and is no scan".format(components, intent),
            "leave it out",
        )


def _check_spacing(content, order, dimensions):
    spacing = struct.unpack_from(order + "3f", content, 80)[: len(dimensions)]
    # ITK would take the absolute value, and 1 for 0. (What is no number at all is told with the geometry.)
    if any(size < LEAST_SPACING or size > LARGEST_SPACING for size in spacing):
        raise HeaderError(
            "has voxels of the size {}".format(" x ".join("{:g}".format(size) for size in spacing)),
            "correct pixdim in its header or leave it out",
        )


def _geometry(content, order):
    geometry = [struct.unpack_from(order + fields, content, offset) for offset, fields in GEOMETRY_FIELDS]
    if not all(math.isfinite(value) for values in geometry for value in values):
        raise HeaderError("has a position or spacing that is not a number", PLACE)
    if not all(abs(value) <= LARGEST_PLACE for values in geometry for value in values):
        raise HeaderError("has a position or spacing beyond {:g}".format(LARGEST_PLACE), PLACE)
    return _pack(geometry)


def _dimensions(content, order):
    sizes = struct.unpack_from(order + "8h", content, 40)
    count = sizes[0]
    if not 1 <= count <= 7 or min(sizes[1 : 1 + count]) < 1:
        raise HeaderError("has impossible dimensions {}".format(sizes))
    if max(sizes[5 : 1 + count], default=1) > 1:
        raise HeaderError("has more than four axes", "save it with its channels along the fourth, or leave it out")
    return sizes[1 : 1 + min(count, 4)]

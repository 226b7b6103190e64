"""The NIfTI-1 header: is the file whole, which bytes say where the scan lies, and the header of a mask there.

ITK reads a file that is cut off without complaint (the missing voxels come out as zeros), writes one when
the disk is full, and rounds the numbers of an oblique header; all three are put right here.
"""

import gzip
import math
import struct
import zlib
from typing import NamedTuple, Tuple

SIZE = 348
VOXELS_AT = 352
MAGIC = b"n+1\0"
UINT8 = 2
MILLIMETRES = 2
SCALAR_DATATYPES = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)
COUNTED_AT_ONCE = 1 << 20

Header = NamedTuple("Header", [("dimensions", Tuple[int, ...]), ("geometry", bytes)])
Header.__doc__ = """Dimensions (dim[1] to dim[dim[0]]) and the geometry fields as `mask_header` takes them."""

# (offset, struct format) of pixdim[0] to pixdim[3], xyzt_units, and qform_code to srow_z.
GEOMETRY_FIELDS = ((76, "4f"), (123, "B"), (252, "2h18f"))


class HeaderError(Exception):
    """The file is not a whole NIfTI-1 file; the message says why."""


def check_file(path):
    """Return the Header of a NIfTI-1 file (.nii or .nii.gz) after making sure that all its voxels are there.

    A compressed file is decompressed to its end, so that its checksum is known to be right. Raises
    HeaderError for a file that is not NIfTI-1 or not complete, OSError for one that cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(2)
    if not start:
        raise HeaderError("is empty")
    compressed = start == b"\x1f\x8b"
    if compressed and not path.endswith(".gz"):
        raise HeaderError("is gzip-compressed: its name must end with .nii.gz")
    with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
        try:
            content = file.read(SIZE)
            header, needed = _parse(content)
            length = len(content) + _rest(file)
        except (EOFError, zlib.error, OSError) as error:
            raise HeaderError("is damaged or cut off (%s)" % error) from error
    if length < needed:
        raise HeaderError("is cut off: it holds %d bytes of %d" % (length, needed))
    return header


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


def _rest(file):
    length = 0
    while True:
        chunk = file.read(COUNTED_AT_ONCE)
        if not chunk:
            return length
        length += len(chunk)


def _parse(content):
    if len(content) < SIZE or content[344:348] != MAGIC:
        raise HeaderError("is not a NIfTI-1 file")
    order = "<" if struct.unpack_from("<i", content, 0)[0] == SIZE else ">"
    if struct.unpack_from(order + "i", content, 0)[0] != SIZE:
        raise HeaderError("is not a NIfTI-1 file")
    dimensions = _dimensions(content, order)
    datatype, bits = struct.unpack_from(order + "2h", content, 70)
    if datatype not in SCALAR_DATATYPES:
        raise HeaderError("has voxels that are not single real numbers (NIfTI data type %d)" % datatype)
    geometry = [struct.unpack_from(order + fields, content, offset) for offset, fields in GEOMETRY_FIELDS]
    if not all(math.isfinite(value) for values in geometry for value in values):
        raise HeaderError("has a position or spacing that is not a number")
    offset = struct.unpack_from(order + "f", content, 108)[0]
    needed = int(offset) if math.isfinite(offset) else 0
    for size in dimensions:
        bits *= size
    return Header(dimensions, _pack(geometry)), max(needed, SIZE) + bits // 8


def _dimensions(content, order):
    sizes = struct.unpack_from(order + "8h", content, 40)
    count = sizes[0]
    if not 1 <= count <= 7 or min(sizes[1 : 1 + count]) < 1:
        raise HeaderError("has impossible dimensions %s" % (sizes,))
    if max(sizes[5 : 1 + count], default=1) > 1:
        raise HeaderError("has more than four axes")
    return sizes[1 : 1 + count]

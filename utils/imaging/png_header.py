"""The chunks of a PNG file (ISO/IEC 15948): is every one there, and as it was written?

libpng says so too, but in lines of its own on the terminal.
"""

import os
import stat
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER, PALETTE, PIXELS, END = b"IHDR", b"PLTE", b"IDAT", b"IEND"
# The bits that each way to tell colours may have: grey, colours, palette, grey and colours with transparency.
BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
WITH_PALETTE, IN_COLOUR = 3, (2, 3, 6)
# libpng's own bound.
LARGEST_SIDE = 10**6
LARGEST_PALETTE = 3 * 256
READ_AT_ONCE = 1 << 20


class PngError(Exception):
    """The file is not a whole PNG file; the message says why."""


def check_file(path):
    """Make sure that a PNG file is whole.

    Raises PngError for a file that is no PNG, is cut off or damaged; OSError for one that cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        # A pipe would be waited for.
        raise PngError("cannot be read: is no file")
    with open(path, "rb") as file:
        start = file.read(len(SIGNATURE))
        if not start:
            raise PngError("is empty")
        if start != SIGNATURE:
            raise PngError("is not a PNG file")
        left = os.path.getsize(path) - len(SIGNATURE)
        names, colours = [], None
        while not names or names[-1] != END:
            name, size, content = _read_chunk(file, left)
            if (name == HEADER) == bool(names):
                raise PngError("is damaged: its header is not where it must be")
            if name == HEADER:
                colours = _colours_of(content)
            _check_order(name, size, names, colours)
            names.append(name)
            left -= 12 + size
    if PIXELS not in names:
        raise PngError("is damaged: it has no pixels")


def _read_chunk(file, left):
    """The name, the size and the first bytes of the next chunk, of a file of which so many bytes are left."""
    head = file.read(8)
    size, name = struct.unpack(">I4s", head) if len(head) == 8 else (left, b"")
    if 12 + size > left:
        raise PngError("is cut off")
    found, unread, content = zlib.crc32(name), size, b""
    while unread:
        part = file.read(min(unread, READ_AT_ONCE))
        if not part:
            raise PngError("is cut off")
        content = content or part
        found, unread = zlib.crc32(part, found), unread - len(part)
    if file.read(4) != struct.pack(">I", found & 0xFFFFFFFF):
        raise PngError("is damaged: a checksum in it is wrong")
    return name, size, content


def _colours_of(header):
    """The way to tell colours of a header that makes sense."""
    if len(header) != 13:
        raise PngError("is damaged: its header is not where it must be")
    width, height, bits, colours, compression, filters, interlace = struct.unpack(">2I5B", header)
    sides = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
    if not sides or bits not in BITS.get(colours, ()) or compression or filters or interlace > 1:
        raise PngError("is damaged: its header makes no sense")
    return colours


def _check_order(name, size, before, colours):
    """Raises PngError for what libpng in some releases of ITK ends the whole program over."""
    if not name.isalpha():
        raise PngError("is damaged: it has a part without a name")
    # A capital letter begins the names of what nobody may skip.
    if name[:1].isupper() and name not in (HEADER, PALETTE, PIXELS, END):
        raise PngError("is damaged: it has a part that nobody knows")
    palette = name == PALETTE and (
        PALETTE in before or PIXELS in before or colours not in IN_COLOUR or size % 3 or not 0 < size <= LARGEST_PALETTE
    )
    if palette or (name == PIXELS and colours == WITH_PALETTE and PALETTE not in before):
        raise PngError("is damaged: its palette is not what it must be")

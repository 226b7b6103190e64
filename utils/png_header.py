"""The chunks of a PNG file (ISO/IEC 15948): is every one there, and as it was written?

libpng says so too, but in lines of its own on the terminal.
"""

import os
import stat
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_SIZE = 13
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
        names = []
        while not names or names[-1] != b"IEND":
            name, size = _check_chunk(file, left)
            if (name == b"IHDR") == bool(names) or (not names and size != HEADER_SIZE):
                raise PngError("is damaged: its header is not where it must be")
            names.append(name)
            left -= 12 + size
    if b"IDAT" not in names:
        raise PngError("is damaged: it has no pixels")


def _check_chunk(file, left):
    """The name and the size of the next chunk, of a file of which so many bytes are left."""
    head = file.read(8)
    size, name = struct.unpack(">I4s", head) if len(head) == 8 else (left, b"")
    if 12 + size > left:
        raise PngError("is cut off")
    found, unread = zlib.crc32(name), size
    while unread:
        part = file.read(min(unread, READ_AT_ONCE))
        if not part:
            raise PngError("is cut off")
        found, unread = zlib.crc32(part, found), unread - len(part)
    if file.read(4) != struct.pack(">I", found & 0xFFFFFFFF):
        raise PngError("is damaged: a checksum in it is wrong")
    return name, size

"""The directories of a TIFF file (TIFF 6.0, section 2, and BigTIFF): is every page there, and how large are they?

libtiff, and ITK with it, takes a file that is cut off between two pages for one that has fewer. Of several pages ITK
reads all as if they were like the first, whatever they are.
"""

import os
import stat
import struct
from typing import NamedTuple, Tuple

WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_ROWS, STRIP_SIZES = 256, 257, 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
TILES = (TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES)
BITS, COLOURS, SAMPLES, PLANES, NUMBERS = 258, 262, 277, 284, 339
# What holds where a page does not say.
DEFAULTS = {BITS: (1,), COLOURS: (), SAMPLES: (1,), PLANES: (1,), NUMBERS: (1,)}
KNOWN = (WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_ROWS, STRIP_SIZES) + TILES + tuple(DEFAULTS)
# Black is 0, or white is.
GREYS = ((0,), (1,))
NUMBER_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
MOST_PAGES = 10**5
MOST_SAMPLES = 64
MOST_PIXELS = 2**30


class Page(NamedTuple):
    """The size of one page in pixels, and how each is stored: its bits, channels, meaning, and so on, by tag."""

    width: int
    height: int
    tiled: bool
    values: Tuple[Tuple[int, ...], ...]

    @property
    def is_grey(self):
        """Whether a pixel is one grey value."""
        return self._value(COLOURS) in GREYS and self._value(SAMPLES) == (1,)

    @property
    def is_deep(self):
        """Whether a pixel has values of more than 8 bits."""
        return max(self._value(BITS)) > 8

    @property
    def samples(self):
        """How many values a pixel has."""
        return self._value(SAMPLES)[0]

    def _value(self, tag):
        return self.values[sorted(DEFAULTS).index(tag)]


# How many bytes say where something is, and the struct formats of that and of the number of a directory's entries.
Layout = NamedTuple("Layout", [("size", int), ("offset", str), ("entries", str)])
LAYOUTS = {42: Layout(4, "I", "H"), 43: Layout(8, "Q", "Q")}


class TiffError(Exception):
    """The file is not a whole TIFF file; the message says why."""


def check_file(path):
    """Return a list of the ``Page`` in a TIFF file after making sure that all their pixels are in it.

    Raises TiffError for a file that is no TIFF, is cut off or damaged, or has more pixels than can be worked with;
    OSError for one that cannot be opened.
    """
    if stat.S_ISFIFO(os.stat(path).st_mode):
        # It would be waited for.
        raise TiffError("cannot be read: is no file")
    with open(path, "rb") as file:
        directories = _Directories(file, os.path.getsize(path))
        pages, seen, at = [], set(), directories.first
        while at:
            if at in seen or len(seen) == MOST_PAGES:
                raise TiffError("is damaged: its list of pages has no end")
            seen.add(at)
            page, at = directories.read(at)
            pages.append(page)
    if not pages:
        raise TiffError("has no pages")
    if sum(page.width * page.height for page in pages) > MOST_PIXELS:
        raise TiffError("has more than {} pixels".format(MOST_PIXELS))
    return pages


class _Directories:
    """Reads the directories of an open file of ``length`` bytes; ``first`` is where the first one is."""

    def __init__(self, file, length):
        self.file, self.length = file, length
        start = file.read(16)
        if not start:
            raise TiffError("is empty")
        self.order = {b"II": "<", b"MM": ">"}.get(start[:2])
        self.layout = LAYOUTS.get(struct.unpack(self.order + "H", start[2:4])[0]) if self.order and start[3:] else None
        if self.layout is None:
            raise TiffError("is not a TIFF file")
        (self.first,) = self._numbers(self.layout.offset, self.layout.size, 1)

    def read(self, at):
        """The page whose directory is at a byte, and the byte at which the next one is, 0 for none."""
        (count,) = self._numbers(self.layout.entries, at, 1)
        at += struct.calcsize(self.layout.entries)
        entry = 4 + 2 * self.layout.size
        values = {}
        for number in range(count):
            tag, values_of = self._entry(at + number * entry)
            if tag in KNOWN:
                values[tag] = values_of()
        (following,) = self._numbers(self.layout.offset, at + count * entry, 1)
        return self._page(values), following

    def _entry(self, at):
        """The tag of an entry at a byte, and a function that reads its numbers."""
        tag, kind = self._numbers("H", at, 2)
        (count,) = self._numbers(self.layout.offset, at + 4, 1)
        at += 4 + self.layout.size

        def values():
            number = NUMBER_TYPES.get(kind)
            if number is None:
                raise TiffError("is damaged: a size or place in it is no whole number")
            if tag in DEFAULTS and count > MOST_SAMPLES:
                raise TiffError("has more than {} channels".format(MOST_SAMPLES))
            within = count * struct.calcsize(number) <= self.layout.size
            return self._numbers(number, at if within else self._numbers(self.layout.offset, at, 1)[0], count)

        return tag, values

    def _page(self, values):
        if not all(len(values.get(tag, ())) == 1 and values[tag][0] > 0 for tag in (WIDTH, HEIGHT)):
            raise TiffError("is damaged: one of its pages has no size")
        tiled = any(tag in values for tag in TILES)
        sides = values.get(STRIP_ROWS, ()) + values.get(TILE_WIDTH, ()) + values.get(TILE_HEIGHT, ())
        if 0 in sides or (tiled and not all(values.get(tag) for tag in TILES)):
            raise TiffError("is damaged: the parts of one of its pages have no size")
        for places, sizes in ((STRIP_OFFSETS, STRIP_SIZES), (TILE_OFFSETS, TILE_SIZES)):
            for place, size in zip(values.get(places, ()), values.get(sizes, ())):
                if place + size > self.length:
                    raise TiffError(
                        "is cut off: it has {} bytes, and pixels up to byte {}".format(self.length, place + size)
                    )
        stored = tuple(tuple(values.get(tag, DEFAULTS[tag])) for tag in sorted(DEFAULTS))
        if not all(value for tag, value in zip(sorted(DEFAULTS), stored) if tag != COLOURS):
            raise TiffError("is damaged: a page says nothing of how its pixels are stored")
        return Page(values[WIDTH][0], values[HEIGHT][0], tiled, stored)

    def _numbers(self, kind, at, count):
        size = count * struct.calcsize(kind)
        if at + size > self.length:
            raise TiffError("is cut off or damaged: it has {} bytes, and a page at byte {}".format(self.length, at))
        self.file.seek(at)
        return struct.unpack("{}{}{}".format(self.order, count, kind), self.file.read(size))

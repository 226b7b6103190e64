import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from utils.imaging.tiff_header import TiffError, check_file

SHORT, LONG, LONG8 = 3, 4, 16


def raw_tiff(order="<", big=False, pages=((5, 3), (5, 3)), following=None, changes=()):
    """Return the bytes of a TIFF or BigTIFF file of uint8 zeros; pages: (width, height).

    `following` is where each directory says that the next one is, instead of where it is. `changes` are (tag, number
    type, number of values, value) that take the place of those of every page.
    """
    offset, entries, size = ("Q", "Q", 8) if big else ("I", "H", 4)
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    start += struct.pack(order + "HH", 8, 0) if big else b""
    content = start + struct.pack(order + offset, len(start) + size)
    for number, (width, height) in enumerate(pages):
        tags = {256: (SHORT, 1, width), 257: (SHORT, 1, height), 258: (SHORT, 1, 8), 277: (SHORT, 1, 1)}
        directory = struct.calcsize("<" + entries) + 6 * (4 + 2 * size) + size
        tags.update({273: (LONG, 1, len(content) + directory), 279: (LONG, 1, width * height)})
        tags.update({tag: changed for tag, *changed in changes})
        content += struct.pack(order + entries, len(tags))
        for tag in sorted(tags):
            kind, count, value = tags[tag]
            values = struct.pack(order + {SHORT: "H", LONG: "I", LONG8: "Q"}.get(kind, "I"), value)
            content += struct.pack(order + "HH" + offset, tag, kind, count) + values.ljust(size, b"\0")
        after = len(content) + size + width * height if number + 1 < len(pages) else 0
        content += struct.pack(order + offset, after if following is None else following) + bytes(width * height)
    return content


def check(tmp_path, content):
    path = tmp_path / "stack.tif"
    path.write_bytes(content)
    return check_file(str(path))


def sizes(pages):
    return [(page.width, page.height) for page in pages]


class TestPages:
    @pytest.mark.parametrize("big", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_have_their_sizes_in_any_byte_order_and_layout(self, tmp_path, order, big):
        assert sizes(check(tmp_path, raw_tiff(order, big, ((5, 3), (700, 1))))) == [(5, 3), (700, 1)]

    def test_of_what_simpleitk_writes(self, tmp_path):
        path = str(tmp_path / "stack.tif")
        for compressed in (False, True):
            sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 70, 50), np.uint16)), path, compressed)
            pages = check_file(path)
            assert sizes(pages) == 4 * [(50, 70)] and pages[0].is_grey and pages[0].is_deep and not pages[0].tiled

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "tiff_adobe_deflate"])
    def test_of_what_others_write(self, tmp_path, compression):
        path = str(tmp_path / "stack.tif")
        pages = [Image.fromarray(np.random.RandomState(0).randint(0, 256, (60, 40)).astype(np.uint8))] * 3
        pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
        assert sizes(check_file(path)) == 3 * [(40, 60)]


class TestDamage:
    @pytest.mark.parametrize("big", [False, True])
    def test_every_byte_is_needed(self, tmp_path, big):
        content = raw_tiff(big=big)
        for kept in range(1, len(content)):
            with pytest.raises(TiffError, match="is cut off|is not a TIFF file"):
                check(tmp_path, content[:kept])

    def test_nothing_at_all(self, tmp_path):
        with pytest.raises(TiffError, match="is empty"):
            check(tmp_path, b"")

    @pytest.mark.parametrize("content", [b"a text", b"\x89PNG\r\n\x1a\n" + bytes(50), b"II\x2b", bytes(99)])
    def test_what_is_no_tiff(self, tmp_path, content):
        with pytest.raises(TiffError, match="is not a TIFF file"):
            check(tmp_path, content)

    def test_no_pages(self, tmp_path):
        with pytest.raises(TiffError, match="has no pages"):
            check(tmp_path, b"II\x2a\0" + bytes(20))

    def test_pages_that_go_round_in_a_circle(self, tmp_path):
        with pytest.raises(TiffError, match="has no end"):
            check(tmp_path, raw_tiff(following=8))

    @pytest.mark.parametrize(
        "change, match",
        [
            ((256, SHORT, 1, 0), "one of its pages has no size"),
            ((256, SHORT, 2, 0), "one of its pages has no size"),
            ((256, 12, 1, 5), "is no whole number"),
            ((279, LONG, 2**31, 0), "is cut off or damaged"),
            ((279, LONG, 1, 2**32 - 1), "is cut off: it has 194 bytes, and pixels up to byte"),
            ((278, SHORT, 1, 0), "the parts of one of its pages have no size"),
            ((322, SHORT, 1, 16), "the parts of one of its pages have no size"),
            ((277, SHORT, 0, 0), "says nothing of how its pixels are stored"),
            ((258, SHORT, 2**20, 0), "has more than 64 channels"),
            ((256, LONG, 1, 2**31), "has more than 1073741824 pixels"),
        ],
    )
    def test_impossible_numbers(self, tmp_path, change, match):
        with pytest.raises(TiffError, match=match):
            check(tmp_path, raw_tiff(changes=[change]))

    def test_random_bytes_are_refused_or_read_and_nothing_else(self, tmp_path):
        random, content = np.random.RandomState(0), bytearray(raw_tiff())
        refused = 0
        for _ in range(300):
            damaged = bytearray(content)
            for at in random.randint(len(content), size=3):
                damaged[at] = random.randint(256)
            try:
                check(tmp_path, bytes(damaged))
            except TiffError:
                refused += 1
        assert 50 < refused < 300

    def test_a_file_that_cannot_be_opened(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            check_file(os.path.join(str(tmp_path), "none.tif"))

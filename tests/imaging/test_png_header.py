import io
import struct
import zlib

import pytest
from PIL import Image
from stack_tasks import content_of_image, grey

from utils.imaging.png_header import SIGNATURE, PngError, check_file


def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) & 0xFFFFFFFF)


def header(width=2, height=2, bits=8, colours=0, interlace=0):
    return chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colours, 0, 0, interlace))


WHOLE = content_of_image("PNG", grey(shape=(40, 30)))
HEADER, PIXELS, END = WHOLE[8:33], chunk(b"IDAT", b"pixels"), chunk(b"IEND")


@pytest.fixture
def check(tmp_path):
    def checked(content):
        (tmp_path / "image.png").write_bytes(content)
        check_file(str(tmp_path / "image.png"))

    return checked


class TestWhole:
    @pytest.mark.parametrize("shape", [(40, 30), (1, 1), (9, 5, 3), (9, 5, 4)])
    def test_as_others_write_it(self, check, shape):
        check(content_of_image("PNG", grey(shape=shape)))

    def test_with_a_palette(self, check):
        file = io.BytesIO()
        Image.fromarray(grey()).convert("P").save(file, "PNG")
        check(file.getvalue())

    def test_with_chunks_that_nobody_knows_and_bytes_behind(self, check):
        check(WHOLE[:33] + chunk(b"teXt", b"told") + WHOLE[33:] + b"more")


class TestBad:
    @pytest.mark.parametrize("kept", range(1, len(WHOLE), 97))
    def test_cut_off_anywhere(self, check, kept):
        with pytest.raises(PngError, match="is cut off|is not a PNG file"):
            check(WHOLE[:kept])
        with pytest.raises(PngError, match="is cut off"):
            check(WHOLE[:-1])

    @pytest.mark.parametrize("place", range(8, len(WHOLE), 61))
    def test_a_byte_changed_anywhere(self, check, place):
        content = bytearray(WHOLE)
        content[place] ^= 1
        with pytest.raises(PngError, match="is cut off|is damaged"):
            check(bytes(content))

    @pytest.mark.parametrize(
        "content, told",
        [
            (b"", "is empty"),
            (b"\x89PNG", "is not a PNG file"),
            (b"<html>404</html>", "is not a PNG file"),
            (SIGNATURE, "is cut off"),
            (SIGNATURE + END, "its header is not where it must be"),
            (SIGNATURE + chunk(b"IHDR", b"short") + END, "its header is not where it must be"),
            (SIGNATURE + HEADER + HEADER + END, "its header is not where it must be"),
            (SIGNATURE + HEADER + END, "it has no pixels"),
            (SIGNATURE + header(bits=3) + PIXELS + END, "its header makes no sense"),
            (SIGNATURE + header(width=0) + PIXELS + END, "its header makes no sense"),
            (SIGNATURE + header(height=10**6 + 1) + PIXELS + END, "its header makes no sense"),
            (SIGNATURE + header(colours=5) + PIXELS + END, "its header makes no sense"),
            (SIGNATURE + header(interlace=2) + PIXELS + END, "its header makes no sense"),
            (SIGNATURE + header() + chunk(b"A\0bC") + PIXELS + END, "a part without a name"),
            (SIGNATURE + header() + chunk(b"ABCD") + PIXELS + END, "a part that nobody knows"),
            (SIGNATURE + header(colours=3) + PIXELS + END, "its palette is not what it must be"),
            (SIGNATURE + header(colours=3) + chunk(b"PLTE", b"1234") + PIXELS + END, "its palette is not"),
            (SIGNATURE + header(colours=0) + chunk(b"PLTE", b"123") + PIXELS + END, "its palette is not"),
            (SIGNATURE + header(colours=3) + 2 * chunk(b"PLTE", b"123") + PIXELS + END, "its palette is not"),
            (SIGNATURE + b"\xff\xff\xff\xffIHDR", "is cut off"),
        ],
    )
    def test_what_is_wrong_is_told(self, check, content, told):
        with pytest.raises(PngError, match=told):
            check(content)

    def test_a_folder(self, tmp_path):
        with pytest.raises(PngError, match="is no file"):
            check_file(str(tmp_path))

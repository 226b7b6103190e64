"""Files that a task or a user may hand over and that are no good, each with what must be said of it."""

import gzip
import os
import struct
from typing import Callable, Dict, NamedTuple

import numpy as np
import SimpleITK as sitk
from synthetic import raw_nifti, scan, written


class Bad(NamedTuple):
    """One sort of bad file: ``spoil(path)`` makes a good one (or none) into it; ``told`` is a regular expression."""

    spoil: Callable[[str], None]
    told: str


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def _content(path):
    with gzip.open(path, "rb") as file:
        return bytearray(file.read())


def _cut(share):
    def spoil(path):
        with open(path, "rb") as file:
            content = file.read()
        _write(path, content[: int(share * len(content))])

    return spoil


def _packed(change):
    """Changes the bytes within a compressed file, which stays whole as such."""

    def spoil(path):
        content = change(_content(path))
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(content)

    return spoil


def _header(offset, form, *values):
    def change(content):
        struct.pack_into("<" + form, content, offset, *values)
        return content

    return _packed(change)


def _nifti(**form):
    def spoil(path):
        written(_Path(path), raw_nifti(**form))

    return spoil


class _Path(str):
    """A path as `synthetic.written` takes it."""

    def write_bytes(self, content):
        _write(self, content)


def _voxel(value):
    def spoil(path):
        image = sitk.Cast(sitk.ReadImage(path), sitk.sitkFloat32)
        image[2, 3, 1] = value
        sitk.WriteImage(image, path)

    return spoil


def _moved(**changes):
    """Another grid, of the same voxels."""

    def spoil(path):
        image = sitk.ReadImage(path)
        for name, change in changes.items():
            getattr(image, "Set" + name)(change(getattr(image, "Get" + name)()))
        sitk.WriteImage(image, path)

    return spoil


def _smaller(path):
    image = sitk.ReadImage(path)
    sitk.WriteImage(image[1:, :, :], path)


def _remove(path):
    os.remove(path)


def _folder(path):
    os.remove(path)
    os.mkdir(path)


def _intent(code, *components):
    """Voxels of another kind, by the header; numbers of a fifth axis."""

    def change(content):
        size = struct.unpack_from("<3h", content, 42)
        if components:
            struct.pack_into("<8h", content, 40, 5, *size + (1,) + components + (1, 1))
        struct.pack_into("<h", content, 68, code)
        return content + bytes(len(content) * (components[0] - 1 if components else 0))

    return _packed(change)


def _behind(content):
    def spoil(path):
        with open(path, "ab") as file:
            file.write(content)

    return spoil


def _again(path):
    with open(path, "rb") as file:
        content = file.read()
    _write(path, gzip.compress(content))


RANDOM = np.random.RandomState(7)

# What any file may be, that of an image and that of a label.
FILES: Dict[str, Bad] = {
    "missing": Bad(_remove, r"cannot be read \(No such file"),
    "a folder": Bad(_folder, r"cannot be read \(Is a directory"),
    "empty": Bad(lambda path: _write(path, b""), "is empty: get the file again"),
    "cut off": Bad(_cut(0.5), "is damaged or cut off"),
    "cut off in its header": Bad(_cut(0.01), "is damaged or cut off"),
    "cut off within the compression": Bad(_packed(lambda content: content[:-100]), "is cut off: it holds"),
    "not compressed, a text": Bad(lambda path: _write(path, b"<html>404</html>" * 40), "is not a NIfTI-1 file"),
    "zeros": Bad(lambda path: _write(path, bytes(5000)), "is not a NIfTI-1 file"),
    "zeros, compressed": Bad(_packed(lambda content: bytes(len(content))), "is not a NIfTI-1 file"),
    "random bytes": Bad(lambda path: _write(path, RANDOM.bytes(5000)), "is not a NIfTI-1 file"),
    "random bytes, compressed": Bad(_packed(lambda content: RANDOM.bytes(5000)), "is not a NIfTI-1 file"),
    "a header of more voxels": Bad(_header(42, "3h", 70, 70, 70), "is cut off: it holds"),
    "a header of more voxels than memory": Bad(
        _header(42, "3h", 32767, 32767, 32767), "its 32767 x 32767 x 32767 voxels need at least .* GB of memory, and "
    ),
    "a header of negative size": Bad(_header(42, "h", -14), "has impossible dimensions"),
    "a header of voxels far away": Bad(_header(108, "f", 1e9), "says that its voxels begin at byte"),
    "a header of voxels within it": Bad(
        _header(108, "f", 16), "says that its voxels begin at byte 16, within its header of 352 bytes: set"
    ),
    "not a number": Bad(_voxel(np.nan), r"has voxels that are not finite .*: 1 of \d+: give them a value"),
    "infinite": Bad(_voxel(np.inf), r"has voxels that are not finite .*: 1 of \d+: give them a value"),
    "NIfTI-2": Bad(_packed(lambda content: b"\x1c\2\0\0n+2\0\r\n\x1a\n" + content), "is NIfTI-2, .*: convert it, as"),
    "half of a pair": Bad(_header(344, "4s", b"ni1\0"), "is the header of a pair, .*: save both as one"),
    "compressed twice": Bad(_again, "is gzip-compressed twice: unpack it once"),
    "compressed, and something behind": Bad(_behind(b"behind"), "has something else behind its gzip-compressed part"),
    "a large file's stand-in": Bad(
        lambda path: _write(path, b"version https://git-lfs.github.com/spec/v1\n" + bytes(400)),
        "is what Git LFS leaves",
    ),
    "vectors": Bad(_intent(1007, 3), r"has vectors of 3 numbers for voxels \(intent code 1007\), and is no scan"),
    "matrices": Bad(
        _intent(1005), r"says that its voxels are symmetric matrices \(intent code 1005\): set intent_code"
    ),
    "128-bit numbers": Bad(
        _header(70, "h", 1536), r"has voxels that are of a type that cannot be read \(NIfTI data type 1536\): convert"
    ),
    "zero spacing": Bad(_header(80, "f", 0), "has voxels of the size 0 x 1.1 x 2.9"),
    "negative spacing": Bad(_header(84, "f", -1.1), "has voxels of the size 0.7 x -1.1 x 2.9"),
    "a flat grid": Bad(
        _nifti(sform=(1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0), spacing=(1, 1, 1)),
        "has axes without a direction: correct qform and sform",
    ),
    "axes not at right angles": Bad(
        _nifti(sform=(1, 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), spacing=(1, 1, 1)),
        "has axes that are not at right angles, but up to 26.6 degrees off: resample it",
    ),
}

IMAGES: Dict[str, Bad] = dict(
    FILES,
    **{
        "two axes": Bad(_nifti(array=scan(shape=(14, 18))), "has 2 dimensions: a scan has 3"),
        "five axes": Bad(_nifti(array=scan(shape=(5, 4, 3, 1, 2))), "has more than four axes"),
        "several channels": Bad(_nifti(array=scan(shape=(5, 4, 3, 2))), "has 2 channels where 1 are expected"),
        "complex": Bad(_header(70, "2h", 32, 64), "has voxels that are complex numbers, not single real"),
        "numbers beyond 32 bits": Bad(
            _header(112, "2f", 1e38, 0), "has voxels beyond .* scaled as its header says: resc"
        ),
    },
)

LABELS: Dict[str, Bad] = dict(
    FILES,
    **{
        "another size": Bad(_smaller, r"has the size \(.*\), its image \("),
        "another spacing": Bad(
            _moved(Spacing=lambda old: (old[0], old[1] + 0.01, old[2])), "has the spacing .* its im"
        ),
        "another origin": Bad(_moved(Origin=lambda old: (old[0] + 1,) + old[1:]), "has the origin .* its image"),
        "another direction": Bad(
            _moved(Direction=lambda old: tuple(-value if index % 3 == 2 else value for index, value in enumerate(old))),
            "has the direction .* its image",
        ),
        "scaled by its header": Bad(
            _header(112, "2f", 0.5, 0), r"has the value 0.5, which its header makes of 1 \(scl_slope 0.5, scl_inter 0\)"
        ),
        "an unknown value": Bad(_voxel(3), "has the value 3: labels of this task are whole numbers from 0 to 2"),
        "a negative value": Bad(_voxel(-1), "has the value -1: labels of this task"),
        "a value between": Bad(_voxel(0.5), "has the value 0.5: labels of this task"),
        "several channels": Bad(_nifti(array=scan(shape=(5, 4, 3, 2))), r"has the size \(5, 4, 3, 2\), its image"),
    },
)

import gzip
import hashlib
import os
import struct

import numpy as np
import pytest
from synthetic import DIRECTIONS, ORIGIN, SHAPE, SPACING, affine, image_of, raw_nifti, scan, write_image, written

from utils.imaging.nifti_header import (
    Header,
    HeaderError,
    check_file,
    geometry_of,
    hash_of,
    mask_header,
    read_header,
    tilt_of,
)


class TestCheckFile:
    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
    @pytest.mark.parametrize("shape", [(5, 7, 4), (5, 7), (5, 7, 4, 3)])
    def test_dimensions(self, tmp_path, name, shape):
        assert check_file(written(tmp_path / name, raw_nifti(array=scan(shape=shape)))).dimensions == shape

    def test_axes_of_one_behind_the_fourth_do_not_count(self, tmp_path):
        content = raw_nifti(array=scan(shape=(5, 7, 4, 1, 1)))
        assert check_file(written(tmp_path / "scan.nii", content)).dimensions == (5, 7, 4, 1)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(str(tmp_path / "scan.nii"))
        with pytest.raises(HeaderError, match="^is a pipe, no file$"):
            read_header(str(tmp_path / "scan.nii"))

    def test_byte_order_does_not_show(self, tmp_path):
        sform = (1,) + affine("oblique")
        little, big = (
            check_file(written(tmp_path / "scan.nii", raw_nifti(order, sform=sform, units=10))) for order in "<>"
        )
        assert isinstance(little, Header) and little == big

    def test_every_voxel_is_needed(self, tmp_path):
        content = raw_nifti()
        check_file(written(tmp_path / "whole.nii", content))
        with pytest.raises(HeaderError, match="is cut off: it holds 559 bytes of voxels of 560"):
            check_file(written(tmp_path / "short.nii", content[:-1]))

    def test_what_follows_the_voxels_does_not_matter(self, tmp_path):
        content = raw_nifti() + struct.pack("<10f", *[float("nan")] * 10)
        assert check_file(written(tmp_path / "scan.nii", content)).dimensions == SHAPE

    @pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -2, 1), (1, 1, 1e-9), (1e9, 1, 1), (1, float("inf"), 1)])
    def test_voxels_of_no_size(self, tmp_path, spacing):
        with pytest.raises(HeaderError, match="has voxels of the size|is not a number"):
            read_header(written(tmp_path / "scan.nii", raw_nifti(spacing=spacing)))

    def test_an_axis_that_is_not_there_needs_no_size(self, tmp_path):
        content = raw_nifti(array=scan(shape=(5, 7)), spacing=(1, 1, 0))
        assert read_header(written(tmp_path / "scan.nii", content)).dimensions == (5, 7)

    def test_the_header_alone(self, tmp_path):
        whole, start = (written(tmp_path / name, raw_nifti()) for name in ("whole.nii", "start.nii"))
        os.truncate(start, 352)
        assert read_header(start) == check_file(whole)
        with pytest.raises(HeaderError, match="is cut off"):
            check_file(start)

    @pytest.mark.parametrize("where", ["before", "behind"])
    def test_a_small_file_that_unpacks_to_very_much_is_not_read_to_its_end(self, tmp_path, where):
        content, zeros = bytearray(raw_nifti()), bytes(1 << 20)
        if where == "before":
            struct.pack_into("<f", content, 108, 1 << 27)
        with gzip.open(str(tmp_path / "scan.nii.gz"), "wb", compresslevel=1) as file:
            file.write(content)
            for _ in range(70):
                file.write(zeros)
        assert os.path.getsize(str(tmp_path / "scan.nii.gz")) < 1 << 19
        with pytest.raises(
            HeaderError, match="begin at byte" if where == "before" else "goes on and on behind the 560"
        ):
            check_file(str(tmp_path / "scan.nii.gz"))

    @pytest.mark.parametrize("place", [0, 3, 5, 11])
    @pytest.mark.parametrize("number", [3.4e38, -3.4e38, 2e9])
    def test_a_place_beyond_all_scans(self, tmp_path, place, number):
        # With the first at place 5, SimpleITK 2.1 does not come back.
        sform = list(affine("oblique"))
        sform[place] = number
        path = written(tmp_path / "scan.nii", raw_nifti(sform=(1,) + tuple(sform)))
        for read in (check_file, read_header):
            with pytest.raises(HeaderError, match="has a position or spacing beyond 1e\\+09"):
                read(path)

    def test_voxels_that_are_not_finite_are_counted(self, tmp_path):
        array = scan()
        array[:2, 0, 0], array[0, 1, 0] = np.nan, np.inf
        with pytest.raises(HeaderError, match="NaN or infinity.*: 3 of 140$") as caught:
            check_file(written(tmp_path / "scan.nii", raw_nifti(array=array)))
        assert "give them a value" in caught.value.advice

    @pytest.mark.parametrize(
        "content, told, advice",
        [
            (struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(600), "is NIfTI-2, not NIfTI-1", "nibabel"),
            (struct.pack(">i", 540) + b"n+2\0\r\n\x1a\n" + bytes(600), "is NIfTI-2, not NIfTI-1", "nibabel"),
            (raw_nifti()[:344] + b"ni1\0", "header of a pair", "as one .nii file"),
            (gzip.compress(raw_nifti()), "gzip-compressed twice", "unpack it once"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "what Git LFS leaves", "git lfs pull"),
            (bytes(128) + b"DICM" + bytes(900), "is DICOM, not NIfTI-1", "dcm2niix"),
        ],
    )
    def test_other_files_are_told_for_what_they_are(self, tmp_path, content, told, advice):
        with pytest.raises(HeaderError, match=told) as caught:
            read_header(written(tmp_path / "scan.nii.gz", content))
        assert advice in caught.value.advice

    @pytest.mark.parametrize("behind", [b"\n", b"garbage" * 40])
    def test_something_behind_the_compressed_part(self, tmp_path, behind):
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(gzip.compress(raw_nifti()) + behind)
        with pytest.raises(HeaderError, match="something else behind its gzip-compressed part"):
            check_file(str(path))

    def test_a_file_that_cannot_be_opened(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            check_file(str(tmp_path / "none.nii"))


class TestHashOf:
    def test_is_that_of_the_content_however_it_is_compressed(self, tmp_path):
        content = raw_nifti()
        parts = gzip.compress(content[:400]) + gzip.compress(content[400:]) + bytes(100)
        hashes = {hash_of(written(tmp_path / name, content)) for name in ("scan.nii", "scan.nii.gz")}
        for number, packed in enumerate([gzip.compress(content, 1), gzip.compress(content, 9), parts, content]):
            path = tmp_path / "{}.nii.gz".format(number)
            path.write_bytes(packed)
            hashes.add(hash_of(str(path)))
        assert hashes == {hashlib.blake2b(content).digest()}

    def test_no_more_is_read_than_of_a_scan(self, tmp_path):
        with gzip.open(str(tmp_path / "scan.nii.gz"), "wb", compresslevel=1) as file:
            file.write(raw_nifti())
            for _ in range(70):
                file.write(bytes(1 << 20))
        with pytest.raises(HeaderError, match="goes on and on"):
            hash_of(str(tmp_path / "scan.nii.gz"))


class TestTilt:
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_of_right_angles(self, direction):
        geometry = geometry_of(SPACING, ORIGIN, DIRECTIONS[direction].ravel().tolist())
        assert tilt_of(geometry) == pytest.approx(0, abs=1e-4)

    def test_of_a_sheared_grid_and_a_flat_one(self):
        assert tilt_of(geometry_of((1, 1, 1), ORIGIN, (1, 1, 0, 0, 1, 0, 0, 0, 1))) == pytest.approx(45)
        assert tilt_of(geometry_of((1, 1, 0), ORIGIN, (1, 0, 0, 0, 1, 0, 0, 0, 1))) is None


class TestMaskHeader:
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_geometry_is_kept_bit_by_bit(self, tmp_path, direction):
        qform = (1, 0.1, -0.3, 0.5, 12.3, -7.7, 80.1)
        header = check_file(written(tmp_path / "scan.nii", raw_nifti(qform=qform, sform=(4,) + affine(direction))))
        content = mask_header(header.dimensions, header.geometry) + bytes(5 * 7 * 4)
        assert check_file(written(tmp_path / "mask.nii.gz", content)) == header._replace(bytes_per_voxel=1)


class TestGeometryOf:
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_the_place_is_the_one_itk_writes(self, tmp_path, direction):
        path = write_image(image_of(np.zeros(SHAPE, np.uint8), direction), tmp_path / "scan.nii")
        by_itk = struct.unpack("<4fB2h18f", check_file(path).geometry)
        ours = struct.unpack("<4fB2h18f", geometry_of(SPACING, ORIGIN, DIRECTIONS[direction].ravel().tolist()))
        np.testing.assert_allclose(ours[1:4], by_itk[1:4], rtol=1e-6)
        np.testing.assert_allclose(ours[-12:], by_itk[-12:], rtol=1e-5, atol=1e-5)
        assert ours[6] > 0 and by_itk[6] > 0

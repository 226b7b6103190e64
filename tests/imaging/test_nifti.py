import gzip
import os
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import DIRECTIONS, SHAPE, affine, grid_of, image_of, raw_nifti, scan, write_image, written

from utils.imaging.label_values import take_rounded
from utils.imaging.nifti import read_channels, read_grid, read_label, to_array, write_mask
from utils.system.errors import UserError


def changed(content, *fields):
    """The bytes of a file with some numbers put in: (offset, struct format, values)."""
    content = bytearray(content)
    for offset, form, *values in fields:
        struct.pack_into("<" + form, content, offset, *values)
    return bytes(content)


def assert_mask_lies_on_its_scan(scan_path, mask_path):
    like = read_channels(scan_path)[0]
    mask = np.random.RandomState(7).randint(0, 256, like.GetSize()).astype(np.uint8)
    write_mask(mask, like, str(mask_path))
    read_back = sitk.ReadImage(str(mask_path))
    assert read_back.GetPixelID() == sitk.sitkUInt8
    assert grid_of(read_back) == grid_of(like)
    np.testing.assert_array_equal(to_array(read_back), mask)


class TestReadChannels:
    @pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
    def test_a_scan_comes_as_it_was_written(self, tmp_path, extension):
        image = image_of(scan(), "flipped")
        path = write_image(image, tmp_path / ("scan" + extension))
        (channel,) = read_channels(path)
        assert channel.GetPixelID() == sitk.sitkFloat32
        assert grid_of(channel) == grid_of(sitk.ReadImage(path))
        np.testing.assert_array_equal(to_array(channel), scan())

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
    def test_any_number_type_becomes_float32(self, tmp_path, dtype):
        values = np.arange(5 * 7 * 4).reshape(SHAPE).astype(dtype)
        (channel,) = read_channels(write_image(image_of(values), tmp_path / "scan.nii.gz"))
        assert to_array(channel).dtype == np.float32
        np.testing.assert_array_equal(to_array(channel), values)

    def test_scaling_in_the_header_is_applied(self, tmp_path):
        content = bytearray(raw_nifti())
        struct.pack_into("<2f", content, 112, 2.0, -1.0)
        (channel,) = read_channels(written(tmp_path / "scan.nii", bytes(content)))
        np.testing.assert_allclose(to_array(channel), 2 * scan() - 1, rtol=1e-6)

    def test_big_endian(self, tmp_path):
        (channel,) = read_channels(written(tmp_path / "scan.nii.gz", raw_nifti(">")))
        np.testing.assert_array_equal(to_array(channel), scan())

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_four_axes_are_channels_on_the_grid_of_three(self, tmp_path, direction):
        sform = (1,) + affine(direction)
        volumes = [scan(seed) for seed in range(3)]
        several = read_channels(
            written(tmp_path / "several.nii.gz", raw_nifti(sform=sform, array=np.stack(volumes, axis=-1)))
        )
        (single,) = read_channels(written(tmp_path / "single.nii.gz", raw_nifti(sform=sform)))
        assert len(several) == 3
        for channel, volume in zip(several, volumes):
            assert grid_of(channel) == grid_of(single)
            np.testing.assert_array_equal(to_array(channel), volume)

    @pytest.mark.parametrize("extra", [16, 3 << 20])
    def test_voxels_after_an_extension_of_the_header(self, tmp_path, extra):
        content = bytearray(raw_nifti())
        struct.pack_into("<f", content, 108, 352 + extra)
        content[352:352] = bytes(extra)
        (channel,) = read_channels(written(tmp_path / "scan.nii.gz", bytes(content)))
        np.testing.assert_array_equal(to_array(channel), scan())

    def test_a_fourth_axis_of_one(self, tmp_path):
        (channel,) = read_channels(written(tmp_path / "scan.nii", raw_nifti(array=scan(shape=SHAPE + (1,)))))
        np.testing.assert_array_equal(to_array(channel), scan(shape=SHAPE))

    @pytest.mark.parametrize("dimensions", [(3, 1, 1), (4, 1, 1), (5, 1, 1)])
    def test_vectors_of_one_number_are_numbers(self, tmp_path, dimensions):
        shape = SHAPE + dimensions[1:]
        content = changed(raw_nifti(sform=(1,) + affine("oblique")), (40, "6h", dimensions[0], *shape), (68, "h", 1007))
        path = written(tmp_path / "scan.nii.gz", content)
        (channel,) = read_channels(path)
        np.testing.assert_array_equal(to_array(channel), scan())
        assert_mask_lies_on_its_scan(path, tmp_path / "mask.nii.gz")

    def test_vectors_of_one_number_along_four_axes_are_channels(self, tmp_path):
        array = scan(shape=SHAPE + (2,))
        channels = read_channels(written(tmp_path / "scan.nii", changed(raw_nifti(array=array), (68, "h", 1007))))
        np.testing.assert_array_equal(np.stack([to_array(one) for one in channels], axis=-1), array)

    def test_a_single_slice_is_a_scan(self, tmp_path):
        (channel,) = read_channels(written(tmp_path / "scan.nii", raw_nifti(array=scan(shape=(5, 7, 1)))))
        assert channel.GetSize() == (5, 7, 1)


class TestBadScans:
    @pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
    def test_cut_off(self, tmp_path, extension, kept):
        path = tmp_path / ("scan" + extension)
        content = open(write_image(image_of(scan(shape=(30, 20, 10))), path), "rb").read()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UserError, match=r"scan\.nii.*cut off"):
            read_channels(str(path))

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match=r"none\.nii\.gz: cannot be read \(No such file"):
            read_channels(str(tmp_path / "none.nii.gz"))

    def test_empty(self, tmp_path):
        with pytest.raises(UserError, match=r"scan\.nii: is empty"):
            read_channels(written(tmp_path / "scan.nii", b""))

    def test_a_label_with_voxels_that_are_not_finite(self, tmp_path):
        path = write_image(image_of(np.full(SHAPE, np.nan)), tmp_path / "label.nii.gz")
        with pytest.raises(UserError, match=r"label\.nii\.gz: has voxels that are not finite"):
            read_label(path, image_of(scan()), 2)

    def test_a_folder(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_channels(str(tmp_path))

    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
    @pytest.mark.parametrize("content", [b"a text", b"not a scan " * 100, bytes(1000)])
    def test_not_nifti(self, tmp_path, name, content):
        with pytest.raises(UserError, match=r"scan\.nii.*: is not a NIfTI-1 file"):
            read_channels(written(tmp_path / name, content))

    def test_compressed_without_saying_so(self, tmp_path):
        path = tmp_path / "scan.nii"
        path.write_bytes(gzip.compress(raw_nifti()))
        with pytest.raises(UserError, match="must end with .nii.gz"):
            read_channels(str(path))

    def test_damaged_in_the_middle(self, tmp_path):
        content = bytearray(gzip.compress(raw_nifti()))
        content[len(content) // 2] ^= 0xFF
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            read_channels(str(path))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_voxels_that_are_not_finite(self, tmp_path, value):
        volume = scan()
        volume[1, 2, 3] = value
        with pytest.raises(UserError, match=r"scan\.nii\.gz: has voxels that are not finite"):
            read_channels(write_image(image_of(volume), tmp_path / "scan.nii.gz"))

    def test_voxels_too_large_for_float32(self, tmp_path):
        volume = scan().astype(np.float64)
        volume[1, 2, 3] = 1e300
        with pytest.raises(UserError, match=r"scan\.nii\.gz: has voxels beyond 3.4e\+38, .* 32 bits: rescale"):
            read_channels(write_image(image_of(volume), tmp_path / "scan.nii.gz"))

    def test_voxels_scaled_beyond_float32(self, tmp_path):
        path = written(tmp_path / "scan.nii", changed(raw_nifti(array=1000 * scan()), (112, "2f", 1e38, 0)))
        with pytest.raises(UserError, match="has voxels beyond .* once they are scaled as its header says"):
            read_channels(path)

    @pytest.mark.parametrize("offset", [np.nan, -1.0, 1e30])
    def test_voxels_nowhere(self, tmp_path, offset):
        content = bytearray(raw_nifti())
        struct.pack_into("<f", content, 108, offset)
        with pytest.raises(UserError, match="says that its voxels begin at byte"):
            read_channels(written(tmp_path / "scan.nii", bytes(content)))

    def test_two_dimensions(self, tmp_path):
        path = write_image(sitk.GetImageFromArray(scan()[0]), tmp_path / "scan.nii")
        with pytest.raises(UserError, match=r"scan\.nii: has 2 dimensions"):
            read_channels(path)

    @pytest.mark.parametrize(
        "image, reason",
        [
            (sitk.GetImageFromArray(scan().astype(np.complex64)), "not single real numbers"),
            (
                sitk.GetImageFromArray(scan(shape=SHAPE + (3,)), isVector=True),
                r"vectors of 3 numbers .* \(intent code 1007\)",
            ),
        ],
    )
    def test_voxels_that_are_not_one_number(self, tmp_path, image, reason):
        with pytest.raises(UserError, match=reason):
            read_channels(write_image(image, tmp_path / "scan.nii.gz"))

    @pytest.mark.parametrize("offset, number", [(80, "f"), (268, "f"), (280, "f"), (324, "f")])
    def test_a_place_that_is_not_a_number(self, tmp_path, offset, number):
        content = bytearray(raw_nifti(sform=(1,) + affine("oblique")))
        struct.pack_into("<" + number, content, offset, np.nan)
        with pytest.raises(UserError, match="position or spacing that is not a number"):
            read_channels(written(tmp_path / "scan.nii", bytes(content)))

    @pytest.mark.parametrize("dimensions", [(3, -5, 7, 4), (3, 0, 7, 4), (9, 5, 7, 4), (0, 5, 7, 4)])
    def test_impossible_dimensions(self, tmp_path, dimensions):
        content = bytearray(raw_nifti())
        struct.pack_into("<4h", content, 40, *dimensions)
        with pytest.raises(UserError, match="impossible dimensions"):
            read_channels(written(tmp_path / "scan.nii", bytes(content)))

    @pytest.mark.parametrize(
        "matrix, told",
        [
            ((0.0,) * 12, "has axes without a direction: correct qform and sform"),
            (
                (1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0),
                "has axes that are not at right angles, but up to 26.6 degrees off: resample it",
            ),
            (affine("oblique", origin=(1e8, 1e8, 0)), "has a place in space that ITK cannot take: make pixdim"),
        ],
    )
    def test_a_grid_that_is_flat_or_sheared_or_nowhere(self, tmp_path, matrix, told):
        path = written(tmp_path / "scan.nii", raw_nifti(sform=(1,) + tuple(matrix)))
        for read in (read_channels, read_grid):
            with pytest.raises(UserError, match=r"scan\.nii: " + told):
                read(path)

    @pytest.mark.parametrize("code", [1004, 1005, 1006])
    def test_codes_by_which_itk_refuses_or_changes_numbers(self, tmp_path, code):
        path = written(tmp_path / "scan.nii", changed(raw_nifti(), (68, "h", code)))
        with pytest.raises(UserError, match=r"\(intent code {}\): set intent_code to 0 if each is one".format(code)):
            read_channels(path)

    @pytest.mark.parametrize("offset", [0, 16, 348, 351])
    def test_voxels_within_the_header(self, tmp_path, offset):
        # ITK would begin at byte 348, by which all voxels are off by one.
        path = written(tmp_path / "scan.nii", changed(raw_nifti(), (108, "f", offset)))
        with pytest.raises(UserError, match="begin at byte {}, within its header of 352 bytes: set".format(offset)):
            read_channels(path)

    def test_the_terminal_stays_clean(self, tmp_path, capfd):
        contents = [b"text" * 200, raw_nifti()[:500], raw_nifti(sform=(1,) + affine("oblique"), spacing=(0, -1, 1))]
        for number, content in enumerate(contents):
            try:
                read_channels(written(tmp_path / ("{}.nii".format(number)), content))
            except UserError as error:
                assert "\n" not in str(error)
        assert capfd.readouterr() == ("", "")


class TestReadLabel:
    def like(self, tmp_path, direction="oblique"):
        return read_channels(write_image(image_of(scan(), direction), tmp_path / "image.nii.gz"))[0]

    def label(self, tmp_path, values, **grid):
        return write_image(image_of(values, **grid), tmp_path / "label.nii.gz")

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
    def test_whole_numbers_of_any_type(self, tmp_path, dtype):
        values = np.random.RandomState(1).randint(0, 3, SHAPE).astype(dtype)
        label = read_label(self.label(tmp_path, values), self.like(tmp_path), 3)
        assert label.GetPixelID() == sitk.sitkUInt8
        np.testing.assert_array_equal(to_array(label), values)

    @pytest.mark.parametrize(
        "value, shown, remedy",
        [
            (3, "3", "correct it, or dataset.json"),
            (-1, "-1", "correct it"),
            (0.5, "0.5", "correct it"),
            (256, "256", "correct it"),
            (1e9, "1000000000", "correct it"),
            (2.9999999, "2.9999999", "correct it"),
            (1.9989999999, "1.9989999999", "correct it"),
        ],
    )
    def test_a_value_that_is_no_class(self, tmp_path, value, shown, remedy):
        values = np.zeros(SHAPE, np.float64)
        values[2, 3, 1] = value
        with pytest.raises(UserError) as caught:
            read_label(self.label(tmp_path, values), self.like(tmp_path), 3)
        told = "label.nii.gz: has the value {}: labels of this task are whole numbers from 0 to 2: {}"
        assert str(caught.value).endswith(told.format(shown, remedy))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_is_nearly_whole_is_rounded_and_told_of_once(self, tmp_path, dtype):
        values = np.random.RandomState(1).randint(0, 3, SHAPE)
        path = self.label(tmp_path, (values - 1e-4 * (values != 1) + 9e-4 * (values == 1)).astype(dtype))
        np.testing.assert_array_equal(to_array(read_label(path, self.like(tmp_path), 3)), values)
        assert take_rounded(["another", path, path]) == [path]
        assert take_rounded([path]) == []

    @pytest.mark.parametrize(
        "slope, intercept, told", [(0.5, 0, "0.5 .* of 1"), (1, 1, "3 .* of 2"), (-1, 0, "-1 .* of 1")]
    )
    def test_a_value_that_the_header_makes(self, tmp_path, slope, intercept, told):
        content = raw_nifti(array=np.random.RandomState(1).randint(0, 3, SHAPE))
        path = written(tmp_path / "label.nii", changed(content, (112, "2f", slope, intercept)))
        told = r"has the value {} \(scl_slope {}, scl_inter {}\): .*: set scl_slope to 1 and".format(
            told.replace(" .* ", ", which its header makes "), slope, intercept
        )
        with pytest.raises(UserError, match=told):
            read_label(path, None, 3)

    def test_a_vector_of_one_number(self, tmp_path):
        values = np.random.RandomState(1).randint(0, 3, SHAPE)
        path = written(tmp_path / "label.nii", changed(raw_nifti(array=values), (68, "h", 1007)))
        np.testing.assert_array_equal(to_array(read_label(path, None, 3)), values)

    @pytest.mark.parametrize(
        "grid, reason",
        [
            ({"spacing": (0.7, 1.1, 2.91)}, "spacing"),
            ({"origin": (-57.3, 12.9, 101.75)}, "origin"),
            ({"direction": "flipped"}, "direction"),
        ],
    )
    def test_another_grid(self, tmp_path, grid, reason):
        with pytest.raises(UserError, match=r"label\.nii\.gz: has the {} .* its image".format(reason)):
            read_label(self.label(tmp_path, np.zeros(SHAPE, np.uint8), **grid), self.like(tmp_path), 2)

    @pytest.mark.parametrize("shape", [(5, 4, 7), (5, 7, 4, 2)])
    def test_another_size(self, tmp_path, shape):
        path = written(tmp_path / "label.nii.gz", raw_nifti(array=np.zeros(shape)))
        with pytest.raises(UserError, match=r"label\.nii\.gz: has the size \(5, .* its image \(5, 7, 4\)"):
            read_label(path, self.like(tmp_path), 2)

    def test_grids_that_differ_little_are_told_with_the_digits_that_differ(self, tmp_path):
        grid = {"origin": (-1234.0, 12.9, 101.7), "spacing": (0.0002, 1.1, 2.9)}
        like = image_of(scan(), **grid)
        path = self.label(tmp_path, np.zeros(SHAPE, np.uint8), **dict(grid, origin=(-1234.0, 12.902, 101.7)))
        with pytest.raises(UserError, match="has the origin") as caught:
            read_label(path, like, 2)
        own, expected = re.findall(r"\(([^)]*)\)", str(caught.value))
        assert own != expected

    @pytest.mark.parametrize(
        "spacing, origin, off, same",
        [
            ((0.5, 0.5, 1.0), (-1234.5, 12.9, 101.7), 0.002, True),
            ((0.5, 0.5, 1.0), (-1234.5, 12.9, 101.7), 0.02, False),
            # What 32 bits can hold there.
            ((1e-3, 1e-3, 1e-3), (-12345.0, 12.9, 101.7), 0.002, True),
            ((1e-3, 1e-3, 1e-3), (-1.0, 0.5, 0.2), 0.0005, False),
        ],
    )
    def test_the_tolerance_follows_the_voxels_and_their_distance(self, tmp_path, spacing, origin, off, same):
        moved = (origin[0], origin[1] + off, origin[2])
        path = self.label(tmp_path, np.zeros(SHAPE, np.uint8), direction="identity", spacing=spacing, origin=moved)
        like = image_of(scan(), "identity", spacing, origin)
        if same:
            read_label(path, like, 2)
        else:
            with pytest.raises(UserError, match="has the origin"):
                read_label(path, like, 2)

    def test_the_spacing_of_small_voxels_may_differ_by_a_share(self, tmp_path):
        path = self.label(tmp_path, np.zeros(SHAPE, np.uint8), direction="identity", spacing=(2e-3, 1e-3, 1e-3))
        with pytest.raises(UserError, match="has the spacing"):
            read_label(path, image_of(scan(), "identity", (1e-3, 1e-3, 1e-3)), 2)

    def test_rounding_of_the_grid_is_tolerated(self, tmp_path):
        grid = {"spacing": (0.7, 1.1, 2.9 + 5e-4), "origin": (-57.3, 12.9 - 5e-4, 101.7)}
        label = read_label(self.label(tmp_path, np.ones(SHAPE, np.uint8), **grid), self.like(tmp_path), 2)
        assert to_array(label).all()


class TestArrays:
    def test_axes_are_those_of_the_image(self):
        image = sitk.Image(5, 7, 4, sitk.sitkInt16)
        image[4, 6, 3] = 11
        image[1, 2, 3] = 12
        array = to_array(image)
        assert array.shape == (5, 7, 4) and array.dtype == np.int16 and array.flags.c_contiguous
        assert array[4, 6, 3] == 11 and array[1, 2, 3] == 12

    def test_several_numbers_per_voxel_come_last(self):
        values = scan(shape=(4, 7, 5, 3))
        array = to_array(sitk.GetImageFromArray(values, isVector=True))
        np.testing.assert_array_equal(array, values.transpose(2, 1, 0, 3))

    def test_the_array_outlives_the_image(self):
        array = to_array(image_of(scan(shape=(1, 1, 6))))
        np.testing.assert_array_equal(array, scan(shape=(1, 1, 6)))


class TestWriteMask:
    @pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("seed", range(12))
    def test_on_exactly_the_grid_of_any_scan(self, tmp_path, seed, extension):
        rng = np.random.RandomState(seed)
        direction, _ = np.linalg.qr(rng.randn(3, 3))
        image = image_of(scan(seed, tuple(rng.randint(1, 9, 3))), spacing=rng.uniform(0.2, 6, 3).tolist())
        image.SetOrigin(rng.uniform(-300, 300, 3).tolist())
        image.SetDirection((direction * rng.choice([-1, 1], 3)).ravel().tolist())
        path = write_image(image, tmp_path / "scan.nii.gz")
        assert_mask_lies_on_its_scan(path, tmp_path / ("mask" + extension))

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    @pytest.mark.parametrize(
        "header",
        [
            {"sform": (1,)},
            {"sform": (4,), "qform": (1, 0.1, -0.3, 0.5, 12.3, -7.7, 80.1)},
            {"sform": (1,), "units": 1},
            {"sform": (0,), "qform": (2, 0.7, 0.2, -0.1, 12.3, -7.7, 80.1), "qfac": -1.0},
            {"sform": (0,), "qform": (2, 0.7, 0.2, -0.1, 12.3, -7.7, 80.1), "qfac": 0.0},
            {"sform": (0,)},
        ],
    )
    def test_on_exactly_the_grid_however_the_header_tells_it(self, tmp_path, header, direction, order):
        header = dict(header, sform=header["sform"] + affine(direction))
        path = written(tmp_path / "scan.nii.gz", raw_nifti(order, **header))
        assert_mask_lies_on_its_scan(path, tmp_path / "mask.nii.gz")

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_on_the_grid_of_a_channel_of_several(self, tmp_path, direction):
        array = scan(shape=SHAPE + (2,))
        path = written(tmp_path / "scan.nii.gz", raw_nifti(sform=(1,) + affine(direction), array=array))
        assert_mask_lies_on_its_scan(path, tmp_path / "mask.nii.gz")

    @pytest.mark.parametrize("direction", sorted(DIRECTIONS))
    def test_on_the_grid_of_an_image_made_in_memory(self, tmp_path, direction):
        like = image_of(scan(), direction)
        write_mask(np.ones(SHAPE, np.uint8), like, str(tmp_path / "mask.nii.gz"))
        read_back = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
        np.testing.assert_allclose(np.concatenate(grid_of(read_back)), np.concatenate(grid_of(like)), atol=1e-5)

    def test_it_is_a_label_of_the_scan(self, tmp_path):
        path = write_image(image_of(scan()), tmp_path / "scan.nii.gz")
        like = read_channels(path)[0]
        mask = np.random.RandomState(0).randint(0, 3, SHAPE).astype(np.uint8)
        write_mask(mask, like, str(tmp_path / "mask.nii.gz"))
        np.testing.assert_array_equal(to_array(read_label(str(tmp_path / "mask.nii.gz"), like, 3)), mask)

    def test_equal_masks_are_equal_files(self, tmp_path):
        like = image_of(scan())
        for name in ("one.nii.gz", "two.nii.gz"):
            write_mask(np.ones(SHAPE, np.uint8), like, str(tmp_path / name))
        assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()

    def test_nothing_but_the_mask_is_left(self, tmp_path):
        write_mask(np.ones(SHAPE, np.uint8), image_of(scan()), str(tmp_path / "mask.nii.gz"))
        assert os.listdir(str(tmp_path)) == ["mask.nii.gz"]

    @pytest.mark.parametrize("mask", [np.ones(SHAPE, np.int64), np.ones((7, 5, 4), np.uint8)])
    def test_what_is_no_mask_of_the_scan(self, tmp_path, mask):
        with pytest.raises(ValueError, match="not a mask of this image"):
            write_mask(mask, image_of(scan()), str(tmp_path / "mask.nii.gz"))

    def test_a_place_that_cannot_be_written(self, tmp_path, capfd):
        (tmp_path / "mask.nii.gz").mkdir()
        with pytest.raises(UserError, match=r"mask\.nii\.gz: cannot be written"):
            write_mask(np.ones(SHAPE, np.uint8), image_of(scan()), str(tmp_path / "mask.nii.gz"))
        assert os.listdir(str(tmp_path)) == ["mask.nii.gz"]
        assert capfd.readouterr() == ("", "")

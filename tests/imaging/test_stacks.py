import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import PROJECT
from PIL import Image
from stack_tasks import SHAPE, content_of_image, grey, saved, tiled, truth

from utils.imaging.label_values import take_rounded
from utils.imaging.nifti import to_array
from utils.imaging.stacks import (
    Page,
    describe,
    forget,
    mask_pages,
    pages_of,
    read_header,
    read_mask,
    read_page,
    to_channels,
    write_masks,
    write_stack,
)
from utils.imaging.tiff_header import check_file
from utils.system.errors import UnusableFile, UserError


def read_all(path):
    return [read_page(page) for page in pages_of(path)]


class TestPages:
    def test_of_a_file_have_its_name_and_their_numbers(self, tmp_path):
        path = saved(tmp_path / "train-volume.tif", *[grey(number) for number in range(3)])
        names = ["train-volume_000", "train-volume_001", "train-volume_002"]
        assert pages_of(path) == tuple(Page(name, path, number) for number, name in enumerate(names))

    def test_of_a_folder_have_the_names_of_its_files(self, tmp_path):
        for name in ("b.tif", "a.PNG", "c.d.png"):
            saved(tmp_path / "images" / name, grey(), format="TIFF" if name == "b.tif" else "PNG")
        (tmp_path / "images" / "notes.txt").write_text("no image")
        (tmp_path / "images" / "._a.png").write_bytes(b"left by macOS")
        folder = str(tmp_path / "images")
        found = [Page(name, os.path.join(folder, name + end), None) for name, end in zip("ab", (".PNG", ".tif"))]
        assert pages_of(folder) == tuple(found) + (Page("c.d", os.path.join(folder, "c.d.png"), None),)

    def test_numbers_in_their_names_are_numbers(self, tmp_path):
        names = ["1.png", "a.png", "a1.png", "a1b2.png", "a2.png", "a09.png", "a9.png", "a10.tif", "a10b.png", "b.png"]
        for name in sorted(names):
            saved(tmp_path / "images" / name, grey())
        assert [os.path.basename(page.path) for page in pages_of(str(tmp_path / "images"))] == names

    def test_of_a_single_image(self, tmp_path):
        path = saved(tmp_path / "one.png", grey())
        assert pages_of(path) == (Page("one", path, None),)


class TestReadPage:
    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "tiff_adobe_deflate"])
    def test_pages_come_as_they_were_written(self, tmp_path, compression):
        pages = [grey(number) for number in range(4)]
        found = read_all(saved(tmp_path / "stack.tif", *pages, compression=compression))
        assert all(page.dtype == np.float32 for page in found)
        np.testing.assert_array_equal(found, [page[..., None] for page in pages])

    def test_a_folders_may_be_of_several_sizes(self, tmp_path):
        pages = [grey(number, shape) for number, shape in enumerate([(7, 5), (4, 9), (1, 1)])]
        for number, page in enumerate(pages):
            saved(tmp_path / "images" / "{}.png".format(number), page)
        for found, page in zip(read_all(str(tmp_path / "images")), pages):
            np.testing.assert_array_equal(found, page[..., None])

    def test_sixteen_bits_and_real_numbers(self, tmp_path):
        deep, real = grey().astype(np.uint16) * 257, np.random.RandomState(1).randn(*SHAPE).astype(np.float32)
        for page, name in ((deep, "deep.png"), (deep, "deep.tif"), (real, "real.tif")):
            np.testing.assert_array_equal(read_all(saved(tmp_path / name, page))[0][..., 0], page)

    @pytest.mark.parametrize("name", ["colour.png", "colour.tif"])
    def test_colours_are_channels_and_transparency_is_none(self, tmp_path, name):
        page = grey(shape=SHAPE + (4,))
        np.testing.assert_array_equal(read_all(saved(tmp_path / name, page[..., :3]))[0], page[..., :3])
        np.testing.assert_array_equal(read_all(saved(tmp_path / ("alpha_" + name), page))[0], page[..., :3])

    def test_grey_in_tiles(self, tmp_path):
        """ITK gives it as colours with transparency."""
        page = grey(shape=(16, 16))
        (tmp_path / "tiles.tif").write_bytes(tiled(content_of_image("TIFF", page)))
        pages = pages_of(str(tmp_path / "tiles.tif"))
        assert read_header(pages) == ((16, 16), 1)
        np.testing.assert_array_equal(read_page(pages[0])[..., 0], page)

    def test_a_file_that_has_changed_is_read_anew(self, tmp_path):
        for seed in (0, 1):
            path = saved(tmp_path / "stack.tif", grey(seed), grey(seed + 5))
            os.utime(path, ns=(seed, seed))
            np.testing.assert_array_equal(read_page(pages_of(path)[1])[..., 0], grey(seed + 5))

    def test_and_so_is_its_header(self, tmp_path):
        for seconds, shape in enumerate([(7, 5), (5, 7)]):
            pages = pages_of(saved(tmp_path / "stack.tif", grey(shape=shape), grey(shape=shape)))
            os.utime(pages[0].path, (seconds, seconds))
            assert read_header(pages[:1]) == read_header(pages[1:]) == (shape, 1)

    def test_that_of_a_file_is_read_once_for_all_its_pages(self, tmp_path, monkeypatch):
        """A thousand pages would each read a thousand directories."""
        pages = pages_of(saved(tmp_path / "stack.tif", *[grey(number) for number in range(9)]))
        looked_at = []
        monkeypatch.setattr("utils.imaging.stacks.check_file", lambda path: looked_at.append(path) or check_file(path))
        for page in pages:
            assert read_header([page]) == (SHAPE, 1)
            read_page(page)
        # For the header, and before the pixels.
        assert len(looked_at) == 2

    def test_no_file_is_kept_for_ever(self, tmp_path):
        path = saved(tmp_path / "stack.tif", grey(), grey(1))
        pages = pages_of(path)
        first = [read_page(page) for page in pages]
        state = os.stat(path)
        saved(path, grey(1), grey())
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert os.path.getsize(path) == state.st_size
        # That the file has changed cannot be seen.
        np.testing.assert_array_equal([read_page(page) for page in pages], first)
        forget()
        np.testing.assert_array_equal([read_page(page) for page in pages], first[::-1])

    def test_one_that_has_lost_pages_since(self, tmp_path):
        last = pages_of(saved(tmp_path / "stack.tif", grey(), grey(1), grey(2)))[-1]
        saved(tmp_path / "stack.tif", grey(), grey(1))
        with pytest.raises(UserError, match=r"stack\.tif: has 2 pages, not 3"):
            read_page(last)


class TestReadMask:
    @pytest.mark.parametrize("scale", [1, 255])
    def test_of_two_classes_the_second_is_one_or_white(self, tmp_path, scale):
        path = saved(tmp_path / "labels.tif", truth(0) * np.uint8(scale), truth(1) * np.uint8(scale))
        for seed, page in enumerate(pages_of(path)):
            found = read_mask(page, SHAPE, 2)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, truth(seed))

    def test_of_more_classes_have_their_numbers(self, tmp_path):
        (page,) = pages_of(saved(tmp_path / "mask.png", truth(classes=4)))
        np.testing.assert_array_equal(read_mask(page, SHAPE, 4), truth(classes=4))

    def test_black_alone_and_white_alone(self, tmp_path):
        for value, expected in ((0, 0), (255, 1), (1, 1)):
            (page,) = pages_of(saved(tmp_path / "{}.png".format(value), np.full(SHAPE, value, np.uint8)))
            assert (read_mask(page, SHAPE, 2) == expected).all()

    @pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
    def test_grey_that_is_saved_as_colour_and_black_and_white(self, tmp_path, name):
        for number, page in enumerate((np.stack([truth() * np.uint8(255)] * 3, axis=-1), truth().astype(bool))):
            (found,) = pages_of(saved(tmp_path / str(number) / name, page))
            np.testing.assert_array_equal(read_mask(found, SHAPE, 2), truth())

    @pytest.mark.parametrize(
        "values, classes, match",
        [
            ([0, 255, 128], 2, r"has the value 128: masks of this task hold 0 and 255"),
            ([0, 255, 1], 2, r"has the value 1: masks of this task hold 0 and 255"),
            ([0, 1, 2], 2, r"has the value 2: masks of this task hold whole numbers from 0 to 1"),
            ([0, 255], 3, r"has the value 255: masks of this task hold whole numbers from 0 to 2"),
            ([0, 0.5], 2, r"has the value 0\.5"),
            ([0, 1.9985], 3, r"has the value 1\.9985: masks of this task hold whole .* 2: correct it"),
            ([0, np.nan], 2, r"has the value nan"),
        ],
    )
    def test_values_that_mean_no_class(self, tmp_path, values, classes, match):
        mask = np.zeros(SHAPE, np.float32)
        mask[0, : len(values)] = values
        path = saved(tmp_path / "labels.tif", mask, mask)
        with pytest.raises(UnusableFile, match=r"labels\.tif: page 2: " + match):
            read_mask(pages_of(path)[1], SHAPE, classes)

    def test_what_is_nearly_whole_is_rounded(self, tmp_path):
        path = saved(tmp_path / "labels.tif", truth().astype(np.float32) * np.float32(0.9999))
        np.testing.assert_array_equal(read_mask(pages_of(path)[0], SHAPE, 2), truth())
        assert take_rounded([path]) == [path]

    def test_another_size(self, tmp_path):
        (page,) = pages_of(saved(tmp_path / "mask.png", truth()))
        with pytest.raises(UserError, match=r"mask\.png: has 7 by 5 pixels, its image 5 by 7"):
            read_mask(page, (5, 7), 2)

    def test_grey_with_transparency_is_told_for_what_it_is(self, tmp_path):
        Image.fromarray(grey()).convert("LA").save(str(tmp_path / "image.png"))
        with pytest.raises(UserError, match=r"image\.png: is grey with transparency, .*: save it as grey"):
            read_header(pages_of(str(tmp_path / "image.png")))

    def test_another_kind_of_file_is_to_be_saved_as_one(self, tmp_path):
        for name, other in (("a.png", "TIFF"), ("b.tif", "PNG")):
            Image.fromarray(grey()).save(str(tmp_path / name), format=other)
            with pytest.raises(UserError, match="is not a (PNG|TIFF) file: save it as one"):
                read_header(pages_of(str(tmp_path / name)))

    def test_colour(self, tmp_path):
        (page,) = pages_of(saved(tmp_path / "mask.png", grey(shape=SHAPE + (3,))))
        with pytest.raises(UserError, match=r"mask\.png: is in colour"):
            read_mask(page, SHAPE, 2)


class TestMaskPages:
    def test_belong_together_by_name_or_number(self, tmp_path):
        for name in ("b.png", "a.png"):
            saved(tmp_path / "images" / name, grey())
            saved(tmp_path / "masks" / name.replace("png", "tif"), truth())
        images = pages_of(str(tmp_path / "images"))[::-1]
        assert [page.name for page in mask_pages(images, str(tmp_path / "masks"))] == ["b", "a"]
        path = saved(tmp_path / "labels.tif", truth(), truth())
        assert [page.number for page in mask_pages(images, path)] == [0, 1]

    def test_missing_ones(self, tmp_path):
        for number in range(3):
            saved(tmp_path / "images" / "{}.png".format(number), grey())
        saved(tmp_path / "masks" / "1.png", truth())
        images = pages_of(str(tmp_path / "images"))
        with pytest.raises(UserError, match=r"masks: has no mask named 0 \(2 missing\)"):
            mask_pages(images, str(tmp_path / "masks"))
        with pytest.raises(UserError, match=r"labels\.tif: has 2 masks for 3 images"):
            mask_pages(images, saved(tmp_path / "labels.tif", truth(), truth()))


class TestToChannels:
    def test_pages_are_slices_of_volumes(self, tmp_path):
        pages = [grey(number, SHAPE + (3,)) for number in range(4)]
        channels = to_channels(read_all(saved(tmp_path / "stack.tif", *pages)))
        assert [channel.GetPixelID() for channel in channels] == 3 * [sitk.sitkFloat32]
        for number, channel in enumerate(channels):
            assert channel.GetSize() == SHAPE + (4,) and channel.GetSpacing() == (1.0, 1.0, 1.0)
            np.testing.assert_array_equal(to_array(channel), np.stack(pages, axis=2)[..., number])


class TestWriteMasks:
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("count", [1, 4])
    def test_what_is_written_is_read_back_on_the_same_pages(self, tmp_path, classes, count):
        masks = [truth(number, classes) for number in range(count)]
        path = str(tmp_path / "new" / "masks.tif")
        write_masks(masks, classes, path)
        pages = pages_of(path)
        assert len(pages) == count and os.listdir(os.path.dirname(path)) == ["masks.tif"]
        np.testing.assert_array_equal([read_mask(page, SHAPE, classes) for page in pages], masks)

    def test_others_see_black_and_white_and_x_to_the_right(self, tmp_path):
        mask = truth()
        write_masks([mask, mask], 2, str(tmp_path / "masks.tif"))
        image = Image.open(str(tmp_path / "masks.tif"))
        assert image.mode == "L" and image.n_frames == 2 and image.size == SHAPE
        np.testing.assert_array_equal(np.asarray(image).T, 255 * mask)

    def test_a_full_disk_leaves_no_file_and_says_so(self, tmp_path):
        """The limit on the size of files stands for it, in a process of its own."""
        code = (
            "import resource, signal, numpy as np; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "from utils.imaging.stacks import write_stack;"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
            "write_stack([np.zeros((100, 100), np.uint8)] * 3, {!r})".format(str(tmp_path / "masks.tif"))
        )
        ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stderr=subprocess.PIPE)
        assert ended.returncode == 1
        assert b"CannotWrite: " in ended.stderr and b"masks.tif: cannot be written" in ended.stderr
        assert os.listdir(str(tmp_path)) == []

    def test_what_is_no_stack_of_masks(self, tmp_path):
        with pytest.raises(ValueError, match="no pages: float32"):
            write_stack([np.zeros(SHAPE, np.float32)], str(tmp_path / "masks.tif"))


class TestDescribe:
    def test_the_form_of_the_challenge(self, tmp_path):
        for name, make in (("train-volume", grey), ("train-labels", truth), ("test-volume", grey)):
            saved(tmp_path / "isbi" / (name + ".tif"), make(0), make(1))
        description = describe(str(tmp_path / "isbi"))
        assert description["name"] == "isbi"
        assert description["modality"] == {"0": "image"}
        assert description["labels"] == {"0": "background", "1": "foreground"}
        assert description["training"] == [{"image": "train-volume.tif", "label": "train-labels.tif"}]
        assert description["test"] == ["test-volume.tif"]

    def test_folders_of_colour_images(self, tmp_path):
        saved(tmp_path / "train-volume" / "a.png", grey(shape=SHAPE + (3,)))
        saved(tmp_path / "train-labels" / "a.png", truth())
        description = describe(str(tmp_path))
        assert description["modality"] == {"0": "red", "1": "green", "2": "blue"}
        assert description["training"] == [{"image": "train-volume", "label": "train-labels"}]
        assert description["test"] == []

    def test_no_pixels_are_read(self, tmp_path, monkeypatch):
        for name, make in (("train-volume", grey), ("train-labels", truth)):
            saved(tmp_path / (name + ".tif"), make(0), make(1))
        monkeypatch.setattr(sitk.ImageFileReader, "Execute", None)
        assert describe(str(tmp_path))["modality"] == {"0": "image"}

    def test_images_to_predict_alone(self, tmp_path):
        saved(tmp_path / "test-volume.tiff", grey())
        assert describe(str(tmp_path))["training"] == [] and describe(str(tmp_path))["test"] == ["test-volume.tiff"]

    def test_a_folder_of_another_form(self, tmp_path):
        saved(tmp_path / "a.png", grey())
        assert describe(str(tmp_path)) is None

    def test_images_without_masks(self, tmp_path):
        saved(tmp_path / "train-volume.tif", grey())
        with pytest.raises(UserError, match="has train-volume without train-labels"):
            describe(str(tmp_path))


class TestBadInput:
    @pytest.mark.parametrize("extension", [".tif", ".png"])
    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
    def test_cut_off(self, tmp_path, extension, kept):
        path = tmp_path / ("stack" + extension)
        saved(path, *[grey(number, (40, 30)) for number in range(5 if extension == ".tif" else 1)])
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UnusableFile, match=r"stack\.(tif|png): is"):
            read_all(str(path))

    @pytest.mark.parametrize("name", ["none.tif", "none.png"])
    def test_missing(self, tmp_path, name):
        with pytest.raises(UserError, match=name.replace(".", r"\.") + r": cannot be read \(No such file"):
            read_all(str(tmp_path / name))

    @pytest.mark.parametrize("name", ["pipe.tif", "pipe.png"])
    def test_a_pipe_is_not_waited_for(self, tmp_path, name):
        os.mkfifo(str(tmp_path / name))
        with pytest.raises(UnusableFile, match="cannot be read: is no file"):
            read_all(str(tmp_path / name))

    @pytest.mark.parametrize("name", ["stack.nii.gz", "stack.jpg", "stack"])
    def test_what_is_no_stack(self, tmp_path, name):
        with pytest.raises(UserError, match="is no stack: give a TIFF or PNG file, or a folder of them"):
            pages_of(str(tmp_path / name))

    def test_a_folder_without_images(self, tmp_path):
        with pytest.raises(UserError, match="has no PNG or TIFF files"):
            pages_of(str(tmp_path))

    def test_two_images_of_one_name(self, tmp_path):
        for name in ("a.png", "a.tif"):
            saved(tmp_path / name, grey())
        with pytest.raises(UserError, match="has two images named a: rename"):
            pages_of(str(tmp_path))

    @pytest.mark.parametrize("shape", [(7, 6), (8, 5), (6, 5)])
    def test_pages_of_several_sizes_in_a_file(self, tmp_path, shape):
        path = saved(tmp_path / "stack.tif", grey(), grey(1), grey(2, shape))
        with pytest.raises(UserError, match=r"stack\.tif: has pages of several sizes: save each as a file of its own"):
            pages_of(path)

    @pytest.mark.parametrize("other", [np.uint16, np.float32, bool, "colour"])
    def test_pages_of_several_kinds_in_a_file(self, tmp_path, other):
        """ITK would take the bytes of the second for numbers of the first one's kind."""
        second = grey(shape=SHAPE + (3,)) if other == "colour" else grey().astype(other)
        for pages in ((grey(), second), (second, grey())):
            path = saved(tmp_path / "stack.tif", *pages)
            with pytest.raises(UserError, match=r"stack\.tif: has pages of several kinds of pixels: save each"):
                pages_of(path)

    def test_more_than_bytes_in_tiles(self, tmp_path):
        """ITK would leave 8 bits of them."""
        path = tmp_path / "tiles.tif"
        path.write_bytes(tiled(content_of_image("TIFF", grey(shape=(16, 16)).astype(np.uint16))))
        with pytest.raises(UserError, match=r"tiles\.tif: more than 8 bits in tiles or planes cannot be read"):
            read_all(str(path))

    def test_a_file_of_several_pages_in_a_folder(self, tmp_path):
        saved(tmp_path / "folder" / "a.tif", grey(), grey())
        with pytest.raises(UserError, match=r"a\.tif: has 2 pages: in a folder each file is one image"):
            read_all(str(tmp_path / "folder"))

    def test_pixels_that_are_not_finite(self, tmp_path):
        page = np.zeros(SHAPE, np.float32)
        page[3, 2] = np.inf
        with pytest.raises(UserError, match=r"stack\.tif: page 1: has pixels that are not finite"):
            read_all(saved(tmp_path / "stack.tif", page))

    @pytest.mark.parametrize("name", ["text.tif", "text.png"])
    def test_what_is_no_image(self, tmp_path, name):
        (tmp_path / name).write_text("no image")
        with pytest.raises(UserError, match="is not a (TIFF|PNG) file"):
            read_all(str(tmp_path / name))

    def test_a_picture_larger_than_memory(self, tmp_path):
        path = tmp_path / "large.png"
        saved(path, grey())
        content = bytearray(path.read_bytes())
        content[16:24] = 2 * b"\0\1\0\0"
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])) & 0xFFFFFFFF)
        path.write_bytes(bytes(content))
        with pytest.raises(UserError, match=r"large\.png: has more than 1073741824 pixels"):
            read_all(str(path))

    def test_simpleitk_reads_the_same(self, tmp_path):
        path = saved(tmp_path / "stack.tif", grey(0), grey(1))
        expected = sitk.GetArrayFromImage(sitk.ReadImage(path)).transpose(0, 2, 1)
        np.testing.assert_array_equal(np.stack(read_all(path))[..., 0], expected)

import os

import numpy as np
import pytest
from stack_tasks import SHAPE, grey, saved, stack_task, truth
from synthetic import grid_of, image_of, scan, write_image

from utils.imaging import case_files, nifti
from utils.imaging.nifti import to_array
from utils.imaging.tasks import Case, Pages, read_task
from utils.preprocessing import fitting
from utils.preprocessing.pipeline import check_scan, prepare_case
from utils.system.errors import CannotWrite, UnusableFile

SETTINGS = {
    "input_shape": [8, 8, 1],
    "fit": "resize",
    "spacing": None,
    "resize_interpolator": "linear",
    "intensities": None,
    "classes": 2,
    "channels": 1,
}


@pytest.fixture(params=[False, True], ids=["files", "folders"])
def task(request, tmp_path):
    return read_task(stack_task(tmp_path, folders=request.param))


@pytest.fixture
def volume(tmp_path):
    """A case of a scan, which is no stack."""
    label = image_of(np.round(scan()).astype(np.uint8))
    return Case(
        "scan", write_image(image_of(scan()), tmp_path / "scan.nii.gz"), write_image(label, tmp_path / "label.nii.gz")
    )


class TestAxes:
    @pytest.mark.parametrize(
        "direction, axes",
        [("identity", "LPS"), ("flipped", "RAS"), ("left_handed", "LPI"), ("permuted", "PSL"), ("oblique", "LPS")],
    )
    def test_are_those_of_the_header_and_of_the_image(self, tmp_path, direction, axes):
        path = write_image(image_of(scan(), direction), tmp_path / "scan.nii.gz")
        case = Case("scan", path, None)
        assert (
            case_files.axes_of(case_files.read_grid(case))
            == case_files.axes_of(case_files.read_channels(case)[0])
            == axes
        )


class TestTrouble:
    """Whatever a library raises over a file is about that file."""

    @pytest.mark.parametrize(
        "error", [RuntimeError("where\nsitk: no"), ValueError("no"), TypeError("no"), OSError("no")]
    )
    @pytest.mark.parametrize(
        "part, name", [("image", "Cast"), ("image", "GetArrayViewFromImage"), ("label", "ReadImage")]
    )
    def test_of_a_scan(self, volume, monkeypatch, part, name, error):
        self.broken(monkeypatch, nifti.sitk, name, error)
        read = {"image": case_files.read_channels, "label": lambda case: case_files.read_label(case, None, 2)}[part]
        with pytest.raises(UnusableFile) as caught:
            read(volume)
        assert str(caught.value).startswith(getattr(volume, part) + ": ")
        assert "no" in str(caught.value) and "\n" not in str(caught.value)

    def test_of_a_header(self, volume, monkeypatch):
        self.broken(monkeypatch, nifti.sitk, "ImageFileReader", ValueError(""))
        with pytest.raises(
            UnusableFile, match=r"scan\.nii\.gz: cannot be used \(ValueError: ValueError\): leave it out"
        ):
            case_files.read_grid(volume)

    def test_of_a_page(self, task, monkeypatch):
        self.broken(monkeypatch, case_files.stacks.sitk, "GetArrayFromImage", MemoryError())
        with pytest.raises(UnusableFile, match="takes more memory than there is"):
            case_files.read_channels(task.training[0])

    def test_after_reading(self, volume, monkeypatch):
        self.broken(monkeypatch, fitting, "fit_image", RuntimeError("sitk::ERROR: no"))
        with pytest.raises(UnusableFile, match=r"scan\.nii\.gz: cannot be used \(RuntimeError: sitk::ERROR: no\)"):
            prepare_case(volume, SETTINGS)

    def broken(self, monkeypatch, module, name, error):
        def fail(*arguments, **options):
            raise error

        monkeypatch.setattr(module, name, fail)


class TestPages:
    def test_each_is_a_slice_of_its_own(self, task):
        for number, case in enumerate(task.training):
            (channel,) = case_files.read_channels(case)
            grid = case_files.read_grid(case)
            assert grid_of(channel) == grid_of(grid) and grid.size == SHAPE + (1,)
            np.testing.assert_array_equal(to_array(channel)[..., 0], grey(number))
            label = case_files.read_label(case, grid, 2)
            assert grid_of(label) == grid_of(channel)
            np.testing.assert_array_equal(to_array(label)[..., 0], truth(number))

    def test_all_of_a_stack_to_be_predicted(self, task):
        (case,) = task.test
        (channel,) = case_files.read_channels(case)
        assert case_files.read_grid(case).size == channel.GetSize() == SHAPE + (3,)
        np.testing.assert_array_equal(to_array(channel), np.stack([grey(100), grey(101), grey(102)], axis=-1))

    def test_colours_are_channels(self, tmp_path):
        task = read_task(stack_task(tmp_path, colour=True))
        assert task.modalities == ("red", "green", "blue")
        channels = case_files.read_channels(task.test[0])
        assert case_files.channels_of(task.test[0]) == len(channels) == 3
        np.testing.assert_array_equal(to_array(channels[1])[..., 2], grey(102, SHAPE + (3,))[..., 1])
        with pytest.raises(UnusableFile, match=r"test-volume\.tif: has 3 channels where 1 are expected"):
            check_scan(task.test[0], {"channels": 1})

    def test_are_normalised_one_by_one_whether_alone_or_together(self, task):
        """A page is to look the same to the network in training and as part of a stack."""
        stack, _, _ = prepare_case(task.test[0], dict(SETTINGS, input_shape=list(SHAPE) + [3]))
        for page in np.moveaxis(stack[..., 0], 2, 0):
            assert abs(page.mean()) < 1e-6 and page.std() == pytest.approx(1, abs=1e-6)
        alone, label, _ = prepare_case(task.training[0], dict(SETTINGS, input_shape=list(SHAPE) + [1]))
        assert alone.shape == SHAPE + (1, 1) and label.shape == SHAPE + (1,)
        np.testing.assert_array_equal(label[..., 0], truth(0))

    def test_content_tells_pages_and_masks_apart_but_not_where_they_lie(self, tmp_path):
        tasks = [read_task(stack_task(tmp_path / name, folders=name == "folders")) for name in ("files", "folders")]
        files, folders = ([case_files.content_of(case) for case in task.training + task.test] for task in tasks)
        assert files == folders and len(set(files)) == 5
        case = tasks[0].training[0]
        saved(case.label, *[truth(number + 1) * np.uint8(255) for number in range(4)])
        os.utime(case.label, ns=(1, 1))
        changed = [case_files.content_of(case) for case in tasks[0].training]
        assert not set(changed) & set(files[:4])


class TestVolumes:
    """Cases that are no stacks go through `utils.imaging.nifti`."""

    def test_are_what_they_were(self, volume, tmp_path):
        assert not case_files.is_stack(volume) and case_files.channels_of(volume) == 1
        like = nifti.read_channels(volume.image)[0]
        assert grid_of(case_files.read_grid(volume)) == grid_of(like)
        np.testing.assert_array_equal(to_array(case_files.read_channels(volume)[0]), scan())
        label = case_files.read_label(volume, like, 2)
        np.testing.assert_array_equal(to_array(label), np.round(scan()))
        paths = [str(tmp_path / name) for name in (case_files.mask_name(volume), "other.nii.gz")]
        assert paths[0] == volume.image
        case_files.write_mask(volume, to_array(label), like, 2, paths[0])
        nifti.write_mask(to_array(label), like, paths[1])
        with open(paths[0], "rb") as first, open(paths[1], "rb") as second:
            assert first.read() == second.read()
        np.testing.assert_array_equal(to_array(case_files.read_mask(volume, paths[0], like, 2)), to_array(label))


class TestMasks:
    @pytest.mark.parametrize("classes", [2, 3])
    def test_have_the_pages_of_their_stacks(self, task, tmp_path, classes):
        for case in (task.training[2], task.test[0]):
            grid = case_files.read_grid(case)
            mask = np.stack([truth(number, classes) for number in range(grid.size[2])], axis=-1)
            path = str(tmp_path / case_files.mask_name(case))
            assert path.endswith(case.name + ".tif")
            case_files.write_mask(case, mask, grid, classes, path)
            found = case_files.read_mask(case, path, grid, classes)
            assert grid_of(found) == grid_of(grid)
            np.testing.assert_array_equal(to_array(found), mask)

    def test_of_other_pages_are_refused(self, task, tmp_path):
        grid = case_files.read_grid(task.test[0])
        path = saved(tmp_path / "mask.tif", truth(), truth())
        with pytest.raises(UnusableFile, match=r"mask\.tif: has 2 pages, its image 3"):
            case_files.read_mask(task.test[0], path, grid, 2)
        path = saved(tmp_path / "mask.tif", *[truth(shape=(5, 7))] * 3)
        with pytest.raises(UnusableFile, match=r"mask\.tif: page 1: has 5 by 7 pixels, its image 7 by 5"):
            case_files.read_mask(task.test[0], path, grid, 2)

    def test_a_file_in_the_place_of_the_folder(self, task, tmp_path):
        (tmp_path / "eval").write_text("")
        with pytest.raises(CannotWrite, match=r"mask\.tif: cannot be written"):
            case_files.write_mask(
                task.test[0], np.zeros((7, 5, 3), np.uint8), None, 2, str(tmp_path / "eval" / "mask.tif")
            )


class TestBadInput:
    def test_images_of_several_sizes_cannot_be_one_stack(self, tmp_path):
        for number, shape in enumerate([(7, 5), (7, 6)]):
            saved(tmp_path / "folder" / "{}.png".format(number), grey(shape=shape))
        case = Case("folder", str(tmp_path / "folder"), None, Pages())
        for read in (case_files.read_grid, case_files.read_channels, case_files.channels_of):
            with pytest.raises(UnusableFile, match=r"1\.png: has 7 by 6 pixels of 1 channels, .*0\.png 7 by 5 of 1"):
                read(case)
        with case_files.turn_of(case):
            pass

    def test_what_was_wrong_before_is_told_by_all(self, task):
        case = task.training[0]._replace(pages=Pages(problem="labels.tif: has 2 masks for 3 images"))
        readers = (
            case_files.read_grid,
            case_files.read_channels,
            case_files.content_of,
            lambda case: case_files.read_label(case, None, 2),
        )
        for read in readers:
            with pytest.raises(UnusableFile, match="has 2 masks for 3 images"):
                read(case)

    def test_more_pages_than_memory(self, task, monkeypatch):
        monkeypatch.setattr("utils.system.memory.limit", lambda: 4 * 7 * 5 * 3 - 1)
        with pytest.raises(UnusableFile, match=r"test-volume(\.tif)?: its (3 pages of 7 x 5|7 x 5 x 3) pixels need"):
            case_files.read_channels(task.test[0])

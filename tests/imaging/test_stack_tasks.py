"""Stacks of images as tasks: which cases they are, what is refused, and what a check says of bad ones."""

import json
import os
import shutil

import numpy as np
import pytest
from command_line import run_here
from stack_tasks import SHAPE, grey, saved, stack_task, truth
from synthetic import image_of, scan, write_image

from utils.imaging.tasks import Pages, cases_of_images, read_task
from utils.system.errors import UserError


def described(data_dir, training, test=(), labels=("membrane", "cell"), modalities=("EM",)):
    """Write a dataset.json of (image, label) pairs and test images; return the folder."""
    content = {
        "name": "Described",
        "labels": {str(number): name for number, name in enumerate(labels)},
        "modality": {str(number): name for number, name in enumerate(modalities)},
        "training": [{"image": image, "label": label} for image, label in training],
        "test": list(test),
    }
    with open(os.path.join(data_dir, "dataset.json"), "w") as file:
        json.dump(content, file)
    return data_dir


def files_of(cases):
    return [(os.path.basename(case.image), case.label and os.path.basename(case.label)) for case in cases]


def spoil(data_dir, name, content):
    """Put something else where a file is."""
    path = os.path.join(data_dir, *name.split("/"))
    os.remove(path)
    if isinstance(content, list):
        saved(path, *content)
    elif content is not None:
        with open(path, "wb") as file:
            file.write(content)
    return path


def cut(data_dir, name, share):
    with open(os.path.join(data_dir, *name.split("/")), "rb") as file:
        content = file.read()
    return spoil(data_dir, name, content[: int(share * len(content))])


class TestForms:
    def test_files(self, tmp_path):
        task = read_task(stack_task(tmp_path))
        assert (task.name, task.labels, task.modalities) == ("Cells", ("background", "foreground"), ("image",))
        names = ["train-volume_00{}".format(number) for number in range(4)]
        assert [case.name for case in task.training] == names
        assert files_of(task.training) == [("train-volume.tif", "train-labels.tif")] * 4
        assert [[page.number for page in case.pages[:2]] for case in task.training] == [[n, n] for n in range(4)]
        (test,) = task.test
        assert (test.name, test.label, test.pages) == ("test-volume", None, Pages())

    def test_folders(self, tmp_path):
        task = read_task(stack_task(tmp_path, folders=True))
        names = ["page{}".format(number) for number in range(4)]
        assert [case.name for case in task.training] == names
        assert files_of(task.training) == [(name + ".png", name + ".png") for name in names]
        assert files_of(task.test) == [("test-volume", None)]

    def test_a_description_may_name_stacks_and_images(self, tmp_path):
        data_dir = stack_task(tmp_path)
        saved(os.path.join(data_dir, "more", "cell.png"), grey())
        saved(os.path.join(data_dir, "masks", "cell.tif"), truth())
        pairs = [("./train-volume.tif", "train-labels.tif"), ("more/cell.png", "masks/cell.tif")]
        pairs += [("._train-volume.tif", "._train-labels.tif")]
        task = read_task(described(data_dir, pairs, ["more", "test-volume.tif"]))
        assert [case.name for case in task.training] == ["cell"] + [
            "train-volume_00{}".format(page) for page in range(4)
        ]
        assert task.labels == ("membrane", "cell")
        assert [case.name for case in task.test] == ["more", "test-volume"]

    def test_images_to_predict(self, tmp_path):
        data_dir = stack_task(tmp_path, folders=True)
        saved(tmp_path / "stack.TIFF", grey(), grey(1))
        paths = [str(tmp_path / "stack.TIFF"), os.path.join(data_dir, "test-volume") + os.sep]
        cases = cases_of_images(paths)
        assert [(case.name, case.image, case.pages) for case in cases] == [
            ("stack", paths[0], Pages()),
            ("test-volume", paths[1], Pages()),
        ]


class TestBadTasks:
    def refused(self, data_dir, told):
        with pytest.raises(UserError, match=told) as caught:
            read_task(data_dir)
        assert len(str(caught.value).splitlines()) == 1

    def test_no_description_and_no_stacks(self, tmp_path):
        self.refused(str(tmp_path), "has no dataset.json: give the folder of one task")

    def test_images_without_masks(self, tmp_path):
        data_dir = stack_task(tmp_path)
        os.remove(os.path.join(data_dir, "train-labels.tif"))
        self.refused(data_dir, "has train-volume without train-labels: add the masks")

    @pytest.mark.parametrize("name", ["train-volume.tif", "train-labels.tif"])
    def test_cut_off(self, tmp_path, name):
        data_dir = stack_task(tmp_path)
        cut(data_dir, name, 0.6)
        self.refused(data_dir, name.replace(".", r"\.") + ": is cut off")

    def test_too_few_masks(self, tmp_path):
        data_dir = stack_task(tmp_path)
        spoil(data_dir, "train-labels.tif", [truth(), truth()])
        self.refused(data_dir, r"train-labels\.tif: has 2 masks for 4 images")
        data_dir = stack_task(tmp_path / "folders", folders=True)
        os.remove(os.path.join(data_dir, "train-labels", "page2.png"))
        self.refused(data_dir, r"train-labels: has no mask named page2 \(1 missing\)")

    @pytest.mark.parametrize("described_too", [False, True])
    @pytest.mark.parametrize("name", ["train-volume", "train-labels", "test-volume"])
    def test_links_out_of_the_folder(self, tmp_path, name, described_too):
        data_dir = stack_task(tmp_path, folders=True)
        if described_too:
            described(data_dir, [("train-volume", "train-labels")], ["test-volume"])
        path = os.path.join(data_dir, name, "page1.png")
        shutil.move(path, str(tmp_path / "outside.png"))
        os.symlink(str(tmp_path / "outside.png"), path)
        self.refused(data_dir, r"page1\.png leads out of the task's folder")
        shutil.move(os.path.join(data_dir, name), str(tmp_path / "elsewhere"))
        os.symlink(str(tmp_path / "elsewhere"), os.path.join(data_dir, name))
        self.refused(data_dir, name + " leads out of the task's folder")

    @pytest.mark.parametrize("outside", ["../stack.tif", "/tmp/stack.tif", "train-volume/../../stack.tif"])
    def test_paths_out_of_the_folder(self, tmp_path, outside):
        data_dir = stack_task(tmp_path)
        saved(tmp_path / "stack.tif", grey())
        self.refused(described(data_dir, [(outside, "train-labels.tif")]), "leads out of the task's folder")
        self.refused(described(data_dir, [("train-volume.tif", outside)]), "leads out of the task's folder")
        self.refused(described(data_dir, [], [outside]), "leads out of the task's folder")

    @pytest.mark.parametrize("name", [b"a\nb.png", b"a\x1b[2J.png", b"\xff.png", "\u202egnp.png".encode()])
    def test_names_that_cannot_be_shown(self, tmp_path, name):
        data_dir = stack_task(tmp_path, folders=True)
        folder = os.fsencode(os.path.join(data_dir, "train-volume"))
        os.rename(os.path.join(folder, b"page1.png"), os.path.join(folder, name))
        self.refused(data_dir, "train-volume: '.*': has characters that cannot be shown: rename it")

    def test_scans_and_stacks_in_one(self, tmp_path):
        data_dir = stack_task(tmp_path)
        for name in ("scan", "label"):
            write_image(image_of(np.round(scan())), os.path.join(data_dir, name + ".nii.gz"))
        pairs = [("train-volume.tif", "train-labels.tif"), ("scan.nii.gz", "label.nii.gz")]
        self.refused(described(data_dir, pairs), "a scan and .*a stack of images: use them one after the other")
        self.refused(described(data_dir, [("train-volume.tif", "label.nii.gz")]), "is no stack of masks")
        self.refused(described(data_dir, [("scan.nii.gz", "train-labels.tif")]), "not a NIfTI file name")
        with pytest.raises(UserError, match="--images: .*a scan and .*a stack"):
            cases_of_images([os.path.join(data_dir, name) for name in ("scan.nii.gz", "test-volume.tif")])

    def test_one_name_for_two(self, tmp_path):
        data_dir = stack_task(tmp_path)
        saved(os.path.join(data_dir, "other", "train-volume.tif"), grey(), grey())
        saved(os.path.join(data_dir, "other", "masks.tif"), truth(), truth())
        pairs = [("train-volume.tif", "train-labels.tif"), ("other/train-volume.tif", "other/masks.tif")]
        self.refused(described(data_dir, pairs), "two images with the same name: .* and .*train-volume.tif: rename one")
        paths = [os.path.join(data_dir, *name.split("/")) for name in ("train-volume.tif", "other/train-volume.tif")]
        with pytest.raises(UserError, match="--images: two images with the same name: .*: rename one"):
            cases_of_images(paths)

    @pytest.mark.parametrize("name", ["gone.tif", "gone.png", "gone"])
    def test_what_is_not_there(self, tmp_path, name):
        data_dir = stack_task(tmp_path)
        self.refused(described(data_dir, [(name, "train-labels.tif")]), "gone.*cannot be read|not a NIfTI file name")
        with pytest.raises(UserError, match="--images: (1 of 1 files missing|.*not a NIfTI file name)"):
            cases_of_images([str(tmp_path / name)])

    def test_a_name_that_no_mask_can_have(self, tmp_path):
        path = saved(tmp_path / "other" / "..tif", grey(), format="TIFF")
        for name in (path, os.sep):
            with pytest.raises(UserError, match="--images: .*has no name to call its mask by: rename it"):
                cases_of_images([name])


class TestCheck:
    """Every bad image is told of in a line, and the others are looked at all the same."""

    def checked(self, data_dir):
        finished = run_here("--exec_mode", "check", "--data_dir", data_dir, "--model", "unet")
        assert "Traceback" not in finished.output + finished.errors
        return finished

    def test_good_ones(self, tmp_path):
        finished = self.checked(stack_task(tmp_path))
        assert finished.status == 0, finished.errors
        assert finished.output.endswith("5 of 5 cases can be used\n")
        assert "foreground: in 4 of 4 labels, " in finished.output and "pixels, median" in finished.output
        assert " ml" not in finished.output and " mm" not in finished.output.replace("spacing mm", "")

    def test_bad_ones(self, tmp_path):
        data_dir = stack_task(tmp_path, pages=9, folders=True)
        real = np.full(SHAPE, 0.5, np.float32)
        real[0, 0] = np.nan
        wrong = {
            "train-labels/page0.png": ([truth(shape=(5, 7))], "has 5 by 7 pixels, its image 7 by 5"),
            "train-labels/page1.png": ([truth() * np.uint8(7)], "has the value 7: masks of this task hold"),
            "train-labels/page2.png": ([grey(shape=SHAPE + (3,))], "is in colour, or has a palette: save it as grey"),
            "train-volume/page3.png": (b"", "is empty"),
            "train-volume/page4.png": ([grey(shape=SHAPE + (3,))], "has 3 channels where 1 are expected"),
            "train-volume/page5.png": (b"<html>404</html>" * 40, "is not a PNG file"),
            "test-volume/page1.png": ([grey(shape=(9, 5))], "has 9 by 5 pixels of 1 channels"),
        }
        told = {}
        for name, (content, text) in wrong.items():
            told[spoil(data_dir, name, content)] = text
        told[cut(data_dir, "train-volume/page6.png", 0.7)] = "is cut off"
        os.remove(os.path.join(data_dir, "train-volume", "page7.png"))
        told[saved(os.path.join(data_dir, "train-volume", "page7.tif"), real)] = "has pixels that are not finite"
        finished = self.checked(data_dir)
        assert finished.status == 2
        assert finished.errors.splitlines()[-10].endswith("9 of 10 cases cannot be used:")
        for path, text in told.items():
            (line,) = [line for line in finished.errors.splitlines() if path + ":" in line and text in line]
        assert "\npage8  " in finished.output

    def test_whole_stacks_that_cannot_be_taken_apart(self, tmp_path):
        data_dir = stack_task(tmp_path)
        pages = [saved(os.path.join(data_dir, name), grey(), grey(), grey()) for name in ("more.tif", "few.tif")]
        masks = [saved(os.path.join(data_dir, name), truth(), truth()) for name in ("more_masks.tif", "few_masks.tif")]
        pairs = [("train-volume.tif", "train-labels.tif"), ("more.tif", "more_masks.tif"), ("few.tif", "few_masks.tif")]
        described(data_dir, pairs, ["test-volume.tif", "gone.tif"])
        cut(data_dir, "more.tif", 0.5)
        cut(data_dir, "test-volume.tif", 0.8)
        finished = self.checked(data_dir)
        lines = finished.errors.splitlines()[-5:]
        assert lines[0].endswith("4 of 8 cases cannot be used:")
        for told in ("more.tif: is cut off", "test-volume.tif: is cut off"):
            assert sum(told in line for line in lines) == 1
        assert masks[1] + ": has 2 masks for 3 images: it needs one for each page" in lines
        assert os.path.join(data_dir, "gone.tif") + ": cannot be read (No such file or directory)" in lines
        assert pages[1] not in finished.errors


class TestNetworks:
    def test_that_of_volumes_takes_no_stacks(self, tmp_path):
        data_dir = stack_task(tmp_path)
        for mode in ("train", "check"):
            where = "--data_dir", data_dir, "--model_dir", tmp_path / "model"
            finished = run_here("--exec_mode", mode, *where)
            path = os.path.join(data_dir, "train-volume.tif")
            told = "main.py: error: --model vnet: {} is a stack of images, not a volume: use --model unet"
            assert finished.status == 2 and finished.errors.splitlines()[-1] == told.format(path)
        assert not (tmp_path / "model").exists()

    def test_pages_are_the_slices(self, tmp_path):
        data_dir = stack_task(tmp_path)
        where = "--data_dir", data_dir, "--model_dir", tmp_path / "model", "--model", "unet"
        finished = run_here("--exec_mode", "train", "--slice_axis", "x", *where)
        assert finished.status == 2 and "--slice_axis x: the pages of " in finished.errors

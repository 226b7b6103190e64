"""Tasks in the form of all ten of the Medical Segmentation Decathlon, through the command line."""

import glob
import os

import numpy as np
import pytest
import SimpleITK as sitk
import ten_tasks
from command_line import PROJECT, read_description, read_image, read_json, succeed_here
from synthetic import grid_of

from utils.imaging import tasks

BRIEF = ("--threads", 1, "--train_epochs", 1, "--evaluate_every", 0, "--train_split", 0.67)
BRIEF += ("--data_normalization", "auto")
VNET = ("--input_shape", 16, 16, 16, "--downscale_blocks", 1, "--upscale_blocks", 1)
PATCHES = ("--sampling", "patch", "--input_shape", 16, 16, 8, "--downscale_blocks", 1, "--upscale_blocks", 1)
UNET = ("--model", "unet", "--input_shape", 16, 16, "--levels", 1, "--filters", 4, "--padding", "same")
LEARNING = (
    *("--threads", 1, "--train_split", 0.75, "--evaluate_every", 0, "--checkpoint_every", 100),
    *("--optimizer", "adam", "--loss", "dice_ce", "--base_lr", 0.01, "--lr_schedule", "cosine"),
    *("--downscale_blocks", 1, "--upscale_blocks", 1),
)
BY_NAME = {form.folder: form for form in ten_tasks.FORMS}


def outcome(form, folder, *flags):
    """Train a few steps, evaluate and predict; return the task's folder and the model's."""
    data_dir, model_dir = ten_tasks.write_task(folder, form, training=3, test=1), os.path.join(str(folder), "model")
    where = ("--data_dir", data_dir, "--model_dir", model_dir)
    succeed_here("--exec_mode", "train_and_evaluate", *BRIEF + flags + where)
    told = succeed_here("--exec_mode", "predict", "--threads", 1, *where).output
    assert ("lists no test images, nothing to predict" in told) == (not form.test)
    return data_dir, model_dir


def assert_complete(form, data_dir, model_dir):
    """Every case has a mask on its grid, every structure its scores, and there is a report."""
    task = tasks.read_task(data_dir)
    held_out = read_json(model_dir, "split.json")["held_out"]
    masked = [case for case in task.training + task.test if case.name in held_out or case.label is None]
    assert len(masked) == 1 + form.test
    assert sorted(os.listdir(os.path.join(model_dir, "eval"))) == sorted(case.name + ".nii.gz" for case in masked)
    for case in masked:
        mask, scan = read_image(model_dir, "eval", case.name + ".nii.gz"), read_image(case.image)
        scan = scan[:, :, :, 0] if scan.GetDimension() == 4 else scan
        assert grid_of(mask) == grid_of(scan) and mask.GetPixelID() == sitk.sitkUInt8
        assert sitk.GetArrayViewFromImage(mask).max() < len(form.labels)
    scores = read_json(model_dir, "evaluation.json")
    assert set(scores["structures"]) == set(form.labels[1:])
    settings = read_json(model_dir, "params.json")
    assert settings["modalities"] == list(form.modalities) and settings["labels"] == list(form.labels)
    known = settings["intensities"] or [None] * len(form.modalities)
    assert [channel is not None for channel in known] == [name == "CT" for name in form.modalities]
    assert os.path.getsize(os.path.join(model_dir, "report", "index.html")) > 0


class TestForms:
    @pytest.mark.parametrize("form", ten_tasks.FORMS, ids=lambda form: form.folder)
    def test_are_those_of_the_decathlon(self, tmp_path, form):
        data_dir = ten_tasks.write_task(tmp_path, form, training=3, test=1)
        description, task = read_description(data_dir), tasks.read_task(data_dir)
        assert os.path.basename(data_dir) == form.folder
        assert (task.name, task.modalities, task.labels) == (form.name, form.modalities, form.labels)
        assert description["tensorImageSize"] == ("4D" if len(form.modalities) > 1 else "3D")
        assert (description["numTraining"], description["numTest"]) == (3, len(task.test)) == (3, int(form.test))
        structures, sizes = set(), set()
        for case in task.training:
            scan, label = read_image(case.image), read_image(case.label)
            channels = (len(form.modalities),) if len(form.modalities) > 1 else ()
            assert scan.GetSize() == label.GetSize() + channels
            np.testing.assert_allclose(scan.GetSpacing()[:3], form.spacing, rtol=1e-6)
            values = sitk.GetArrayViewFromImage(scan)
            assert (scan.GetPixelID() == sitk.sitkInt16) == form.is_ct == (values.min() < -900)
            structures.add(tuple(np.unique(sitk.GetArrayViewFromImage(label))))
            sizes.add(label.GetSize())
        everything = tuple(range(len(form.labels)))
        assert everything in structures and len(sizes) > 1
        assert (len(structures) > 1) == (form.rare is not None)

    def test_together_show_each_layout(self):
        forms = ten_tasks.FORMS
        assert [form.folder[:6] for form in forms] == ["Task{:02d}".format(number) for number in range(1, 11)]
        assert {len(form.modalities) for form in forms} == {1, 2, 4} and {len(form.labels) for form in forms} == {
            2,
            3,
            4,
        }
        assert {form.is_ct for form in forms} == {form.test for form in forms} == {True, False}
        assert max(max(form.spacing) / min(form.spacing) for form in forms) > 6


class TestEveryTask:
    @pytest.mark.parametrize("name", sorted(BY_NAME))
    def test_trains_is_evaluated_and_predicted(self, tmp_path, name):
        assert_complete(BY_NAME[name], *outcome(BY_NAME[name], tmp_path, *VNET))

    @pytest.mark.parametrize("name", ["Task01_BrainTumour", "Task07_Pancreas", "Task10_Colon"])
    def test_in_patches(self, tmp_path, name):
        assert_complete(BY_NAME[name], *outcome(BY_NAME[name], tmp_path, *PATCHES))

    @pytest.mark.parametrize("name, told", [("Task10_Colon", True), ("Task04_Hippocampus", False)])
    def test_that_ct_is_normalised_scan_by_scan_is_told(self, tmp_path, name, told):
        data_dir = ten_tasks.write_task(tmp_path, BY_NAME[name], training=2, test=0)
        where = ("--data_dir", data_dir, "--model_dir", tmp_path / "model")
        flags = ("--exec_mode", "train", "--threads", 1, "--train_epochs", 1, "--train_split", 1)
        assert ("CT is normalised scan by scan: " in succeed_here(*flags + VNET + where).output) == told

    @pytest.mark.parametrize("name", ["Task05_Prostate"])
    def test_in_slices(self, tmp_path, name):
        assert_complete(BY_NAME[name], *outcome(BY_NAME[name], tmp_path, *UNET))


def mean_dice(folder, form, *flags):
    """What a network that is trained on 12 scans reaches on four others: {structure: mean hard Dice}."""
    data_dir, model_dir = ten_tasks.write_task(folder, form, training=16, test=0), os.path.join(str(folder), "model")
    where = ("--data_dir", data_dir, "--model_dir", model_dir)
    succeed_here("--exec_mode", "train_and_evaluate", *LEARNING + flags + where)
    return read_json(model_dir, "evaluation.json")["mean"]["hard_dice"]


class TestLearning:
    def test_four_modalities(self, tmp_path):
        found = mean_dice(tmp_path, BY_NAME["Task01_BrainTumour"], "--input_shape", 24, 24, 16, "--train_epochs", 20)
        assert np.mean(list(found.values())) >= 0.8 and min(found.values()) > 0.7, found

    def test_of_which_none_tells_all_structures(self):
        form = BY_NAME["Task01_BrainTumour"]
        scan = ten_tasks.make_scan(form, 0)
        best = np.array([[best_dice(channel, scan.mask == value) for value in (1, 2, 3)] for channel in scan.channels])
        assert (best.max(axis=0) > 0.6).all()
        assert ((best > 0.4).sum(axis=1) <= 1).all(), best

    def test_hounsfield_units(self, tmp_path):
        flags = ("--sampling", "patch", "--input_shape", 20, 20, 8, "--foreground_share", 0.67, "--patches_per_case", 2)
        flags += ("--data_normalization", "ct", "--train_epochs", 20)
        found = mean_dice(tmp_path, BY_NAME["Task03_Liver"], *flags)
        assert set(found) == {"liver", "cancer"} and min(found.values()) >= 0.8, found


def best_dice(channel, structure):
    """The best Dice of a structure that a bound of one channel's intensities gives, from below or above."""
    bounds = np.percentile(channel, np.linspace(0.5, 99.5, 100))
    masks = [mask for bound in bounds for mask in (channel > bound, channel < bound)]
    return max(2 * (mask & structure).sum() / float(mask.sum() + structure.sum()) for mask in masks)


def test_nothing_is_named_after_one_of_them():
    """But the tasks to download, and the phantom that is made after one."""
    named = set()
    for folder in ("*", "utils/**/*", "model/*", "examples/*", "benchmarks/*", "dllogger/*", "setup/*"):
        for path in glob.glob(os.path.join(PROJECT, folder + ".py"), recursive=True):
            with open(path, encoding="utf-8") as file:
                if "hippocamp" in file.read().lower():
                    named.add(os.path.relpath(path, PROJECT))
    assert named == {"download_dataset.py", os.path.join("utils", "fetching", "phantom.py")}

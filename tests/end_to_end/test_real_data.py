"""The hippocampus task of the Medical Segmentation Decathlon, where it is on this machine.

VNET_TEST_DATA names its folder; otherwise it is looked for beside the repository.
"""

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import (
    PROJECT,
    log_lines,
    logged,
    read_description,
    read_image,
    read_json,
    succeed_here,
    voxels,
    write_description,
)
from synthetic import grid_of

import main

DATA = os.environ.get("VNET_TEST_DATA") or os.path.join(PROJECT, "..", "shared", "data", "Task04_Hippocampus")
TRAINING = 12
NETWORK = ("--input_shape", "32", "32", "32", "--downscale_blocks", "1", "1", "--upscale_blocks", "1")

pytestmark = pytest.mark.skipif(
    not os.path.isfile(os.path.join(DATA, "dataset.json")),
    reason="no hippocampus task: neither does VNET_TEST_DATA name its folder, nor is it beside the repository",
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The task with all its test images, but few training cases."""
    folder = str(tmp_path_factory.mktemp("real") / "Task04_Hippocampus")
    description = read_description(DATA)
    description["training"] = sorted(description["training"], key=lambda entry: entry["image"])[:TRAINING]
    files = [name for entry in description["training"] for name in (entry["image"], entry["label"])]
    for name in files + description["test"]:
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        shutil.copy(os.path.join(DATA, name), os.path.join(folder, name))
    write_description(folder, description)
    return folder


@pytest.fixture(scope="module")
def model_dir(task, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("real") / "model")
    where = "--data_dir", task, "--model_dir", folder
    # Two epochs of small batches: the moving statistics are far from the batches' then, but not at their start.
    succeed_here("--exec_mode", "train_and_predict", "--train_epochs", 2, "--base_lr", 0.001, *NETWORK + where)
    return folder


def test_names(task):
    names = [os.path.basename(name) for name in read_description(task)["test"]]
    assert len(names) == len(set(names)) == 20


def test_structures_are_those_of_the_task(model_dir):
    params = read_json(model_dir, "params.json")
    assert params["labels"] == ["background", "Anterior", "Posterior"]
    assert params["modalities"] == ["MRI"]


def test_training_was_measured(model_dir):
    epochs = dict(logged(model_dir, 1))
    assert set(epochs) == {(1,), (2,)}
    for figures in epochs.values():
        assert {"loss", "soft_dice_Anterior", "soft_dice_Posterior", "images_per_second"} == set(figures)
    assert epochs[(2,)]["loss"] < epochs[(1,)]["loss"]
    assert any(
        event["type"] == "METADATA" and event["metric"] == "soft_dice_Anterior" for event in log_lines(model_dir)
    )


def test_every_test_image_has_its_mask(task, model_dir):
    names = sorted(os.listdir(os.path.join(task, "imagesTs")))
    assert sorted(os.listdir(os.path.join(model_dir, "eval"))) == names
    for name in names:
        mask, image = read_image(model_dir, "eval", name), read_image(task, "imagesTs", name)
        assert grid_of(mask) == grid_of(image)
        assert mask.GetPixelID() == sitk.sitkUInt8
        assert set(np.unique(voxels(model_dir, "eval", name))) <= {0, 1, 2}


def test_the_batch_size_changes_no_mask(task, model_dir):
    names = os.listdir(os.path.join(task, "imagesTs"))
    before = {name: voxels(model_dir, "eval", name) for name in names}
    # Twenty images in batches of seven: the last one is not full.
    where = ["--data_dir", task, "--model_dir", model_dir]
    assert main.main(["--exec_mode", "predict", "--batch_size", "7", "--threads", "1"] + where) == 0
    for name in names:
        after = voxels(model_dir, "eval", name)
        # With other numbers of threads sums are taken in another order, which may turn a voxel on the brink.
        assert (after != before[name]).mean() < 1e-3

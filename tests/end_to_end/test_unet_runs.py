"""Runs of main.py with --model unet on the slices of a tiny task of volumes."""

import os

import numpy as np
import pytest
from command_line import (
    HELD_OUT,
    STRUCTURES,
    TEST_CASES,
    checkpoint_steps,
    losses,
    make_task,
    read_image,
    read_json,
    run_here,
    succeed_here,
)

UNET = ("--model", "unet", "--padding", "same", "--levels", 2, "--filters", 8)
INPUT = ("--input_shape", 16, 16, "--batch_size", 8, "--train_split", 0.7, "--threads", 1, "--log_every", 1)
TRAINING = ("--loss", "dice_ce", "--optimizer", "adam", "--base_lr", 0.002, "--augment_elastic", 0, "--dropout", 0.2)
FLAGS = UNET + INPUT + TRAINING
EPOCHS = 8


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    """The model's folder, trained, evaluated and used."""
    model_dir = str(tmp_path_factory.mktemp("unet_model"))
    folders = ("--data_dir", task, "--model_dir", model_dir)
    succeed_here("--exec_mode", "train_and_evaluate", "--train_epochs", EPOCHS, *FLAGS + folders)
    succeed_here("--exec_mode", "predict", *folders)
    return model_dir


class TestVolumes:
    def test_both_structures_are_found(self, trained):
        summary = read_json(trained, "evaluation.json")
        assert summary["structures"] == list(STRUCTURES)
        assert min(summary["mean"]["hard_dice"].values()) > 0.85
        assert len(summary["cases"]) == HELD_OUT

    def test_masks_are_volumes_on_the_scans_own_grids(self, task, trained):
        names = sorted(os.listdir(os.path.join(task, "imagesTs")))
        assert len(names) == TEST_CASES
        for name in names:
            mask, scan = read_image(trained, "eval", name), read_image(task, "imagesTs", name)
            for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
                assert getattr(mask, part)() == getattr(scan, part)()

    def test_the_report_is_there(self, trained):
        assert os.path.getsize(os.path.join(trained, "report", "index.html")) > 10000

    def test_settings_of_the_other_network_are_refused_later(self, task, trained):
        finished = run_here("--exec_mode", "predict", "--model", "vnet", "--data_dir", task, "--model_dir", trained)
        assert finished.status == 2 and "--model is vnet here and unet in" in finished.errors


class TestResuming:
    def test_a_run_in_two_parts_ends_as_one_in_one(self, task, tmp_path):
        """Dropout, the order of the slices, and which empty ones an epoch has follow from the seed and the step."""
        ends = []
        for name, parts in (("whole", [2]), ("parts", [1, 2])):
            model_dir = str(tmp_path / name)
            for epochs in parts:
                chosen = ("--exec_mode", "train", "--train_epochs", epochs, "--empty_slices", 0.5)
                succeed_here(*chosen + FLAGS + ("--data_dir", task, "--model_dir", model_dir))
            ends.append((checkpoint_steps(model_dir), losses(model_dir)))
        assert ends[0] == ends[1]


class TestPaper:
    @pytest.mark.parametrize("axis", ["x", "z"])
    def test_its_loss_its_padding_and_its_elastic_grid(self, task, tmp_path, axis):
        """Unpadded convolutions, weights of borders, displacements of three points: a label for every voxel."""
        model_dir = str(tmp_path / "model")
        folders = ("--data_dir", task, "--model_dir", model_dir)
        paper = ("--model", "unet", "--slice_axis", axis, "--levels", 2, "--filters", 4, "--augment_elastic", 2)
        chosen = ("--exec_mode", "train_and_evaluate", "--train_epochs", 1, "--base_lr", 0.0001) + paper + INPUT[3:]
        succeed_here(*chosen + folders)
        settings = read_json(model_dir, "params.json")
        assert (settings["padding"], settings["loss"], settings["augment_elastic_knots"]) == ("valid", "weighted_ce", 3)
        assert settings["input_shape"]["xyz".index(axis)] == 1
        kept = os.listdir(os.path.join(model_dir, "cache"))
        (borders,) = {name.split(".", 1)[1] for name in kept} - {"image.npy", "label.npy", "content.npy", "facts.npy"}
        assert borders == "borders.npy"
        assert all(np.isfinite(loss) for loss in losses(model_dir).values())
        assert len(os.listdir(os.path.join(model_dir, "eval"))) == HELD_OUT


class TestBenchmark:
    @pytest.mark.parametrize("mode", ["train", "predict"])
    @pytest.mark.parametrize("synthetic", ["on", "off"])
    def test_measures_slices(self, task, tmp_path, mode, synthetic):
        output = str(tmp_path / "figures.json")
        steps = ("--benchmark", "--warmup_steps", 1, "--benchmark_steps", 2, "--synthetic", synthetic)
        succeed_here(*("--exec_mode", mode, "--output", output, "--data_dir", task) + steps + UNET + INPUT)
        figures = read_json(output)
        assert figures["images_per_second"] > 0
        assert figures["settings"]["model"] == "unet" and figures["settings"]["input_shape"] == [16, 16, 1]

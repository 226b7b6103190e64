"""A phantom stack through the command line, as a user would go: made, checked, trained on, scored, predicted."""

import os

import numpy as np
import pytest
from command_line import read_json, run_here, succeed_in_turn
from PIL import Image
from shared_model import dice

import download_dataset
from utils.fetching import phantom_stack
from utils.imaging.stacks import pages_of, read_mask

# Enough training for a Dice that no mask of one value and no threshold of the brightness reaches.
TRAINING = (
    *("--model", "unet", "--recipe", "tuned", "--levels", 3, "--filters", 8, "--train_split", 0.75, "--augment"),
    *("--augment_rotation", 180, "--batch_size", 2, "--train_epochs", 18, "--evaluate_every", 9, "--base_lr", 0.005),
    *("--lr_warmup_steps", 10, "--threads", 2),
)
SEED = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of the task and of a model that was trained on it, evaluated, and used to predict."""
    parent = str(tmp_path_factory.mktemp("stack"))
    made = ["--data_dir", parent, "--dataset", "phantom_stack", "--seed", str(SEED)]
    assert download_dataset.main(made) == 0
    data_dir, model_dir = os.path.join(parent, "Stack00_Phantom"), os.path.join(parent, "model")
    where = "--data_dir", data_dir, "--model_dir", model_dir
    images = "--images", os.path.join(data_dir, "test-volume.tif")
    succeed_in_turn(
        TRAINING + where + ("--exec_mode", "train_and_evaluate"),
        ("--exec_mode", "predict", "--pictures", "--model_dir", model_dir) + images,
    )
    return data_dir, model_dir


class TestPhantomStack:
    def test_held_out_pages_are_scored_one_by_one(self, folders):
        evaluation = read_json(folders[1], "evaluation.json")
        assert len(evaluation["cases"]) == 3
        assert evaluation["mean"]["hard_dice"]["cell"] >= 0.9
        assert evaluation["minimum"]["hard_dice"]["cell"] >= 0.88
        assert 0 < evaluation["mean"]["surface_distance_pixels"]["cell"] < 3
        held_out = read_json(folders[1], "split.json")["held_out"]
        assert [entry["case"] for entry in evaluation["cases"]] == held_out
        for name in held_out:
            image = Image.open(os.path.join(folders[1], "eval", name + ".tif"))
            assert image.size == (160, 160) and set(np.unique(np.asarray(image))) == {0, 255}

    def test_pages_that_nobody_knew_are_predicted_as_well(self, folders):
        """The truth of the test pages is not in the task: it is made again, from the seed."""
        pages = pages_of(os.path.join(folders[1], "eval", "test-volume.tif"))
        truths = phantom_stack.make_stack(SEED, phantom_stack.SIZES["small"], "test")
        assert len(pages) == len(truths) == 4
        found = [dice(read_mask(page, (160, 160), 2), truth.mask, 1) for page, truth in zip(pages, truths)]
        assert min(found) >= 0.88 and np.mean(found) >= 0.9

    def test_the_report_shows_them(self, folders):
        with open(os.path.join(folders[1], "report", "index.html"), encoding="utf-8") as file:
            page = file.read()
        assert page.count('<article class="case"') == page.count('data-plane="page"') == 4
        assert "EM; 160 × 160 pixels, 4 pages" in page and "U-Net segmentation report" in page
        assert os.path.isfile(os.path.join(folders[1], "eval", "test-volume.png"))

    def test_a_check_is_content(self, folders):
        finished = run_here("--exec_mode", "check", "--model", "unet", "--data_dir", folders[0])
        assert finished.status == 0 and "13 of 13 cases can be used" in finished.output
        assert "the network sees: 160 x 160 pixels (--fit resize)" in finished.output

"""Scores, masks and tables that evaluation leaves."""

import csv
import os

import numpy as np
import pytest
from command_line import (
    EPOCHS,
    HELD_OUT,
    STEPS_PER_EPOCH,
    STRUCTURES,
    TINY,
    log_lines,
    logged,
    make_task,
    read_json,
    voxels,
)
from shared_model import copy_of, dice, masks, run

import main


@pytest.fixture(scope="module", params=["1", "2", "5"])
def evaluated(request, model, tmp_path_factory):
    """A copy of the model, evaluated: one by one, with a batch that is not full, in a batch larger than three cases."""
    copy = copy_of(model, tmp_path_factory.mktemp("evaluated"))
    run("evaluate", copy, "--batch_size", request.param)
    return copy


class TestEvaluation:
    def test_every_held_out_case_is_scored_once(self, evaluated):
        held_out = read_json(evaluated.model_dir, "split.json")["held_out"]
        assert len(held_out) == HELD_OUT
        cases = [entry["case"] for entry in read_json(evaluated.model_dir, "evaluation.json")["cases"]]
        assert cases == held_out
        assert sorted(masks(evaluated.model_dir)) == [name + ".nii.gz" for name in held_out]

    def test_hard_dice_is_that_of_the_files(self, evaluated):
        evaluation = read_json(evaluated.model_dir, "evaluation.json")
        for value, structure in enumerate(STRUCTURES, 1):
            scores = []
            for entry in evaluation["cases"]:
                mask = voxels(evaluated.model_dir, "eval", entry["case"] + ".nii.gz")
                truth = voxels(evaluated.data_dir, "labelsTr", entry["case"] + ".nii.gz")
                scores.append(dice(mask, truth, value))
                assert entry["hard_dice"][structure] == pytest.approx(scores[-1], abs=1e-12)
            assert evaluation["mean"]["hard_dice"][structure] == pytest.approx(np.mean(scores), abs=1e-12)
            assert len(set(scores)) == HELD_OUT

    def test_the_batch_size_changes_no_score(self, evaluated, model):
        found, expected = (read_json(where, "evaluation.json") for where in (evaluated.model_dir, model.model_dir))
        for ours, theirs in zip(found["cases"], expected["cases"]):
            assert ours["hard_dice"] == theirs["hard_dice"]
            assert ours["soft_dice"] == pytest.approx(theirs["soft_dice"], abs=1e-5)

    def test_the_table_holds_the_same(self, evaluated):
        with open(os.path.join(evaluated.model_dir, "evaluation.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        entries = read_json(evaluated.model_dir, "evaluation.json")["cases"]
        expected = [
            (entry["case"], structure, entry["soft_dice"][structure], entry["hard_dice"][structure])
            for entry in entries
            for structure in STRUCTURES
        ]
        found = [(row["case"], row["structure"], float(row["soft_dice"]), float(row["hard_dice"])) for row in rows]
        assert found == expected

    def test_it_agrees_with_what_training_measured(self, model):
        # The same weights, once in the training session and once from the checkpoint.
        measured = dict(logged(model.model_dir, 1))[(EPOCHS,)]
        evaluation = read_json(model.model_dir, "evaluation.json")
        assert evaluation["checkpoint"] == {"which": "last", "step": EPOCHS * STEPS_PER_EPOCH}
        for structure in STRUCTURES:
            mean = evaluation["mean"]["soft_dice"][structure]
            assert measured["soft_dice_" + structure] == pytest.approx(mean, abs=1e-5)

    def test_all_scores_belong_together(self, evaluated):
        evaluation = read_json(evaluated.model_dir, "evaluation.json")
        for entry in evaluation["cases"]:
            for structure in STRUCTURES:
                mask, truth = entry["volume_ml"][structure], entry["true_volume_ml"][structure]
                assert entry["volume_difference_ml"][structure] == pytest.approx(mask - truth, abs=1e-9)
                # No Dice is higher than the volumes allow.
                assert entry["hard_dice"][structure] <= 2 * min(mask, truth) / (mask + truth) + 1e-9
                assert 0 < entry["surface_distance_mm"][structure] <= entry["hausdorff_95_mm"][structure] < 30
                assert 0 < entry["uncertainty"][structure] < 1
        low, high = evaluation["mean_interval_95"]["hard_dice"]["Upper"]
        assert low < evaluation["mean"]["hard_dice"]["Upper"] < high
        assert -1 <= evaluation["uncertainty_rank_correlation"]["case_means"] <= 1

    def test_the_log_holds_the_means(self, evaluated):
        mean = read_json(evaluated.model_dir, "evaluation.json")["mean"]
        logged_last = [event["data"] for event in log_lines(evaluated.model_dir) if event["type"] == "LOG"][-1]
        assert len(mean) == 8
        for measure in mean:
            for structure in STRUCTURES:
                assert logged_last[measure + "_" + structure] == mean[measure][structure]

    def test_a_structure_that_is_nowhere_is_undefined(self, tmp_path):
        task = make_task(tmp_path, training=4, test=0, structures=STRUCTURES + ("Nowhere",))
        model_dir = str(tmp_path / "model")
        # Fast enough to unlearn the structure that never comes.
        flags = list(TINY) + ["--train_epochs", "12", "--evaluate_every", "6", "--batch_size", "1", "--base_lr", "0.02"]
        where = ["--data_dir", task, "--model_dir", model_dir]
        assert main.main(["--exec_mode", "train_and_evaluate"] + where + flags) == 0
        evaluation = read_json(model_dir, "evaluation.json")
        (entry,) = evaluation["cases"]
        assert not (voxels(model_dir, "eval", entry["case"] + ".nii.gz") == 3).any()
        assert entry["hard_dice"]["Nowhere"] is None
        assert evaluation["mean"]["hard_dice"]["Nowhere"] is None
        assert evaluation["count"]["hard_dice"]["Nowhere"] == 0
        assert entry["hard_dice"]["Upper"] > 0

"""Cross-validation by the command line: every case is held out once, folds are models, prediction is their mean."""

import json
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import (
    STRUCTURES,
    TEST_CASES,
    TINY_NETWORK,
    TRAINING_CASES,
    checkpoint_steps,
    make_task,
    read_image,
    read_json,
    run_here,
    succeed,
    succeed_here,
    voxels,
)

import main

FOLDS = 3
SETTINGS = (
    TINY_NETWORK
    + ("--threads", "1", "--base_lr", "0.002", "--folds", FOLDS, "--batch_size", "4")
    + ("--augment", "--flip_axes", "x")
    # Of each fold's own cases.
    + ("--data_normalization", "ct")
)
STEPS_PER_EPOCH = 2
EPOCHS = 6
NAMES = ["case_{:02d}".format(number) for number in range(TRAINING_CASES)]


class Folded:
    """A cross-validated model of the tiny task, and the run that trained it."""

    def __init__(self, parent):
        self.data_dir = make_task(parent)
        self.model_dir = os.path.join(str(parent), "model")
        where = "--data_dir", self.data_dir, "--model_dir", self.model_dir
        self.run = succeed("--exec_mode", "train_and_evaluate", "--train_epochs", EPOCHS, *SETTINGS + where)

    def fold(self, number):
        """A fold's folder."""
        return os.path.join(self.model_dir, "fold_{}".format(number))


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    return Folded(tmp_path_factory.mktemp("folded"))


class TestTraining:
    def test_the_data_of_all_folds_are_on_record(self, folded):
        (run,) = read_json(folded.model_dir, "params.json")["runs"]
        own = [read_json(folded.fold(number), "params.json")["runs"][0]["data"] for number in range(FOLDS)]
        assert run["data"]["training"]["cases"] == run["data"]["held_out"]["cases"] == TRAINING_CASES
        assert run["data"]["training"]["hash"] == run["data"]["held_out"]["hash"]
        assert len({data["training"]["hash"] for data in own} | {run["data"]["training"]["hash"]}) == FOLDS + 1

    def test_a_held_out_case_that_has_changed_is_told_of(self, folded, tmp_path):
        data_dir, model_dir = str(tmp_path / "task"), str(tmp_path / "model")
        shutil.copytree(folded.data_dir, data_dir)
        shutil.copytree(folded.model_dir, model_dir)
        path = os.path.join(data_dir, "imagesTr", NAMES[0] + ".nii.gz")
        sitk.WriteImage(sitk.ReadImage(path) + 1, path)
        where = ("--data_dir", data_dir, "--model_dir", model_dir, "--threads", "1")
        finished = succeed_here("--exec_mode", "evaluate", "--folds", FOLDS, *where)
        told = "held-out cases have changed since training (1 of {}: {})".format(TRAINING_CASES, NAMES[0])
        assert told in finished.output

    def test_each_fold_is_trained_on_what_it_does_not_hold_out(self, folded):
        held_out = []
        for fold in range(FOLDS):
            split = read_json(folded.fold(fold), "split.json")
            assert sorted(split["training"] + split["held_out"]) == NAMES
            held_out += split["held_out"]
            assert checkpoint_steps(folded.fold(fold))[-1] == EPOCHS * STEPS_PER_EPOCH
        assert sorted(held_out) == NAMES

    def test_each_fold_learns_intensities_of_its_own(self, folded):
        own = [read_json(folded.fold(fold), "params.json")["intensities"] for fold in range(FOLDS)]
        assert len({json.dumps(one) for one in own}) == FOLDS
        for fold, (channel,) in enumerate(own):
            np.testing.assert_allclose(channel, [150, 350, 250, 53], atol=15)
            told = "fold {}: intensities of MRI0: clipped to {:g} up to".format(fold, channel[0])
            assert told in folded.run.output
        assert read_json(folded.model_dir, "params.json")["intensities"] is None

    def test_the_axes_of_all_cases_are_known(self, folded):
        own = [read_json(folded.fold(fold), "params.json")["axes"] for fold in range(FOLDS)]
        together = read_json(folded.model_dir, "params.json")["axes"]
        assert together == sorted(set().union(*own)) == ["LPI", "LPS", "PLS", "PSL", "RAS"]

    def test_the_terminal_says_which_fold_is_at_work(self, folded):
        for fold in range(FOLDS):
            assert "fold {}: training: ".format(fold) in folded.run.errors
            assert "fold {}: evaluating: ".format(fold) in folded.run.errors

    def test_goes_on_where_it_was_stopped(self, folded, tmp_path):
        model_dir = shutil.copytree(folded.model_dir, str(tmp_path / "model"))
        shutil.rmtree(os.path.join(model_dir, "fold_2"))
        where = "--data_dir", folded.data_dir, "--model_dir", model_dir
        again = succeed_here("--exec_mode", "train", "--train_epochs", EPOCHS, *SETTINGS + where)
        assert again.output.count("has been trained for {} epochs already".format(EPOCHS)) == 2
        assert "fold 2: training: " in again.errors and "fold 1: training: " not in again.errors
        assert checkpoint_steps(os.path.join(model_dir, "fold_2"))[-1] == EPOCHS * STEPS_PER_EPOCH

    def test_a_fold_is_a_model_of_its_own(self, folded, tmp_path):
        model_dir = shutil.copytree(folded.fold(1), str(tmp_path / "fold"))
        where = "--data_dir", folded.data_dir, "--model_dir", model_dir
        succeed_here("--exec_mode", "evaluate", "--threads", 1, *where)
        alone = {case["case"]: case["hard_dice"] for case in read_json(model_dir, "evaluation.json")["cases"]}
        pooled = {case["case"]: case["hard_dice"] for case in read_json(folded.model_dir, "evaluation.json")["cases"]}
        assert alone and alone == {name: pooled[name] for name in alone}


class TestScores:
    def test_every_case_is_scored_once(self, folded):
        summary = read_json(folded.model_dir, "evaluation.json")
        assert sorted(case["case"] for case in summary["cases"]) == NAMES
        assert summary["checkpoint"] == {"which": "last", "step": [EPOCHS * STEPS_PER_EPOCH] * FOLDS}
        for structure in STRUCTURES:
            assert summary["count"]["hard_dice"][structure] == TRAINING_CASES

    def test_their_masks_lie_together(self, folded):
        assert sorted(os.listdir(os.path.join(folded.model_dir, "eval"))) == [name + ".nii.gz" for name in NAMES]

    def test_bad_cases_are_left_out_and_told_of_whichever_fold_they_are_in(self, folded, tmp_path, capsys):
        task, model_dir = (
            shutil.copytree(path, str(tmp_path / os.path.basename(path)))
            for path in (folded.data_dir, folded.model_dir)
        )
        bad = [read_json(model_dir, "fold_{}".format(fold), "split.json")["held_out"][0] for fold in (0, 2)]
        for name in bad:
            open(os.path.join(task, "labelsTr", name + ".nii.gz"), "wb").close()
        where = ["--data_dir", task, "--model_dir", model_dir]
        assert main.main(["--exec_mode", "evaluate", "--threads", "1"] + where) == 2
        told = capsys.readouterr().err.partition("main.py: error: ")[2].splitlines()
        assert told[0] == "2 of 10 cases cannot be used:"
        assert [name + ".nii.gz: is empty" in line for name, line in zip(bad, told[1:])] == [True, True]
        scored = [case["case"] for case in read_json(model_dir, "evaluation.json")["cases"]]
        assert sorted(scored + bad) == NAMES

    def test_what_stops_a_fold_is_told_at_the_end(self, folded, tmp_path, capsys):
        model_dir = shutil.copytree(folded.model_dir, str(tmp_path / "model"))
        last = read_json(model_dir, "fold_1", "split.json")["held_out"][-1]
        mask = os.path.join(model_dir, "eval", last + ".nii.gz")
        os.remove(mask)
        os.mkdir(mask)
        where = ["--data_dir", folded.data_dir, "--model_dir", model_dir]
        assert main.main(["--exec_mode", "evaluate", "--threads", "1"] + where) == 2
        told = capsys.readouterr().err.partition("main.py: error: ")[2]
        assert told.startswith("{}: cannot be written: ".format(mask))
        scored = [case["case"] for case in read_json(model_dir, "evaluation.json")["cases"]]
        assert sorted(scored + [last]) == NAMES


class TestPrediction:
    def test_is_the_mean_of_the_folds(self, folded, tmp_path):
        scan = os.path.join(folded.data_dir, "imagesTs", "case_12.nii.gz")
        model_dir = shutil.copytree(folded.model_dir, str(tmp_path / "model"))
        succeed_here("--exec_mode", "predict", "--images", scan, "--model_dir", model_dir, "--threads", "1")
        together = voxels(model_dir, "eval", "case_12.nii.gz")
        assert together.shape == read_image(scan).GetSize()
        # Where all folds agree, so does their mean.
        masks = []
        for fold in range(FOLDS):
            own = os.path.join(model_dir, "fold_{}".format(fold))
            succeed_here("--exec_mode", "predict", "--images", scan, "--model_dir", own, "--threads", "1")
            masks.append(voxels(own, "eval", "case_12.nii.gz"))
        masks = np.array(masks)
        # Each sees the scan by the intensities that it has learned.
        agreed = (masks == masks[0]).all(axis=0)
        assert agreed.any() and not agreed.all()
        np.testing.assert_array_equal(together[agreed], masks[0][agreed])
        assert not any(np.array_equal(together, mask) for mask in masks)

    def test_flips_at_test_time_and_the_largest_component(self, folded, tmp_path):
        model_dir = shutil.copytree(folded.model_dir, str(tmp_path / "model"))
        flags = ("--test_time_flips", "--largest_component", "--threads", 1)
        arguments = ("--exec_mode", "predict", "--data_dir", folded.data_dir, "--model_dir", model_dir)
        succeed_here(*arguments + flags)
        assert len(os.listdir(os.path.join(model_dir, "eval"))) == TRAINING_CASES + TEST_CASES


class TestBadCases:
    def test_all_are_told_before_the_first_fold_is_trained(self, tmp_path, capsys):
        task = make_task(tmp_path)
        for part, name in (("imagesTr", "case_00"), ("labelsTr", "case_05"), ("imagesTs", "case_13")):
            open(os.path.join(task, part, name + ".nii.gz"), "wb").close()
        where = ["--data_dir", task, "--model_dir", str(tmp_path / "model")]
        assert main.main(["--exec_mode", "train_and_predict", *map(str, SETTINGS), *where]) == 2
        told = capsys.readouterr().err.partition("main.py: error: ")[2].splitlines()
        assert told[0] == "3 of 15 cases cannot be used:" and len(told) == 4
        assert checkpoint_steps(os.path.join(str(tmp_path / "model"), "fold_0")) == []


class TestRefusals:
    @pytest.mark.parametrize(
        "flags, message",
        [
            (("--folds", 11), "--folds 11: the task has 10 labelled cases: use fewer folds"),
            (("--folds", 3, "--train_split", "0.8"), "--train_split: does not go with --folds 3"),
            (("--folds", 3, "--exec_mode", "train", "--benchmark"), "--benchmark: does not go with --folds 3"),
            (("--folds", 1), "--folds: '1' is not 0 or a whole number from 2 to 20"),
        ],
    )
    def test_what_does_not_go_together(self, folded, tmp_path, flags, message):
        arguments = ("--exec_mode", "train_and_evaluate", "--data_dir", folded.data_dir, "--model_dir", tmp_path / "m")
        refused = run_here(*arguments + TINY_NETWORK + flags)
        assert refused.status == 2 and message in refused.errors
        assert not (tmp_path / "m").exists()

    def test_a_fold_without_a_checkpoint(self, folded, tmp_path):
        model_dir = shutil.copytree(folded.model_dir, str(tmp_path / "model"))
        shutil.rmtree(os.path.join(model_dir, "fold_1"))
        refused = run_here("--exec_mode", "predict", "--data_dir", folded.data_dir, "--model_dir", model_dir)
        assert (
            refused.status == 2 and "(no checkpoint in {})".format(os.path.join(model_dir, "fold_1")) in refused.errors
        )

    def test_another_number_of_folds(self, folded):
        arguments = ("--exec_mode", "predict", "--data_dir", folded.data_dir, "--model_dir", folded.model_dir)
        refused = run_here(*arguments + ("--folds", 4))
        assert refused.status == 2 and "--folds is 4 here and 3 in" in refused.errors

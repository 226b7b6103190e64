import csv
import functools
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
from command_line import (
    EPOCHS,
    HELD_OUT,
    STEPS_PER_EPOCH,
    STRUCTURES,
    TEST_CASES,
    TINY,
    TRAINED,
    checkpoint_steps,
    command,
    log_lines,
    logged,
    losses,
    make_task,
    read_image,
    read_json,
    run_main,
    succeed,
    voxels,
)
from synthetic import grid_of

import main
from utils import kept_copy, runner
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.training_hook import TrainingHook

AUGMENTED = ("--augment_rotation", "15", "--augment_elastic", "1", "--augment_noise", "0.2", "--augment_gamma", "0.3")


@pytest.fixture
def copied(model, tmp_path):
    """The shared model in a folder that a test may change; without masks, so that those found are new."""
    return copy_of(model, tmp_path)


def copy_of(model, parent):
    copy = shutil.copytree(model.model_dir, str(parent / "moved"))
    shutil.rmtree(os.path.join(copy, "eval"))
    return model._replace(model_dir=copy)


def run(mode, model, *flags):
    """Run a part on a model in this process."""
    arguments = ["--exec_mode", mode, "--data_dir", model.data_dir, "--model_dir", model.model_dir] + list(flags)
    assert main.main(arguments + ["--threads", "1"]) == 0


def content(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def masks(model_dir):
    """What is in the folder of masks: {file name: content}."""
    folder = os.path.join(model_dir, "eval")
    return {name: content(folder, name) for name in os.listdir(folder)}


def dice(mask, truth, value):
    both = ((mask == value) & (truth == value)).sum()
    return 2 * both / ((mask == value).sum() + (truth == value).sum())


class TestPrediction:
    def test_the_batch_size_changes_nothing(self, copied):
        found = []
        for batch_size in "1", "2", "5":
            run("predict", copied, "--batch_size", batch_size)
            found.append(masks(copied.model_dir))
            shutil.rmtree(os.path.join(copied.model_dir, "eval"))
        names = ["case_{}.nii.gz".format(10 + number) for number in range(TEST_CASES)]
        assert sorted(found[0]) == names
        # Files and all: also no two cases have one mask.
        assert found[0] == found[1] == found[2]
        assert len(set(found[0].values())) == TEST_CASES

    def test_every_mask_lies_on_its_image(self, copied):
        run("predict", copied, "--batch_size", "3", "--pictures")
        names = ["case_{}.nii.gz".format(10 + number) for number in range(TEST_CASES)]
        pictures = [name.replace(".nii.gz", ".png") for name in names]
        assert sorted(masks(copied.model_dir)) == sorted(names + pictures)
        for name in names:
            mask, image = read_image(copied.model_dir, "eval", name), read_image(copied.data_dir, "imagesTs", name)
            assert grid_of(mask) == grid_of(image)
            assert mask.GetPixelIDTypeAsString() == "8-bit unsigned integer"
            # Both structures are found in each, about where they are.
            found, signal = voxels(copied.model_dir, "eval", name), voxels(copied.data_dir, "imagesTs", name)
            assert {1, 2} <= set(np.unique(found)) <= {0, 1, 2}
            assert min(signal[found == 1].mean(), signal[found == 2].mean()) > signal[found == 0].mean() + 20

    def test_volume_and_uncertainty_of_every_mask(self, copied, capsys):
        run("predict", copied)
        content = read_json(copied.model_dir, "predictions.json")
        assert content["checkpoint"] == {"which": "last", "step": EPOCHS * STEPS_PER_EPOCH}
        assert [entry["case"] + ".nii.gz" for entry in content["cases"]] == sorted(masks(copied.model_dir))
        for entry in content["cases"]:
            mask = read_image(copied.model_dir, "eval", entry["case"] + ".nii.gz")
            voxel = np.prod(mask.GetSpacing()) / 1000
            for value, structure in enumerate(STRUCTURES, 1):
                found = (voxels(copied.model_dir, "eval", entry["case"] + ".nii.gz") == value).sum()
                assert entry["volume_ml"][structure] == pytest.approx(found * voxel, rel=1e-9)
                assert 0 < entry["uncertainty"][structure] < 1
        means = {entry["case"]: np.mean(list(entry["uncertainty"].values())) for entry in content["cases"]}
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("most uncertain case: ")]
        assert told[0].split()[3] == max(means, key=means.get)

    def test_given_images_instead_of_the_tasks(self, copied):
        run("predict", copied, "--images", os.path.join(copied.data_dir, "imagesTr", "case_04.nii.gz"))
        assert list(masks(copied.model_dir)) == ["case_04.nii.gz"]

    def test_a_bad_scan_is_left_out_and_told_of(self, copied, tmp_path, capsys):
        images = [os.path.join(copied.data_dir, "imagesTs", "case_{}.nii.gz".format(number)) for number in (10, 11, 12)]
        images[1] = str(tmp_path / "broken.nii.gz")
        open(images[1], "wb").close()
        arguments = ["--exec_mode", "predict", "--model_dir", copied.model_dir, "--threads", "1", "--images"]
        assert main.main(arguments + images) == 2
        errors = capsys.readouterr().err.splitlines()
        assert errors[-1].startswith("main.py: error: 1 of 3 cases cannot be used: {}: is empty".format(images[1]))
        assert sorted(masks(copied.model_dir)) == ["case_10.nii.gz", "case_12.nii.gz"]
        predicted = read_json(copied.model_dir, "predictions.json")["cases"]
        assert [entry["case"] for entry in predicted] == ["case_10", "case_12"]

    def test_a_mask_that_cannot_be_written_ends_it_and_bad_scans_are_told_as_well(self, copied, tmp_path, capsys):
        images = [os.path.join(copied.data_dir, "imagesTs", "case_{}.nii.gz".format(number)) for number in (10, 11)]
        broken = str(tmp_path / "broken.nii.gz")
        open(broken, "wb").close()
        os.makedirs(os.path.join(copied.model_dir, "eval", "case_11.nii.gz"))
        arguments = ["--exec_mode", "predict", "--model_dir", copied.model_dir, "--threads", "1", "--images"]
        assert main.main(arguments + [broken] + images) == 2
        told = capsys.readouterr().err.splitlines()[-2:]
        assert told[0].startswith("main.py: error: 1 of 3 cases cannot be used: {}: is empty".format(broken))
        assert "case_11.nii.gz: cannot be written: Is a directory; cases left: 1" in told[1]
        assert os.path.isfile(os.path.join(copied.model_dir, "eval", "case_10.nii.gz"))

    def test_a_folder_that_cannot_be_made_is_one_line(self, copied, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(kept_copy.os, "makedirs", functools.partial(self.fail, os.makedirs))
        arguments = ["--exec_mode", "predict", "--data_dir", copied.data_dir, "--model_dir", copied.model_dir]
        assert main.main(arguments + ["--threads", "1", "--cache_dir", str(tmp_path / "cache")]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("main.py: error: {}: cannot be made".format(tmp_path / "cache"))

    def fail(self, make, path, **options):
        if path.endswith("cache"):
            raise OSError(28, "No space left on device", path)
        make(path, **options)

    def test_a_bug_is_no_bad_scan(self, copied, tmp_path, monkeypatch):
        def broken(case, settings):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(kept_copy, "prepare_case", broken)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            run("predict", copied, "--cache_dir", str(tmp_path / "cache"))

    def test_nothing_but_bad_scans(self, copied, tmp_path, capsys):
        images = [str(tmp_path / name) for name in ("one.nii.gz", "two.nii")]
        for image in images:
            open(image, "wb").close()
        arguments = ["--exec_mode", "predict", "--model_dir", copied.model_dir, "--threads", "1", "--images"]
        assert main.main(arguments + images) == 2
        told = capsys.readouterr().err.splitlines()[-3:]
        assert told[0] == "main.py: error: 2 of 2 cases cannot be used:"
        assert [line.split(": is empty")[0] for line in told[1:]] == images
        assert not os.path.exists(os.path.join(copied.model_dir, "eval"))

    def test_a_task_without_test_images(self, copied, tmp_path, capsys):
        task = make_task(tmp_path, test=0)
        run("predict", copied._replace(data_dir=task))
        assert "lists no test images, nothing to predict" in capsys.readouterr().out
        assert not os.path.exists(os.path.join(copied.model_dir, "eval"))


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


class TestCheckpoints:
    def test_the_best_one_is_the_best_that_was_measured(self, copied):
        epochs = {
            step[0] * STEPS_PER_EPOCH: np.mean([figures["soft_dice_" + name] for name in STRUCTURES])
            for step, figures in logged(copied.model_dir, 1)
        }
        best = read_json(copied.model_dir, "best", "score.json")
        assert len(epochs) == EPOCHS
        assert best["soft_dice"] == pytest.approx(max(epochs.values()))
        assert best["step"] == max(epochs, key=epochs.get)
        assert checkpoint_steps(os.path.join(copied.model_dir, "best")) == [best["step"]]

    def test_the_best_one_is_used_where_the_folder_was_moved_to(self, copied, model):
        # The folder of before is out of reach, as on another machine.
        away = model.model_dir + "_away"
        os.rename(model.model_dir, away)
        try:
            run("evaluate", copied, "--checkpoint", "best")
        finally:
            os.rename(away, model.model_dir)
        evaluation, best = (
            read_json(copied.model_dir, *path) for path in (["evaluation.json"], ["best", "score.json"])
        )
        assert evaluation["checkpoint"] == {"which": "best", "step": best["step"]}
        assert np.mean(list(evaluation["mean"]["soft_dice"].values())) == pytest.approx(best["soft_dice"], abs=1e-5)

    @pytest.mark.parametrize("mode", ["train", "evaluate", "predict"])
    def test_without_their_list_nothing_starts_anew(self, copied, capsys, mode):
        os.remove(os.path.join(copied.model_dir, "checkpoint"))
        before = checkpoint_steps(copied.model_dir)
        arguments = ["--exec_mode", mode, "--data_dir", copied.data_dir, "--model_dir", copied.model_dir]
        assert main.main(arguments) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("main.py: error: {}: has no file".format(copied.model_dir))
        assert checkpoint_steps(copied.model_dir) == before
        assert not os.path.exists(os.path.join(copied.model_dir, "eval"))


class TestTraining:
    @pytest.mark.parametrize("epochs", [EPOCHS, 1])
    def test_what_is_trained_already_stays(self, copied, capsys, epochs):
        before = content(copied.model_dir, "checkpoint"), losses(copied.model_dir)
        run("train", copied, "--train_epochs", str(epochs))
        assert "has been trained for {} epochs already".format(EPOCHS) in capsys.readouterr().out
        assert (content(copied.model_dir, "checkpoint"), losses(copied.model_dir)) == before

    @pytest.mark.parametrize("flags", [(), ("--augment",), AUGMENTED, ("--seed", "1")])
    def test_the_seed_decides_the_losses(self, model, tmp_path, flags):
        # In a process of its own: here, the first session of any test has fixed the number of threads.
        where = "--exec_mode", "train", "--data_dir", model.data_dir, "--model_dir", tmp_path / "mine"
        succeed(*where + ("--train_epochs", "1", "--evaluate_every", "0") + TINY + flags)
        mine = losses(tmp_path / "mine")
        theirs = {step: loss for step, loss in losses(model.model_dir).items() if step in mine}
        assert len(theirs) == STEPS_PER_EPOCH
        assert (mine == theirs) == (flags == ())

    def test_nothing_held_out(self, model, tmp_path):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        run("train", mine, "--train_epochs", "1", *TINY + ("--train_split", "1", "--checkpoint_every", "5"))
        assert read_json(mine.model_dir, "split.json")["held_out"] == []
        assert not os.path.exists(os.path.join(mine.model_dir, "best"))
        # Ten cases in pairs, and the last step is kept whenever it comes.
        assert checkpoint_steps(mine.model_dir)[-1] == 5

    def test_its_images_per_second_leave_evaluation_out(self, model, tmp_path, monkeypatch):
        now = [0.0]

        def clock():
            now[0] += 0.001
            return now[0]

        def evaluate(hook, session):
            now[0] += 1000.0

        monkeypatch.setattr(runner, "TrainingHook", functools.partial(TrainingHook, clock=clock))
        monkeypatch.setattr(EvaluationHook, "_evaluate", evaluate)
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        run("train", mine, "--train_epochs", "2", *TINY)
        found = [figures["images_per_second"] for _, figures in logged(mine.model_dir, 1)]
        assert now[0] > 2000.0 and found == pytest.approx([TRAINED / (STEPS_PER_EPOCH * 0.001)] * 2)

    def test_several_modalities(self, tmp_path):
        task = make_task(tmp_path, training=4, test=2, modalities=2)
        model_dir = str(tmp_path / "model")
        where = ["--data_dir", task, "--model_dir", model_dir]
        assert main.main(["--exec_mode", "train_and_predict", "--train_epochs", "2"] + where + list(TINY)) == 0
        assert read_json(model_dir, "params.json")["modalities"] == ["MRI0", "MRI1"]
        assert sorted(masks(model_dir)) == ["case_04.nii.gz", "case_05.nii.gz"]
        for name in masks(model_dir):
            image = read_image(task, "imagesTs", name)
            assert image.GetSize()[3] == 2
            assert grid_of(read_image(model_dir, "eval", name)) == grid_of(image[:, :, :, 0])


class TestBenchmark:
    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_it_measures_and_leaves_no_model(self, model, tmp_path, mode, capsys):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        flags = "--benchmark", "--warmup_steps", "2", "--benchmark_steps", "7"
        run(mode, mine, *TINY + flags)
        assert not {"checkpoint", "params.json", "split.json", "eval", "best"} & set(os.listdir(mine.model_dir))
        assert checkpoint_steps(mine.model_dir) == []
        figures = dict(logged(mine.model_dir, 0))[()]
        assert (figures["mode"], figures["steps"], figures["batch_size"]) == (mode, 7, 2)
        assert figures["images_per_second"] > 0
        assert 0 < figures["latency_90"] <= figures["latency_95"] <= figures["latency_99"]
        assert "images_per_second" in capsys.readouterr().out

    def test_it_leaves_a_model_alone(self, copied):
        before = content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)
        # Settings that contradict the model's are no matter: they are measured.
        flags = "--benchmark", "--warmup_steps", "0", "--benchmark_steps", "2", "--base_lr", "0.5"
        run("train", copied, *TINY + flags)
        assert (content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)) == before


class TestWhatTensorFlowCannotDo:
    def test_a_damaged_checkpoint_is_one_line(self, tmp_path):
        data_dir = make_task(tmp_path)
        options = TINY + ("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", tmp_path / "model")
        succeed(*options + ("--train_epochs", "1"))
        for index in (tmp_path / "model").glob("*.index"):
            index.write_bytes(index.read_bytes()[:20])
        finished = run_main(*options + ("--train_epochs", "2"))
        assert finished.status == 2 and "Traceback" not in finished.errors
        lines = [line for line in finished.errors.splitlines() if line.startswith("main.py: error: ")]
        assert len(lines) == 1 and "TensorFlow cannot go on" in lines[0]

    def test_a_log_that_cannot_grow_is_one_line(self, tmp_path):
        data_dir = make_task(tmp_path)
        (tmp_path / "model").mkdir()
        # As on a disk that fills up: room for the start of the log, and for all smaller files.
        limit = 1 << 24
        (tmp_path / "model" / "dllogger.json").write_text("DLLL {}".ljust(limit - 8000) + "\n")
        finished = subprocess.run(
            command(TINY + ("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", tmp_path / "model")),
            stderr=subprocess.PIPE,
            universal_newlines=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert finished.returncode == 2 and "Traceback" not in finished.stderr
        log = tmp_path / "model" / "dllogger.json"
        assert "error: {}: cannot go on: File too large".format(log) in finished.stderr

    def test_a_diverged_training_is_one_line(self, tmp_path):
        data_dir = make_task(tmp_path)
        finished = run_main(
            *("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", tmp_path / "model", "--train_epochs", "3"),
            *("--base_lr", "1e38", "--normalization_layer", "none", "--threads", "1", "--evaluate_every", "0"),
            *("--input_shape", "16", "16", "16", "--downscale_blocks", "1", "1", "--upscale_blocks", "1"),
        )
        assert finished.status == 2 and "Traceback" not in finished.errors
        assert "--base_lr 1e+38: training has diverged" in finished.errors

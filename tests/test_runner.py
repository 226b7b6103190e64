import functools
import json
import os
import shutil

import numpy as np
import pytest
from command_line import (
    EPOCHS,
    SMALLEST,
    SMALLEST_NETWORK,
    STEPS_PER_EPOCH,
    STRUCTURES,
    TEST_CASES,
    TINY,
    TRAINED,
    checkpoint_steps,
    logged,
    losses,
    make_task,
    read_image,
    read_json,
    run_here,
    succeed_here,
    succeed_in_turn,
    voxels,
)
from shared_model import content, masks, run
from synthetic import grid_of, write_image

import main
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.training_hook import TrainingHook
from utils.imaging.image_facts import ONE_INTENSITY, SAME_VOXELS, UNMARKED
from utils.imaging.tasks import Case
from utils.inspection.scan_warnings import axes_of
from utils.model_dir import checkpoints
from utils.preprocessing import cache
from utils.running import training

AUGMENTED = ("--augment_rotation", "15", "--augment_elastic", "1", "--augment_noise", "0.2", "--augment_gamma", "0.3")


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
        assert content["made_with"] == {"test_time_flips": False, "largest_component": False}
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
        monkeypatch.setattr(cache.os, "makedirs", functools.partial(self.fail, os.makedirs))
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

        monkeypatch.setattr(cache, "prepare_case", broken)
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

    @pytest.mark.parametrize("mode", ["evaluate", "predict"])
    def test_where_the_last_is_damaged_the_one_before_is_used_and_it_says_so(self, copied, capsys, mode):
        last, before = sorted(checkpoint_steps(copied.model_dir), reverse=True)[:2]
        with open(os.path.join(copied.model_dir, "model.ckpt-{}.index".format(last)), "r+b") as file:
            file.truncate(20)
        files = sorted(os.listdir(copied.model_dir))
        run(mode, copied)
        told = [line for line in capsys.readouterr().out.splitlines() if " is damaged (" in line]
        assert len(told) == 1 and told[0].startswith("{}: model.ckpt-{} is damaged ".format(copied.model_dir, last))
        assert told[0].endswith(": using model.ckpt-{}".format(before))
        name = {"evaluate": "evaluation.json", "predict": "predictions.json"}[mode]
        assert read_json(copied.model_dir, name)["checkpoint"] == {"which": "last", "step": before}
        # Nothing is put right in a folder that is only read.
        assert [name for name in files if name not in os.listdir(copied.model_dir)] == []

    def test_training_goes_on_from_the_one_before(self, copied, model, capsys):
        last, before = sorted(checkpoint_steps(copied.model_dir), reverse=True)[:2]
        os.remove(os.path.join(copied.model_dir, "checkpoint"))
        os.remove(os.path.join(copied.model_dir, "model.ckpt-{}.index".format(last)))
        run("train", copied)
        told = [line for line in capsys.readouterr().out.splitlines() if ": using model.ckpt-" in line]
        assert len(told) == 1 and told[0].endswith(": using model.ckpt-{}".format(before))
        assert checkpoint_steps(copied.model_dir) == checkpoint_steps(model.model_dir)

    @pytest.mark.parametrize("mode", ["train", "evaluate", "predict"])
    def test_where_none_is_good_nothing_starts_anew(self, copied, capsys, mode):
        for name in os.listdir(copied.model_dir):
            if name.startswith("model.ckpt-") and ".data" in name:
                os.remove(os.path.join(copied.model_dir, name))
        before = checkpoint_steps(copied.model_dir)
        arguments = ["--exec_mode", mode, "--data_dir", copied.data_dir, "--model_dir", copied.model_dir]
        assert main.main(arguments) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("main.py: error: {}: has no checkpoint that can be read (".format(copied.model_dir))
        assert checkpoint_steps(copied.model_dir) == before
        assert not os.path.exists(os.path.join(copied.model_dir, "eval"))


AXES = "axes other than those of the training scans ("
CONSTANT, UNMARKED_LABEL = ("imagesTr", "case_01.nii.gz"), ("labelsTr", "case_02.nii.gz")
LARGER, CROPPED = "larger than the network's input of ", "structures outside the network's input of "


def notices(*arguments):
    """What a run tells of its scans, line by line."""
    lines = succeed_here(*arguments + ("--threads", 1)).output.splitlines()
    return [line for line in lines if line.startswith((AXES, LARGER, CROPPED))]


@pytest.fixture(scope="module")
def cropped(tmp_path_factory):
    """A model that sees the middle of scans: flags for its task and folder, and what its training told."""
    parent = tmp_path_factory.mktemp("cropped")
    where = ("--data_dir", make_task(parent, training=6, test=1), "--model_dir", str(parent / "model"))
    flags = SMALLEST + ("--fit", "pad", "--spacing", 0.7, 1.1, 2.9, "--train_epochs", 1, "--evaluate_every", 1)
    return where, notices("--exec_mode", "train", *where + flags)


class TestNotices:
    def test_training_tells_of_structures_that_are_cropped(self, cropped):
        (line,) = cropped[1]
        assert line.startswith(CROPPED + "8 x 8 x 8 voxels of 0.7 x 1.1 x 2.9 mm: 6 of 6 cases lose voxels of them: ")

    def test_evaluation_tells_of_those_of_the_held_out_cases(self, cropped):
        lines = notices("--exec_mode", "evaluate", *cropped[0])
        assert [line for line in lines if ": 2 of 2 cases lose voxels of them: " in line] != []
        assert not any(line.startswith(LARGER) for line in lines)

    def test_prediction_tells_of_larger_scans(self, cropped):
        lines = notices("--exec_mode", "predict", *cropped[0])
        (line,) = [line for line in lines if line.startswith(LARGER)]
        assert ": 1 of 1 images, whose masks are background outside of it: case_06 (" in line

    def test_prediction_tells_of_other_axes(self, copied, tmp_path):
        axes = read_json(copied.model_dir, "params.json")["axes"]
        training = read_json(copied.model_dir, "split.json")["training"]
        images = [Case(name, os.path.join(copied.data_dir, "imagesTr", name + ".nii.gz"), None) for name in training]
        assert axes == axes_of(images) == ["LPI", "LPS", "PLS", "RAS"]
        whole = read_image(copied.data_dir, "imagesTs", "case_12.nii.gz")
        whole.SetDirection([0, 0, 1, 1, 0, 0, 0, -1, 0])
        turned = write_image(whole, tmp_path / "turned.nii.gz")
        arguments = ("--exec_mode", "predict", "--model_dir", copied.model_dir, "--images", turned)
        (line,) = notices(*arguments)
        assert line.startswith(AXES + ", ".join(axes) + "): 1 of 1 scans, ") and ": turned (" in line
        assert grid_of(read_image(copied.model_dir, "eval", "turned.nii.gz")) == grid_of(read_image(turned))
        # What an earlier release has trained tells nothing of them.
        path = os.path.join(copied.model_dir, "params.json")
        stored = read_json(path)
        del stored["axes"]
        with open(path, "w") as file:
            json.dump(stored, file)
        assert notices(*arguments) == []

    def test_what_a_check_warns_of_an_image_prediction_tells_too_also_of_kept_copies(self, copied, tmp_path):
        path = os.path.join(copied.data_dir, "imagesTs", "case_12.nii.gz")
        whole = read_image(path)
        constant = write_image(whole * 0 + 7, tmp_path / "constant.nii.gz")
        same = write_image(whole, tmp_path / "same.nii")
        arguments = ("--exec_mode", "predict", "--model_dir", copied.model_dir, "--threads", 1, "--images")
        for _ in range(2):
            run = succeed_here(*arguments + (path, constant, same))
            told = run.output.splitlines()
            assert ONE_INTENSITY + ": 1 of 3 cases: constant (all voxels are 7): no mask of them means" in run.output
            assert SAME_VOXELS + ": 2 of 3 cases: case_12 (same), same (case_12): leave out" in run.output
            assert sum(line.startswith((ONE_INTENSITY, SAME_VOXELS, UNMARKED)) for line in told) == 2

    @pytest.mark.parametrize("flags", [("--train_split", 0.5), ("--folds", 2)], ids=["one model", "folds"])
    def test_training_and_evaluation_tell_what_a_check_warns_of(self, tmp_path, flags):
        data_dir = make_task(tmp_path, training=4, test=1, structures=STRUCTURES + ("Nowhere",))
        constant, unmarked = (read_image(data_dir, *path) * 0 for path in (CONSTANT, UNMARKED_LABEL))
        write_image(constant, os.path.join(data_dir, *CONSTANT))
        write_image(unmarked, os.path.join(data_dir, *UNMARKED_LABEL))
        where = ("--data_dir", data_dir, "--model_dir", tmp_path / "model")
        smallest = SMALLEST_NETWORK + ("--threads", 1, "--train_epochs", 1) + flags
        trained = succeed_here("--exec_mode", "train", *where + smallest).output.splitlines()
        evaluated = succeed_here("--exec_mode", "evaluate", "--threads", 1, *where + flags).output.splitlines()
        # All cases are read in each fold.
        for kind, name in ((ONE_INTENSITY, "case_01"), (UNMARKED, "case_02")):
            lines = [line for line in trained if kind + ": 1 of 4 cases: " + name in line]
            assert len(lines) == (2 if "--folds" in flags else 1)
        assert sum("in none of the" in line and "training labels: Nowhere: " in line for line in trained) == len(lines)
        if "--folds" in flags:
            for kind, name in ((ONE_INTENSITY, "case_01"), (UNMARKED, "case_02")):
                assert sum(line.startswith(kind + ": 1 of 4 cases: " + name) for line in evaluated) == 1

    def test_nothing_is_told_of_scans_like_those_of_the_training(self, copied):
        scan = os.path.join(copied.data_dir, "imagesTs", "case_12.nii.gz")
        assert notices("--exec_mode", "predict", "--model_dir", copied.model_dir, "--images", scan) == []


class TestTraining:
    @pytest.mark.parametrize("epochs", [EPOCHS, 1])
    def test_what_is_trained_already_stays(self, copied, capsys, epochs):
        before = content(copied.model_dir, "checkpoint"), losses(copied.model_dir)
        run("train", copied, "--train_epochs", str(epochs))
        assert "has been trained for {} epochs already".format(EPOCHS) in capsys.readouterr().out
        assert (content(copied.model_dir, "checkpoint"), losses(copied.model_dir)) == before

    def test_the_seed_decides_the_losses(self, model, tmp_path):
        changes = [("--augment",) + AUGMENTED, ("--seed", 1), ()]
        folders = [tmp_path / "run_{}".format(number) for number in range(len(changes))]
        same = "--exec_mode", "train", "--data_dir", model.data_dir, "--train_epochs", 1, "--evaluate_every", 0
        # In a process of their own: here, the first session of any test has fixed the number of threads.
        succeed_in_turn(*(same + TINY + flags + ("--model_dir", folder) for flags, folder in zip(changes, folders)))
        theirs = {step: loss for step, loss in losses(model.model_dir).items() if step in losses(folders[-1])}
        assert len(theirs) == STEPS_PER_EPOCH
        # The last run has the model's settings: nothing of the ones before it in the process is left.
        assert [losses(folder) == theirs for folder in folders] == [False, False, True]

    def test_nothing_held_out(self, model, tmp_path):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        run("train", mine, "--train_epochs", "1", *SMALLEST + ("--train_split", "1", "--checkpoint_every", "5"))
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

        monkeypatch.setattr(training, "TrainingHook", functools.partial(TrainingHook, clock=clock))
        monkeypatch.setattr(EvaluationHook, "_evaluate", evaluate)
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        run("train", mine, "--train_epochs", "2", *SMALLEST)
        found = [figures["images_per_second"] for _, figures in logged(mine.model_dir, 1)]
        assert now[0] > 2000.0 and found == pytest.approx([TRAINED / (STEPS_PER_EPOCH * 0.001)] * 2)

    def test_goes_on_in_another_precision(self, model, tmp_path):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        where = SMALLEST + ("--data_dir", mine.data_dir, "--model_dir", mine.model_dir)
        parts = [("train", ()), ("train", ("--amp",)), ("train_and_predict", ())]
        for epochs, (mode, flags) in enumerate(parts, 1):
            succeed_here("--exec_mode", mode, "--train_epochs", epochs, *where + flags)
            assert checkpoint_steps(mine.model_dir)[-1] == epochs * STEPS_PER_EPOCH
        found = losses(mine.model_dir)
        assert len(found) == 3 * STEPS_PER_EPOCH and np.isfinite(list(found.values())).all()
        assert len(masks(mine.model_dir)) == TEST_CASES

    def test_several_modalities(self, tmp_path):
        task = make_task(tmp_path, training=4, test=2, modalities=2)
        model_dir = str(tmp_path / "model")
        where = ["--data_dir", task, "--model_dir", model_dir]
        assert main.main(["--exec_mode", "train_and_predict", "--train_epochs", "2"] + where + list(SMALLEST)) == 0
        assert read_json(model_dir, "params.json")["modalities"] == ["MRI0", "MRI1"]
        assert sorted(masks(model_dir)) == ["case_04.nii.gz", "case_05.nii.gz"]
        for name in masks(model_dir):
            image = read_image(task, "imagesTs", name)
            assert image.GetSize()[3] == 2
            assert grid_of(read_image(model_dir, "eval", name)) == grid_of(image[:, :, :, 0])


class TestWhatTensorFlowCannotDo:
    def test_a_diverged_training_is_one_line(self, tmp_path):
        data_dir = make_task(tmp_path)
        finished = run_here(
            *("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", tmp_path / "model", "--train_epochs", "3"),
            *("--base_lr", "1e38", "--normalization_layer", "none", "--threads", "1", "--evaluate_every", "0"),
            *("--input_shape", "16", "16", "16", "--downscale_blocks", "1", "1", "--upscale_blocks", "1"),
        )
        assert finished.status == 2 and "Traceback" not in finished.errors
        (line,) = [line for line in finished.errors.splitlines() if "main.py: error: " in line]
        assert "--base_lr 1e+38: training has diverged: the loss is nan in step 2 (case_" in line
        # The first step's update is what spoilt the weights: what was saved before it is good.
        last = str(tmp_path / "model" / "model.ckpt-0")
        assert line.endswith("look at these cases; last good checkpoint: " + last)
        assert checkpoints.damage(last) is None and checkpoint_steps(tmp_path / "model") == [0]

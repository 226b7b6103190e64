import glob
import gzip
import io
import os
import re
import shutil
import sys

import pytest
import SimpleITK as sitk
from command_line import (
    TINY,
    make_task,
    read_description,
    run_here,
    run_main,
    write_description,
)

import main
from utils import job
from utils.model_dir import lock as run_lock
from utils.system.progress import say

LOADED = "TensorFlow was loaded"


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """A folder with a TensorFlow that cannot be loaded."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text('raise SystemExit("{}")\n'.format(LOADED))
    return str(folder)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("main"))


@pytest.fixture
def own_task(task, tmp_path):
    """A copy of the task that a test may change."""
    return shutil.copytree(task, str(tmp_path / "Task91_Own"))


@pytest.fixture
def model_dir(tmp_path):
    return str(tmp_path / "model")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Function (arguments) -> the error line of a run in this process that is refused before TensorFlow is loaded."""

    def run(*arguments):
        before = sorted(os.listdir(str(tmp_path)))
        with monkeypatch.context() as changed:
            for name in ("tensorflow", "utils.tf_runtime", "utils.runner"):
                # Whatever loads it now, even if it has been loaded before, ends in an ImportError.
                changed.setitem(sys.modules, name, None)
            finished = run_here(*arguments)
        assert sorted(os.listdir(str(tmp_path))) == before
        return line_of_refusal(finished)

    return run


def line_of_refusal(finished):
    assert (finished.status, finished.output) == (2, ""), finished.errors
    assert finished.errors.startswith("main.py: error: ")
    assert finished.errors.count("\n") == 1 and finished.errors.endswith("\n")
    return finished.errors


class TestBeforeTensorFlow:
    def test_a_good_command_loads_it(self, stub, task, model_dir):
        finished = run_main("--data_dir", task, "--model_dir", model_dir, *TINY, environment={"PYTHONPATH": stub})
        assert LOADED in finished.errors and finished.status != 0

    def test_so_it_does_in_the_process_of_the_tests(self, refused, task, model_dir):
        with pytest.raises(ImportError, match=r"utils\.runner"):
            refused("--data_dir", task, "--model_dir", model_dir, *TINY)

    def test_help_does_not(self, stub):
        finished = run_main("--help", environment={"PYTHONPATH": stub})
        assert (finished.status, finished.errors) == (0, "")
        assert "--exec_mode {train,evaluate,predict,train_and_predict,train_and_evaluate,check,plan}" in finished.output

    def test_it_can_be_started_from_any_folder(self, stub, tmp_path):
        assert run_main("--help", environment={"PYTHONPATH": stub}, folder=tmp_path).status == 0

    def test_flags_are_refused_without_it(self, stub, task):
        finished = run_main("--data_dir", task, "--batch_size", "0", environment={"PYTHONPATH": stub})
        assert_matches(line_of_refusal(finished), "--batch_size: '0' is not")

    def test_so_is_a_task(self, stub, own_task, model_dir):
        os.remove(os.path.join(own_task, "imagesTr", "case_03.nii.gz"))
        finished = run_main("--data_dir", own_task, "--model_dir", model_dir, environment={"PYTHONPATH": stub})
        assert_matches(line_of_refusal(finished), "dataset.json: 1 of 25 files missing: .*case_03")
        assert not os.path.exists(model_dir)

    def test_so_is_a_model(self, stub, model):
        arguments = "--data_dir", model.data_dir, "--model_dir", model.model_dir, "--base_lr", "0.5"
        finished = run_main(*arguments, environment={"PYTHONPATH": stub})
        assert_matches(line_of_refusal(finished), "--base_lr is 0.5 here and 0.002 in .*params.json")


class TestFlags:
    @pytest.mark.parametrize(
        "flags, message",
        [
            ("--input_shape 30 32 32", "--input_shape 30 32 32: 3 levels .* multiples of 8, not 30 along x"),
            ("--input_shape 32 32", "--input_shape: takes 3 values, not 2"),
            ("--input_shape 0 32 32", "--input_shape: '0' is not a whole number from 1"),
            ("--downscale_blocks 3 3 3 --upscale_blocks 3", "--upscale_blocks 3: .* takes 2 or 3 entries, not 1"),
            ("--downscale_blocks 1 --upscale_blocks 1 1", "--upscale_blocks 1 1: .* takes 1 entries, not 2"),
            ("--downscale_blocks", "--downscale_blocks: expected at least one argument"),
            ("--train_split 0", "--train_split: '0' is not a number above 0"),
            ("--train_split 1.5", "--train_split: '1.5' is not a number"),
            ("--train_split 1 --exec_mode train_and_evaluate", "--train_split 1.0: holds out no case"),
            ("--train_split 0.01", "--train_split 0.01 of 10 labelled cases leaves none to train on"),
            ("--train_split 0.99", "--train_split 0.99 of 10 labelled cases leaves none to evaluate"),
            ("--batch_size 0", "--batch_size: '0' is not"),
            ("--batch_size two", "--batch_size: 'two' is not a whole number"),
            ("--base_lr nan", "--base_lr: 'nan' is not a number above 0"),
            ("--activation tanh", "--activation: 'tanh' is not one of relu, prelu"),
            ("--exec_mode training", "--exec_mode: 'training' is not one of train, evaluate"),
            ("--learning_rate 0.1", "--learning_rate: no such flag"),
            ("--epochs 3", "--epochs: no such flag; did you mean --train_epochs?"),
            ("--train_epoch 3", "--train_epoch: no such flag; did you mean --train_epochs?"),
            ("surplus", "surplus: does not belong to any flag"),
            ("--benchmark", "--benchmark: measures one thing: use --exec_mode train or predict"),
            ("--exec_mode train --images scan.nii.gz", "--images: --exec_mode train predicts nothing"),
            ("--checkpoint best --evaluate_every 0", "--checkpoint best: needs held-out cases that are measured"),
        ],
    )
    def test_contradictions(self, refused, task, model_dir, flags, message):
        line = refused("--data_dir", task, "--model_dir", model_dir, *flags.split())
        assert_matches(line, message)


class TestTask:
    def test_no_data_dir(self, refused, model_dir):
        assert_matches(refused("--model_dir", model_dir), "--data_dir: --exec_mode train_and_predict needs it")

    def test_no_such_folder(self, refused, model_dir, tmp_path):
        line = refused("--data_dir", tmp_path / "gone", "--model_dir", model_dir)
        assert_matches(line, "--data_dir .*gone: no such folder: download_dataset.py fetches a task")

    def test_no_dataset_json(self, refused, own_task, model_dir):
        os.remove(os.path.join(own_task, "dataset.json"))
        assert_matches(refused("--data_dir", own_task, "--model_dir", model_dir), "Task91_Own: has no dataset.json")

    def test_a_dataset_json_that_is_none(self, refused, own_task, model_dir):
        with open(os.path.join(own_task, "dataset.json"), "w") as file:
            file.write("{")
        line = refused("--data_dir", own_task, "--model_dir", model_dir)
        assert_matches(line, "dataset.json: is damaged, no valid JSON")

    @pytest.mark.parametrize("file", ["imagesTr/case_03", "labelsTr/case_03", "imagesTs/case_12"])
    def test_a_missing_file(self, refused, own_task, model_dir, file):
        os.remove(os.path.join(own_task, file + ".nii.gz"))
        line = refused("--data_dir", own_task, "--model_dir", model_dir)
        assert_matches(line, "dataset.json: 1 of 25 files missing: .*" + file)

    def test_no_labelled_cases(self, refused, own_task, model_dir):
        write_description(own_task, dict(read_description(own_task), training=[]))
        line = refused("--data_dir", own_task, "--model_dir", model_dir, "--exec_mode", "train")
        assert_matches(line, "of 0 labelled cases leaves none to train on")

    def test_a_name_of_several_lines(self, refused, own_task, model_dir):
        description = read_description(own_task)
        description["test"].append("./imagesTs/two\nlines.nii.gz")
        write_description(own_task, description)
        assert_matches(refused("--data_dir", own_task, "--model_dir", model_dir), r"two\\nlines.* is not a file name")


class TestModelFolder:
    @pytest.mark.parametrize("mode", ["evaluate", "predict"])
    def test_no_model(self, refused, task, model_dir, mode):
        line = refused("--exec_mode", mode, "--data_dir", task, "--model_dir", model_dir)
        assert_matches(line, "--model_dir .*: holds no trained model .*: train one there first")

    def test_images_without_a_model(self, refused, task, model_dir):
        image = os.path.join(task, "imagesTs", "case_10.nii.gz")
        line = refused("--exec_mode", "predict", "--images", image, "--model_dir", model_dir)
        assert_matches(line, "holds no trained model")

    def test_a_file(self, refused, task, tmp_path):
        (tmp_path / "taken").write_text("")
        line = refused("--data_dir", task, "--model_dir", tmp_path / "taken")
        assert_matches(line, "--model_dir .*taken is not a folder")

    @pytest.mark.parametrize(
        "mode, flags, message",
        [
            ("train", "--base_lr 0.5", "--base_lr is 0.5 here and 0.002 in .*params.json: use another --model_dir"),
            ("train", "--batch_size 3", "--batch_size is 3 here and 2 in"),
            ("train", "--split_seed 3", "--split_seed is 3 here and 0 in"),
            ("train_and_evaluate", "--augment", "--augment is on here and off in"),
            ("predict", "--input_shape 32 32 32", "--input_shape is 32 32 32 here and 16 16 16 in"),
            ("evaluate", "--downscale_blocks 2 2", "--downscale_blocks is 2 2 here and 1 1 in"),
            ("evaluate", "--train_split 0.5", "--train_split is 0.5 here and 0.7 in"),
        ],
    )
    def test_one_with_other_settings(self, refused, model, mode, flags, message):
        arguments = "--exec_mode", mode, "--data_dir", model.data_dir, "--model_dir", model.model_dir
        assert_matches(refused(*arguments + tuple(flags.split())), message)

    def test_one_that_another_run_has_filled_meanwhile(self, refused, task, model, tmp_path, monkeypatch):
        plan, folder = job.plan, tmp_path / "model"
        folder.mkdir()

        def planned(settings):
            found = plan(settings)
            folder.rmdir()
            shutil.copytree(model.model_dir, str(folder))
            return found

        monkeypatch.setattr(job, "plan", planned)
        line = refused("--data_dir", task, "--model_dir", folder, "--exec_mode", "train")
        assert_matches(line, "another run has changed it meanwhile: start again|is .* here and .* in ")

    def test_one_of_another_task(self, refused, own_task, model):
        write_description(own_task, dict(read_description(own_task), labels={"0": "background", "1": "Spleen"}))
        line = refused("--exec_mode", "predict", "--data_dir", own_task, "--model_dir", model.model_dir)
        assert_matches(line, "its labels are background, Spleen, but the model in .* was trained for background, Upper")

    def test_one_of_other_cases(self, refused, own_task, model):
        description = read_description(own_task)
        write_description(own_task, dict(description, training=description["training"][1:]))
        line = refused("--exec_mode", "train", "--data_dir", own_task, "--model_dir", model.model_dir)
        assert_matches(line, "split.json: the labelled cases are not those of this split any more")

    @pytest.mark.parametrize("flags", ["train", "evaluate", "predict", "train --benchmark"])
    def test_one_in_use(self, refused, model, flags):
        before = {path: os.stat(path).st_mtime_ns for path in glob.glob(model.model_dir + "/**", recursive=True)}
        arguments = ["--data_dir", model.data_dir, "--model_dir", model.model_dir, "--exec_mode"] + flags.split()
        first = {"model_dir": model.model_dir, "cache_dir": model.model_dir, "folds": 0, "benchmark": False}
        with run_lock.held(first, ["--the", "first"]):
            line = refused(*arguments)
        assert_matches(line, r"is in use by another run \(process {} .*: main.py --the first\)".format(os.getpid()))
        after = {path: os.stat(path).st_mtime_ns for path in glob.glob(model.model_dir + "/**", recursive=True)}
        # The folder's own time is that of the lock's coming and going.
        assert dict(before, **{model.model_dir + "/": None}) == dict(after, **{model.model_dir + "/": None})

    def test_settings_that_are_damaged(self, refused, model, tmp_path):
        damaged = shutil.copytree(model.model_dir, str(tmp_path / "damaged"))
        with open(os.path.join(damaged, "params.json"), "w") as file:
            file.write("[]")
        line = refused("--exec_mode", "predict", "--data_dir", model.data_dir, "--model_dir", damaged)
        assert_matches(line, "params.json: is damaged")

    def test_images_that_are_missing(self, refused, model, tmp_path):
        line = refused(
            *("--exec_mode", "predict", "--model_dir", model.model_dir),
            *("--images", os.path.join(model.data_dir, "imagesTs", "case_10.nii.gz"), tmp_path / "gone.nii.gz"),
        )
        assert_matches(line, "--images: 1 of 2 files missing: .*gone.nii.gz")

    def test_images_of_one_name(self, refused, model, tmp_path):
        image = os.path.join(model.data_dir, "imagesTs", "case_10.nii.gz")
        (tmp_path / "other").mkdir()
        copied = shutil.copy(image, str(tmp_path / "other"))
        line = refused("--exec_mode", "predict", "--model_dir", model.model_dir, "--images", image, copied)
        assert_matches(line, "--images: two images with the same name: .*case_10.nii.gz and .*: rename one")

    def test_images_of_another_kind(self, refused, model):
        line = refused("--exec_mode", "predict", "--model_dir", model.model_dir, "--images", __file__)
        assert_matches(line, r"test_main\.py: not a NIfTI file name")


class TestPreparation:
    """What is only found when the scans are read, in the process of the tests: TensorFlow is loaded by then."""

    @pytest.fixture
    def refused_late(self, own_task, model_dir, capsys):
        def run(*flags):
            assert main.main(["--data_dir", own_task, "--model_dir", model_dir] + list(TINY + flags)) == 2
            errors = capsys.readouterr().err.splitlines()
            assert [line for line in errors if "error" in line] == errors[-1:]
            assert errors[-1].startswith("main.py: error: ")
            assert not [name for name in os.listdir(model_dir) if name.startswith("model.ckpt")]
            return errors[-1]

        return run

    def training_image(self, task):
        return os.path.join(task, read_description(task)["training"][0]["image"])

    @pytest.mark.parametrize("seed", [0, 1])
    def test_a_scan_that_is_cut_off(self, own_task, refused_late, seed):
        image = self.training_image(own_task)
        with gzip.open(image, "rb") as file:
            content = file.read()
        with gzip.open(image, "wb") as file:
            # Whole as gzip, so that the header alone tells that voxels are missing.
            file.write(content[: len(content) // 2])
        # Whichever side of the split it is on.
        line = refused_late("--exec_mode", "train", "--split_seed", str(seed))
        assert_matches(line, "1 of 10 cases cannot be used: .*case_00.nii.gz: is cut off")

    def test_a_download_that_broke(self, own_task, refused_late):
        with open(self.training_image(own_task), "r+b") as file:
            file.truncate(1000)
        assert_matches(refused_late("--exec_mode", "train"), "case_00.nii.gz: is damaged or cut off")

    def test_fewer_channels_than_modalities(self, own_task, refused_late):
        modality = {"modality": {"0": "T1", "1": "T2"}}
        entry = read_description(own_task)["training"][0]
        for other in read_description(own_task)["training"][1:]:
            path = os.path.join(own_task, other["image"])
            sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(path)] * 2), path)
        write_description(own_task, dict(read_description(own_task), **modality))
        line = refused_late("--exec_mode", "train")
        assert_matches(line, os.path.basename(entry["image"]) + ": has 1 channel where 2 are expected: check the mod")

    def test_a_label_value_the_task_does_not_know(self, own_task, refused_late):
        path = os.path.join(own_task, read_description(own_task)["training"][0]["label"])
        label = sitk.ReadImage(path)
        sitk.WriteImage(label * 3, path)
        assert_matches(refused_late("--exec_mode", "train"), "case_00.nii.gz: has the value [36]: labels of this task")

    def test_several_bad_cases_are_all_told(self, own_task, model_dir, capsys):
        for entry in read_description(own_task)["training"]:
            # Those that are held out are read, too, before anything is trained.
            open(os.path.join(own_task, entry["image"]), "wb").close()
        arguments = ["--exec_mode", "train", "--data_dir", own_task, "--model_dir", model_dir]
        assert main.main(arguments + list(TINY)) == 2
        errors = capsys.readouterr().err
        assert "main.py: error: 10 of 10 cases cannot be used:\n" in errors
        assert errors.count(": is empty: get the file again") == 10


class TestTerminal:
    def test_names_that_it_cannot_show(self, monkeypatch):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", stream)
        say("epoch 1: soft_dice_Höhle 0.5")
        assert stream.buffer.getvalue() == b"epoch 1: soft_dice_H\\xf6hle 0.5\n"

    @pytest.mark.skipif(sys.platform != "linux", reason="the file system's encoding is always UTF-8 there")
    def test_folders_that_the_locale_cannot_read(self, stub, task, tmp_path):
        folder = str(tmp_path / "mod\udcffel")
        finished = run_main("--data_dir", task, "--model_dir", folder, environment={"PYTHONPATH": stub})
        line = line_of_refusal(finished)
        assert_matches(line, r"--model_dir .*mod\\udcffel': is no text in this locale: set LC_ALL=C.UTF-8")


def assert_matches(line, pattern):
    assert re.search(pattern, line), line

import json
import os
import shutil

import pytest
from command_line import STRUCTURES, TEST_CASES, TINY, TRAINING_CASES, make_task, read_description, write_description
from stack_tasks import stack_task

from utils import job, params
from utils.imaging import split
from utils.model_dir import settings as model_settings
from utils.system import launch
from utils.system.errors import UserError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("job"))


@pytest.fixture
def own_task(data_dir, tmp_path):
    """A copy of the task that a test may change."""
    return shutil.copytree(data_dir, str(tmp_path / "Task91_Own"))


@pytest.fixture
def model_dir(tmp_path):
    return str(tmp_path / "model")


def settings(mode, data_dir, model_dir, *more):
    where = ["--exec_mode", mode, "--model_dir", model_dir] + (["--data_dir", data_dir] if data_dir else [])
    return params.from_command_line(list(TINY) + where + list(more))


def pretend_training(data_dir, model_dir):
    """Leave in `model_dir` what planning looks at after a training run: settings, split, a checkpoint's name."""
    chosen = settings("train", data_dir, model_dir)
    planned = job.plan(chosen)
    model_settings.save(
        model_settings.settings_of(dict(chosen, workers=launch.size(), **planned.description)), model_dir
    )
    sides = [names_of(planned.training), names_of(planned.held_out)]
    split.write_split(model_dir, chosen["train_split"], chosen["split_seed"], *sides)
    open(os.path.join(model_dir, "model.ckpt-4.index"), "w").close()
    return planned


def names_of(cases):
    return [case.name for case in cases]


def change_description(data_dir, **changes):
    write_description(data_dir, dict(read_description(data_dir), **changes))


class TestParts:
    def test_training_knows_which_cases_are_held_out(self, data_dir, model_dir):
        planned = job.plan(settings("train", data_dir, model_dir))
        assert (len(planned.training), len(planned.held_out), planned.predicted) == (7, 3, ())
        names = names_of(planned.training + planned.held_out)
        assert sorted(names) == ["case_{:02d}".format(number) for number in range(TRAINING_CASES)]
        assert names_of(planned.training) == sorted(names_of(planned.training))
        assert all(os.path.isfile(case.label) for case in planned.training + planned.held_out)

    def test_training_and_predicting_adds_the_test_images(self, data_dir, model_dir):
        planned = job.plan(settings("train_and_predict", data_dir, model_dir))
        assert len(planned.training) == 7
        names = ["case_{:02d}".format(TRAINING_CASES + number) for number in range(TEST_CASES)]
        assert names_of(planned.predicted) == names

    def test_training_on_all(self, data_dir, model_dir):
        planned = job.plan(settings("train", data_dir, model_dir, "--train_split", "1"))
        assert (len(planned.training), planned.held_out) == (TRAINING_CASES, ())

    def test_the_description_is_the_tasks(self, data_dir, model_dir):
        planned = job.plan(settings("train", data_dir, model_dir))
        labels = ["background"] + list(STRUCTURES)
        grid = {"input_shape": [16, 16, 16], "crop_shape": None, "spacing": None}
        assert planned.description == dict(grid, task="Tiny", labels=labels, modalities=["MRI0"], image_kind="scans")

    def test_planning_leaves_nothing_behind(self, data_dir, model_dir):
        job.plan(settings("train_and_evaluate", data_dir, model_dir))
        assert not os.path.exists(model_dir)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_seed_decides_the_split(self, data_dir, tmp_path, seed):
        flags = "--split_seed", str(seed)
        held_out = [
            names_of(job.plan(settings(mode, data_dir, str(tmp_path / mode), *flags)).held_out)
            for mode in ("train", "train_and_evaluate")
        ]
        other = job.plan(settings("train", data_dir, str(tmp_path / "other"), "--split_seed", str(seed + 10))).held_out
        assert held_out[0] == held_out[1] != names_of(other)


class TestTrainedModel:
    def test_evaluation_takes_the_cases_that_were_held_out(self, data_dir, model_dir):
        trained = pretend_training(data_dir, model_dir)
        planned = job.plan(
            params.from_command_line(["--exec_mode=evaluate", "--data_dir", data_dir, "--model_dir", model_dir])
        )
        assert planned.held_out == trained.held_out
        assert planned.training == planned.predicted == ()

    def test_cases_that_came_later_change_no_evaluation(self, own_task, model_dir):
        trained = pretend_training(own_task, model_dir)
        description = read_description(own_task)
        shutil.copy(
            os.path.join(own_task, "imagesTr", "case_00.nii.gz"), os.path.join(own_task, "imagesTr", "a.nii.gz")
        )
        new = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/case_00.nii.gz"}
        change_description(own_task, training=[new] + description["training"])
        assert job.plan(settings("evaluate", own_task, model_dir)).held_out == trained.held_out

    def test_training_goes_on_with_the_same_split(self, data_dir, model_dir):
        trained = pretend_training(data_dir, model_dir)
        planned = job.plan(settings("train_and_evaluate", data_dir, model_dir, "--train_epochs", "100"))
        assert (planned.training, planned.held_out) == (trained.training, trained.held_out)

    def test_images_need_no_task(self, data_dir, model_dir):
        trained = pretend_training(data_dir, model_dir)
        files = [os.path.join(data_dir, "imagesTs", "case_{}.nii.gz".format(number)) for number in (13, 11)]
        planned = job.plan(settings("predict", None, model_dir, "--images", *files))
        assert names_of(planned.predicted) == ["case_13", "case_11"]
        assert planned.description == trained.description

    def test_images_replace_the_tasks(self, data_dir, model_dir):
        pretend_training(data_dir, model_dir)
        file = os.path.join(data_dir, "imagesTr", "case_02.nii.gz")
        planned = job.plan(settings("predict", data_dir, model_dir, "--images", file))
        assert names_of(planned.predicted) == ["case_02"]


class TestBenchmark:
    def flags(self, mode, data_dir, model_dir):
        return settings(mode, data_dir, model_dir, "--benchmark")

    def test_training_takes_all_labelled_cases(self, data_dir, model_dir):
        planned = job.plan(self.flags("train", data_dir, model_dir))
        assert (len(planned.training), planned.held_out, planned.predicted) == (TRAINING_CASES, (), ())

    def test_prediction_takes_the_test_images(self, data_dir, model_dir):
        assert len(job.plan(self.flags("predict", data_dir, model_dir)).predicted) == TEST_CASES

    def test_prediction_makes_do_with_training_images(self, own_task, model_dir):
        change_description(own_task, test=[])
        assert len(job.plan(self.flags("predict", own_task, model_dir)).predicted) == TRAINING_CASES

    def test_training_without_labelled_cases(self, own_task, model_dir):
        change_description(own_task, training=[])
        with pytest.raises(UserError, match="--data_dir .*Task91_Own: lists no labelled images to train on"):
            job.plan(self.flags("train", own_task, model_dir))

    def test_it_asks_no_model_anything(self, data_dir, own_task, model_dir):
        pretend_training(data_dir, model_dir)
        change_description(own_task, labels={"0": "background", "1": "Other"})
        planned = job.plan(self.flags("train", own_task, model_dir))
        assert planned.description["labels"] == ["background", "Other"]


class TestErrors:
    @pytest.mark.parametrize("mode", ["train", "evaluate", "predict", "train_and_predict", "train_and_evaluate"])
    @pytest.mark.parametrize(
        "change, message",
        [
            ({"labels": {"0": "background", "1": "Heart", "2": "Lung"}}, "labels are background, Heart, Lung, but the"),
            ({"labels": {"0": "background", "1": "Lower", "2": "Upper"}}, "trained for background, Upper, Lower: use"),
            ({"modality": {"0": "MRI0", "1": "CT"}}, "its modalities are MRI0, CT, but the model in .* for MRI0: use"),
        ],
    )
    def test_a_task_the_model_was_not_trained_for(self, own_task, model_dir, mode, change, message):
        pretend_training(own_task, model_dir)
        change_description(own_task, **change)
        with pytest.raises(UserError, match=message):
            job.plan(settings(mode, own_task, model_dir))

    def test_another_task_of_the_same_structures(self, own_task, model_dir):
        pretend_training(own_task, model_dir)
        change_description(own_task, name="Elsewhere")
        for mode in "train", "evaluate", "train_and_predict", "train_and_evaluate":
            with pytest.raises(UserError, match="^--data_dir .*: is the task Elsewhere, .* was trained on Tiny"):
                job.plan(settings(mode, own_task, model_dir))
        assert len(job.plan(settings("predict", own_task, model_dir)).predicted) == TEST_CASES

    def test_a_task_that_goes_by_the_name_of_its_folder(self, own_task, model_dir, tmp_path):
        description = read_description(own_task)
        del description["name"]
        write_description(own_task, description)
        pretend_training(own_task, model_dir)
        moved = shutil.move(own_task, str(tmp_path / "moved"))
        assert job.plan(settings("train", moved, model_dir)).description["task"] == "Task91_Own"

    def test_training_goes_on_with_no_other_cases(self, own_task, model_dir):
        pretend_training(own_task, model_dir)
        change_description(own_task, training=read_description(own_task)["training"][1:])
        with pytest.raises(UserError, match=r"split.json: the labelled cases are not those .*gone: case_00\)"):
            job.plan(settings("train", own_task, model_dir))

    def test_evaluation_misses_a_case(self, own_task, model_dir):
        gone = pretend_training(own_task, model_dir).held_out[0].name
        rest = [entry for entry in read_description(own_task)["training"] if gone not in entry["image"]]
        change_description(own_task, training=rest)
        with pytest.raises(UserError, match="has 2 of the 3 cases held out in .*split.json: give the task"):
            job.plan(settings("evaluate", own_task, model_dir))

    def test_evaluation_without_a_split(self, data_dir, model_dir):
        pretend_training(data_dir, model_dir)
        os.remove(os.path.join(model_dir, "split.json"))
        with pytest.raises(UserError, match="split.json: is missing, so that nothing tells which cases"):
            job.plan(settings("evaluate", data_dir, model_dir))

    def test_a_damaged_split(self, data_dir, model_dir):
        pretend_training(data_dir, model_dir)
        with open(os.path.join(model_dir, "split.json"), "w") as file:
            json.dump({"training": []}, file)
        with pytest.raises(UserError, match="split.json: is damaged"):
            job.plan(settings("evaluate", data_dir, model_dir))

    def test_nothing_labelled(self, own_task, model_dir):
        change_description(own_task, training=[])
        with pytest.raises(UserError, match="of 0 labelled cases leaves none to train on"):
            job.plan(settings("train", own_task, model_dir))


class TestKindOfImages:
    """A network of slices takes scans and stacks alike; a model only what it is trained on."""

    FLAGS = ("--model", "unet", "--padding", "same", "--levels", "2", "--filters", "2", "--train_split", "0.5")

    def settings(self, mode, data_dir, model_dir, *images):
        where = ["--exec_mode", mode, "--model_dir", model_dir] + (["--data_dir", data_dir] if data_dir else [])
        flags = self.FLAGS if mode.startswith("train") else ()
        return params.from_command_line(where + list(flags) + (["--images"] + list(images) if images else []))

    def trained(self, data_dir, model_dir):
        chosen = self.settings("train", data_dir, model_dir)
        planned = job.plan(chosen)
        model_settings.save(model_settings.settings_of(dict(chosen, workers=1, **planned.description)), model_dir)
        open(os.path.join(model_dir, "model.ckpt-4.index"), "w").close()
        return planned.description["image_kind"]

    def refused(self, chosen, told):
        with pytest.raises(UserError) as caught:
            job.plan(chosen)
        assert str(caught.value) == told

    def test_the_other_one_is_refused(self, data_dir, model_dir, tmp_path):
        stacks, other = stack_task(tmp_path), str(tmp_path / "other")
        assert self.trained(stacks, model_dir) == "stacks" and self.trained(data_dir, other) == "scans"
        scan = os.path.join(data_dir, "imagesTs", "case_11.nii.gz")
        stack = os.path.join(stacks, "test-volume.tif")
        told = "--images {}: is a scan, but the model in {} is trained on stacks of images: give it stacks, or use {}"
        told = told.format(scan, model_dir, "another --model_dir")
        self.refused(self.settings("predict", None, model_dir, scan), told)
        told = "--images {}: is a stack of images, but the model in {} is trained on scans: give it scans, or use {}"
        told = told.format(stack, other, "another --model_dir")
        self.refused(self.settings("predict", None, other, stack), told)
        assert names_of(job.plan(self.settings("predict", None, model_dir, stack)).predicted) == ["test-volume"]
        assert names_of(job.plan(self.settings("predict", None, other, scan)).predicted) == ["case_11"]

    def test_in_a_task_too(self, own_task, model_dir, tmp_path):
        stacks = stack_task(tmp_path)
        self.trained(stacks, model_dir)
        change_description(own_task, labels={"0": "background", "1": "foreground"}, modality={"0": "image"})
        for mode in "train", "predict":
            with pytest.raises(UserError, match=r"^--data_dir .*\.nii\.gz: is a scan, but the model in .* is trained"):
                job.plan(self.settings(mode, own_task, model_dir))

    def test_volumes_of_the_other_network(self, data_dir, model_dir, tmp_path):
        pretend_training(data_dir, model_dir)
        stack = os.path.join(stack_task(tmp_path), "test-volume.tif")
        with pytest.raises(UserError, match="^--images .*test-volume.tif: is a stack of images, but the model in"):
            job.plan(settings("predict", None, model_dir, "--images", stack))

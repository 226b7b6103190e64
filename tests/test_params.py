import json
import os
import subprocess
import sys

import pytest

from utils import params
from utils.config.flags import FLAGS
from utils.model_dir import paths as model_folder
from utils.model_dir import settings as model_settings
from utils.model_dir.settings import FIRST_SETTINGS, FREE_SETTINGS, MODEL_SETTINGS, RUN_SETTINGS, TASK_SETTINGS
from utils.params import from_command_line
from utils.system import launch
from utils.system.errors import UserError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def run(tmp_path):
    """Reads a command line whose model is in tmp_path/model."""
    return lambda text: from_command_line(["--model_dir", str(tmp_path / "model")] + text.split())


@pytest.fixture
def trained(tmp_path, run):
    """Leaves what training with the given flags leaves in tmp_path/model."""

    def leave(text="", best=False):
        chosen = run("--exec_mode train --data_dir task " + text)
        task = {
            "task": "Hippocampus",
            "labels": ["background", "Anterior"],
            "modalities": ["MRI"],
            "image_kind": "scans",
            "workers": launch.size(),
        }
        settings = model_settings.settings_of(dict(chosen, **task))
        model_settings.save(settings, chosen["model_dir"])
        (tmp_path / "model" / "model.ckpt-90.index").write_text("")
        if best:
            (tmp_path / "model" / "best").mkdir()
            (tmp_path / "model" / "best" / "model.ckpt-80.index").write_text("")

    return leave


class TestDefaults:
    def test_every_flag_has_a_key(self, run):
        assert set(run("--data_dir task")) == set(FLAGS) | {"prediction_batch_size", "intensities", "axes"}

    def test_values_are_the_defaults(self, run, tmp_path):
        model_dir = str(tmp_path / "model")
        expected = {name: flag.default for name, flag in FLAGS.items()}
        expected.update(data_dir="task", model_dir=model_dir, log_dir=model_dir)
        expected.update(cache_dir=os.path.join(model_dir, "cache"), prediction_batch_size=None)
        expected.update(intensities=None, axes=None)
        assert run("--data_dir task") == expected

    def test_is_json(self, run):
        chosen = run("--data_dir task --input_shape 40 56 48 --augment")
        assert json.loads(json.dumps(chosen, allow_nan=False)) == chosen

    def test_a_changed_result_does_not_change_the_defaults(self, run):
        run("--data_dir task")["input_shape"].append(7)
        assert run("--data_dir task")["input_shape"] == [32, 32, 32]

    def test_model_dir_has_a_default(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert from_command_line(["--data_dir", "task"])["model_dir"] == "./result"

    def test_given_folders_stay(self, run):
        chosen = run("--data_dir task --log_dir logs --cache_dir kept")
        assert (chosen["log_dir"], chosen["cache_dir"]) == ("logs", "kept")

    def test_needs_neither_tensorflow_nor_simpleitk(self):
        code = (
            "import sys, utils.params, utils.imaging.split; utils.params.from_command_line(['--data_dir', 'task', "
            "'--model_dir', 'no_such_folder']); print([n for n in ('tensorflow', 'SimpleITK') if n in sys.modules])"
        )
        assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY).strip() == b"[]"


class TestStoredSettings:
    def test_groups_name_flags_and_share_none(self):
        names = MODEL_SETTINGS + RUN_SETTINGS + FREE_SETTINGS
        assert len(set(names)) == len(names)
        assert set(names) == set(FLAGS)

    def test_what_models_have_always_known_is_not_free(self):
        assert set(FIRST_SETTINGS) <= set(MODEL_SETTINGS + RUN_SETTINGS + TASK_SETTINGS)

    def test_prediction_needs_nothing_repeated(self, run, trained):
        trained("--input_shape 40 56 48 --activation prelu --batch_size 4 --downscale_blocks 2 3 --upscale_blocks 1 3")
        chosen = run("--exec_mode predict --images scan.nii.gz")
        assert chosen["input_shape"] == [40, 56, 48]
        assert chosen["activation"] == "prelu"
        assert chosen["batch_size"] == 4
        assert (chosen["downscale_blocks"], chosen["upscale_blocks"]) == ([2, 3], [1, 3])
        assert chosen["data_dir"] is None
        assert set(chosen) == set(FLAGS) | {"prediction_batch_size", "intensities", "axes"}

    @pytest.mark.parametrize("given, chosen", [("", None), (" --batch_size 7", 7)])
    def test_prediction_takes_the_batch_size_of_the_command_line_alone(self, run, trained, given, chosen):
        trained("--batch_size 4")
        assert run("--exec_mode predict --images scan.nii.gz" + given)["prediction_batch_size"] == chosen

    def test_a_given_default_contradicts_another_stored_value(self, run, trained):
        trained("--activation prelu")
        with pytest.raises(
            UserError,
            match=r"^--activation is relu here and prelu in .*params.json: use another --model_dir or leave the flag",
        ):
            run("--exec_mode predict --images scan.nii.gz --activation relu")

    def test_repeating_the_stored_values_is_no_contradiction(self, run, trained):
        command = "--input_shape 40 56 48 --base_lr 0.001 --augment --seed 3"
        trained(command)
        assert run("--data_dir task " + command + " --base_lr 1e-3")["input_shape"] == [40, 56, 48]

    @pytest.mark.parametrize("mode", params.TRAINING_MODES + ("evaluate", "predict"))
    @pytest.mark.parametrize("change", ["--input_shape 64 32 32", "--normalization_layer none", "--upscale_blocks 2 2"])
    def test_the_network_cannot_change_in_any_mode(self, run, trained, mode, change):
        trained()
        with pytest.raises(UserError, match="^{} is .*another --model_dir".format(change.split()[0])):
            run("--data_dir task --exec_mode {} {}".format(mode, change))

    @pytest.mark.parametrize(
        "change, told",
        [
            ("--batch_size 4", "--batch_size is 4 here and 2 in"),
            ("--seed 5", "--seed is 5 here and 0 in"),
            ("--base_lr 0.01", "--base_lr is 0.01 here and 0.0001 in"),
            ("--augment", "--augment is on here and off in"),
            ("--split_seed 1", "--split_seed is 1 here and 0 in"),
        ],
    )
    def test_a_run_that_goes_on_cannot_change_its_settings(self, run, trained, change, told):
        trained()
        for mode in params.TRAINING_MODES:
            with pytest.raises(UserError, match="^" + told):
                run("--data_dir task --exec_mode {} {}".format(mode, change))

    @pytest.mark.parametrize("mode", ["evaluate", "predict"])
    def test_without_training_batch_size_and_seed_are_free(self, run, trained, mode):
        trained()
        chosen = run("--data_dir task --exec_mode {} --batch_size 7 --seed 9".format(mode))
        assert (chosen["batch_size"], chosen["seed"]) == (7, 9)

    @pytest.mark.parametrize("change", ["--split_seed 1", "--train_split 0.8", "--base_lr 0.1"])
    def test_without_training_other_settings_are_not(self, run, trained, change):
        trained()
        with pytest.raises(UserError, match="^{} is .*another --model_dir".format(change.split()[0])):
            run("--data_dir task --exec_mode evaluate " + change)

    def test_what_does_not_decide_the_result_is_free(self, run, trained):
        trained("--train_epochs 5 --threads 1")
        chosen = run("--data_dir task --train_epochs 9 --amp --xla --log_every 7")
        assert (chosen["train_epochs"], chosen["threads"], chosen["amp"]) == (9, 0, True)


class TestNetwork:
    @pytest.mark.parametrize("shape", ["32 32 32", "40 56 40", "96 96 96", "8 8 8"])
    def test_shapes_that_the_levels_divide(self, run, shape):
        assert run("--data_dir task --input_shape " + shape)["input_shape"] == [int(size) for size in shape.split()]

    @pytest.mark.parametrize(
        "shape, told",
        [
            ("32 33 32", r"multiples of 8, not 33 along y \(nearest: 32 or 40\)$"),
            ("4 32 30", r"not 4 along x \(nearest: 8\), 30 along z \(nearest: 24 or 32\)$"),
        ],
    )
    def test_other_shapes_are_refused_with_the_nearest(self, run, shape, told):
        with pytest.raises(UserError, match="^--input_shape {}: 3 levels .*{}".format(shape, told)):
            run("--data_dir task --input_shape " + shape)

    @pytest.mark.parametrize("down, up", [("3 3 3", "3 3"), ("3 3 3", "1 2 3"), ("2 3", "3"), ("3", "3")])
    def test_lists_that_fit(self, run, down, up):
        chosen = run("--data_dir task --downscale_blocks {} --upscale_blocks {}".format(down, up))
        assert chosen["upscale_blocks"] == [int(depth) for depth in up.split()]

    @pytest.mark.parametrize(
        "flags, told",
        [
            ("--upscale_blocks 3", "3: with --downscale_blocks 3 3 3 it takes 2 or 3 entries, not 1"),
            ("--upscale_blocks 3 3 3 3", "3 3 3 3: with --downscale_blocks 3 3 3 it takes 2 or 3 entries, not 4"),
            ("--downscale_blocks 2 2 2 2", "3 3: with --downscale_blocks 2 2 2 2 it takes 3 or 4 entries, not 2"),
            ("--downscale_blocks 2", "3 3: with --downscale_blocks 2 it takes 1 entries, not 2"),
        ],
    )
    def test_lists_that_do_not_fit_are_refused(self, run, flags, told):
        with pytest.raises(UserError, match="^--upscale_blocks " + told):
            run("--data_dir task " + flags)


class TestRequest:
    @pytest.mark.parametrize("mode", params.TRAINING_MODES + ("evaluate", "predict"))
    def test_missing_data_dir_is_refused(self, run, trained, mode):
        trained()
        with pytest.raises(UserError, match="^--data_dir: --exec_mode {} needs it".format(mode)):
            run("--exec_mode " + mode)

    def test_images_do_not_replace_the_training_data(self, run):
        with pytest.raises(UserError, match="^--data_dir: --exec_mode train_and_predict needs it"):
            run("--exec_mode train_and_predict --images scan.nii")

    @pytest.mark.parametrize("mode", ["train", "evaluate", "train_and_evaluate"])
    def test_images_are_refused_where_nothing_is_predicted(self, run, trained, mode):
        trained()
        with pytest.raises(UserError, match="^--images: --exec_mode {} predicts nothing".format(mode)):
            run("--data_dir task --images scan.nii --exec_mode " + mode)

    @pytest.mark.parametrize("mode", ["train", "train_and_predict"])
    def test_training_on_all_cases(self, run, mode):
        assert run("--data_dir task --train_split 1 --exec_mode " + mode)["train_split"] == 1.0

    def test_evaluating_after_training_on_all_is_refused(self, run, trained):
        with pytest.raises(UserError, match="^--train_split 1.0: holds out no case for --exec_mode train_and_evaluate"):
            run("--data_dir task --train_split 1 --exec_mode train_and_evaluate")
        trained("--train_split 1.0")
        with pytest.raises(UserError, match="^--train_split 1.0: holds out no case for --exec_mode evaluate"):
            run("--data_dir task --exec_mode evaluate")


class TestModelDir:
    @pytest.mark.parametrize("mode", ["evaluate", "predict"])
    def test_a_model_is_needed(self, run, tmp_path, trained, mode):
        command = "--data_dir task --exec_mode " + mode
        with pytest.raises(UserError, match=r"^--model_dir .*model: holds no trained model \(no params.json\)"):
            run(command)
        trained()
        (tmp_path / "model" / "model.ckpt-90.index").unlink()
        with pytest.raises(UserError, match=r"^--model_dir .*model: holds no trained model \(no checkpoint\)"):
            run(command)

    def test_checkpoints_of_unknown_settings_are_not_trained_on(self, run, tmp_path, trained):
        trained()
        (tmp_path / "model" / "params.json").unlink()
        with pytest.raises(UserError, match="^--model_dir .*: holds checkpoints without their params.json"):
            run("--data_dir task")

    def test_special_characters_in_its_name(self, tmp_path, trained):
        trained()
        (tmp_path / "model").rename(tmp_path / "model [1]*")
        chosen = from_command_line(
            ["--exec_mode", "predict", "--images", "a.nii", "--model_dir", str(tmp_path / "model [1]*")]
        )
        assert chosen["model_dir"] == str(tmp_path / "model [1]*")

    @pytest.mark.parametrize("name", ["model_dir", "log_dir", "cache_dir"])
    @pytest.mark.parametrize("below", ["", "below"])
    def test_a_file_in_the_way_is_refused(self, tmp_path, name, below):
        (tmp_path / "taken").write_text("")
        command = ["--data_dir", "task", "--model_dir", str(tmp_path / "model")]
        with pytest.raises(UserError, match="^--{} .*taken is not a folder: name another$".format(name)):
            from_command_line(command + ["--" + name, str(tmp_path / "taken" / below)])

    def test_best_checkpoint(self, run, tmp_path, trained):
        command = "--data_dir task --exec_mode evaluate --checkpoint "
        trained()
        with pytest.raises(UserError, match="^--checkpoint best: .*best holds none: use --checkpoint last"):
            run(command + "best")
        trained(best=True)
        assert model_folder.checkpoint_folders(run(command + "best")) == [str(tmp_path / "model" / "best")]
        assert model_folder.checkpoint_folders(run(command + "last")) == [str(tmp_path / "model")]

    @pytest.mark.parametrize(
        "flags", ["--evaluate_every 0", "--evaluate_every 6 --train_epochs 5", "--train_split 1.0"]
    )
    def test_best_checkpoint_of_a_run_that_measures_nothing_is_refused(self, run, flags):
        with pytest.raises(UserError, match="^--checkpoint best: needs held-out cases"):
            run("--data_dir task --checkpoint best " + flags)
        assert run("--exec_mode train --data_dir task --checkpoint best " + flags)["checkpoint"] == "best"


class TestFolds:
    def test_each_has_a_folder(self, run, tmp_path):
        chosen = run("--data_dir task --folds 3")
        folders = [str(tmp_path / "model" / "fold_{}".format(fold)) for fold in range(3)]
        assert model_folder.checkpoint_folders(chosen) == folders == model_folder.model_folders(chosen["model_dir"], 3)
        chosen = run("--data_dir task --folds 3 --checkpoint best --exec_mode train_and_predict")
        assert model_folder.checkpoint_folders(chosen) == [os.path.join(folder, "best") for folder in folders]

    @pytest.mark.parametrize("flags", ["--train_split 0.8", "--benchmark --exec_mode train"])
    def test_what_holds_out_otherwise_is_refused(self, run, flags):
        with pytest.raises(UserError, match="^--{}: does not go with --folds 3".format(flags.split()[0].strip("-"))):
            run("--data_dir task --folds 3 " + flags)

    def test_checkpoints_of_folds_without_their_settings_are_not_trained_on(self, run, tmp_path):
        (tmp_path / "model" / "fold_1").mkdir(parents=True)
        (tmp_path / "model" / "fold_1" / "model.ckpt-9.index").write_text("")
        with pytest.raises(UserError, match="fold_1: holds checkpoints without their params.json"):
            run("--data_dir task --exec_mode train --folds 3")

    def test_no_more_workers_than_folds(self, run, monkeypatch):
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
        assert run("--data_dir task --folds 4")["folds"] == 4
        with pytest.raises(UserError, match="^--folds 3: 4 workers are too many, .*: start 3 at most$"):
            run("--data_dir task --folds 3")

    def test_the_number_of_workers_may_change(self, run, trained, monkeypatch, tmp_path):
        trained("--folds 3")
        os.rename(str(tmp_path / "model" / "model.ckpt-90.index"), str(tmp_path / "model" / "kept"))
        os.mkdir(str(tmp_path / "model" / "fold_0"))
        os.rename(str(tmp_path / "model" / "kept"), str(tmp_path / "model" / "fold_0" / "model.ckpt-90.index"))
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        assert run("--data_dir task --exec_mode train")["folds"] == 3


class TestLength:
    def test_is_kept_with_the_model(self, run, trained):
        trained("--train_epochs 50 --lr_schedule cosine")
        assert run("--data_dir task --exec_mode train")["train_epochs"] == 50

    def test_may_grow_where_the_learning_rate_does_not_follow_it(self, run, trained):
        trained("--train_epochs 50")
        assert run("--data_dir task --exec_mode train --train_epochs 60")["train_epochs"] == 60

    def test_is_fixed_where_it_does(self, run, trained):
        trained("--train_epochs 50 --lr_schedule cosine")
        with pytest.raises(UserError, match="^--train_epochs is 60 here and 50 in"):
            run("--data_dir task --exec_mode train --train_epochs 60")


class TestRecipe:
    def test_is_kept_with_the_model(self, run, trained):
        trained("--recipe tuned --optimizer sgd")
        chosen = run("--data_dir task --exec_mode evaluate")
        assert (chosen["recipe"], chosen["optimizer"], chosen["loss"]) == ("tuned", "sgd", "dice_ce")

    def test_another_one_does_not_go_on_with_it(self, run, trained):
        trained("--recipe tuned")
        with pytest.raises(UserError, match="^--recipe is reference here and tuned in"):
            run("--data_dir task --exec_mode train --recipe reference")

    def test_a_model_older_than_the_recipes_is_the_references(self, run, trained, tmp_path):
        trained("--augment")
        path = tmp_path / "model" / model_settings.FILE_NAME
        stored = {name: value for name, value in json.loads(path.read_text()).items() if name in OLD_SETTINGS}
        path.write_text(json.dumps(stored))
        chosen = run("--data_dir task --exec_mode predict")
        assert (chosen["recipe"], chosen["fit"], chosen["spacing"], chosen["augment"]) == (
            "reference",
            "resize",
            None,
            True,
        )

    def test_choosing_the_shape_again_is_no_contradiction(self, run, trained):
        trained("--input_shape 40 56 40 --crop_shape 32 48 32 --fit pad --spacing 1 1 1")
        chosen = run("--data_dir task --exec_mode train --input_shape auto --crop_shape auto")
        assert (chosen["input_shape"], chosen["crop_shape"]) == ([40, 56, 40], [32, 48, 32])


class TestGrid:
    @pytest.mark.parametrize(
        "flags, message",
        [
            ("--spacing 1 1 1", "^--spacing: belongs to --fit pad"),
            (
                "--crop_shape 16 20 16",
                r"^--crop_shape 16 20 16: 3 levels .* multiples of 8, not 20 along y \(nearest: 16 or 24\)",
            ),
            ("--input_shape auto auto auto", "^--input_shape: 'auto' is not a whole number"),
            ("--test_time_flips", "^--test_time_flips: a model trained without --augment"),
            ("--optimizer adam --momentum 0.9", "^--momentum: has no effect with --optimizer adam: leave it out"),
            ("--lr_warmup_epochs 3", "^--lr_warmup_epochs: has no effect with --lr_scaling none: leave it out"),
            ("--flip_axes x", "^--flip_axes: has no effect with --augment off: leave it out"),
            ("--warmup_steps 5", "^--warmup_steps: belongs to --benchmark: add that or leave this out"),
            ("--benchmark_steps 5", "^--benchmark_steps: belongs to --benchmark"),
            ("--benchmark --exec_mode train --no_trial", "^--no_trial: belongs to --exec_mode plan"),
            ("--cross_entropy_weight 2", "^--cross_entropy_weight: has no effect with --loss dice: leave it out"),
        ],
    )
    def test_contradictions_are_refused(self, run, flags, message):
        with pytest.raises(UserError, match=message):
            run("--data_dir task " + flags)

    def test_the_task_may_decide(self, run):
        chosen = run("--data_dir task --input_shape auto --crop_shape auto --fit pad")
        assert (chosen["input_shape"], chosen["crop_shape"], chosen["spacing"]) == ("auto", "auto", None)


# What the first release's models hold.
OLD_SETTINGS = (
    "input_shape resize_interpolator data_normalization activation normalization_layer pooling upsampling "
    "upscale_blocks downscale_blocks convolution_size loss optimizer base_lr momentum batch_size augment seed "
    "train_split split_seed task labels modalities workers"
).split()

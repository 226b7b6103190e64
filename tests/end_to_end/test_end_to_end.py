"""Runs of main.py in processes of their own, as a user starts them."""

import glob
import os
import shutil
from typing import Any, Dict

import numpy as np
import pytest
from command_line import (
    EPOCHS,
    STEPS_PER_EPOCH,
    STRUCTURES,
    TINY,
    TRAINED,
    checkpoint_steps,
    log_lines,
    logged,
    losses,
    make_task,
    read_image,
    read_json,
    succeed,
    succeed_in_turn,
    voxels,
)
from shared_model import dice
from synthetic import grid_of

from utils.fetching import phantom

LAST_STEP = EPOCHS * STEPS_PER_EPOCH
# The amount of training that shows whether the network learns: the shapes, not just where they mostly are.
PHANTOM_CASES, PHANTOM_TESTS = 42, 6
PHANTOM_TRAINING = (
    *("--input_shape", 24, 32, 24, "--downscale_blocks", 1, 1, 1, "--upscale_blocks", 1, 1),
    *("--batch_size", 1, "--base_lr", 0.002, "--lr_schedule", "cosine", "--train_epochs", 9, "--augment"),
    *("--evaluate_every", 3),
)


def values(folder, step):
    """The values of a checkpoint's variables, by name."""
    from utils.tf_runtime import tf

    reader = tf.train.load_checkpoint(os.path.join(str(folder), "model.ckpt-{}".format(step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_equal_values(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def scalars(folder):
    """What TensorBoard shows of a model's folder: {tag: {step: value}}."""
    from utils.tf_runtime import tf

    found: Dict[str, Any] = {}
    for path in glob.glob(os.path.join(folder, "events.out.tfevents.*")):
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


class TestWhatIsLeftBehind:
    def test_files(self, model):
        held_out = read_json(model.model_dir, "split.json")["held_out"]
        kept = LAST_STEP, LAST_STEP - STEPS_PER_EPOCH, LAST_STEP - 2 * STEPS_PER_EPOCH
        names = set(os.listdir(model.model_dir))
        checkpoints = {name for name in names if name.startswith("model.ckpt-")}
        events = {name for name in names if name.startswith("events.out.tfevents.")}
        assert names - checkpoints - events == {
            *("params.json", "split.json", "dllogger.json", "evaluation.json", "evaluation.csv"),
            *("training_curves.png", "eval", "report", "best", "cache", "checkpoint"),
        }
        assert events and checkpoint_steps(model.model_dir) == sorted(kept)
        assert sorted(os.listdir(os.path.join(model.model_dir, "eval"))) == sorted(
            name + extension for name in held_out for extension in (".nii.gz", ".png")
        )
        for folder, _, names in os.walk(model.model_dir):
            for name in names:
                assert os.path.getsize(os.path.join(folder, name)) > 0

    def test_pictures_are_pictures(self, model):
        pictures = glob.glob(os.path.join(model.model_dir, "**", "*.png"), recursive=True)
        assert len(pictures) == 4
        for path in pictures:
            with open(path, "rb") as file:
                assert file.read(8) == b"\x89PNG\r\n\x1a\n"

    def test_the_settings(self, model):
        params = read_json(model.model_dir, "params.json")
        assert params["labels"] == ["background"] + list(STRUCTURES)
        assert (params["task"], params["modalities"]) == ("Tiny", ["MRI0"])
        assert (params["input_shape"], params["base_lr"], params["train_split"]) == ([16, 16, 16], 0.002, 0.7)

    def test_the_terminal(self, model):
        output, errors = model.run.output, model.run.errors
        assert "epoch {}: loss 0.".format(EPOCHS) in output and "images/s;" in output
        for structure in STRUCTURES:
            assert any(line.startswith(structure + " ") for line in output.splitlines())
        for told in ("scores: ", "masks and pictures: ", "training curves: ", "log: "):
            (path,) = [line[len(told) :] for line in output.splitlines() if line.startswith(told)]
            assert os.path.exists(path)
        assert "training: {0}/{0} images (100%)".format(EPOCHS * TRAINED) in errors
        # Nothing but the lines of our own: each begins with the time of day.
        assert [line for line in errors.splitlines() if line[2:3] + line[5:6] != "::"] == []


class TestLog:
    def test_every_epoch_has_its_figures(self, model):
        epochs = logged(model.model_dir, 1)
        assert [step for step, _ in epochs] == [(number,) for number in range(1, EPOCHS + 1)]
        for _, figures in epochs:
            assert set(figures) == {"loss", "images_per_second"} | {"soft_dice_" + name for name in STRUCTURES}
            assert 0 < figures["loss"] < 1 and figures["images_per_second"] > 0
            assert all(0 < figures["soft_dice_" + name] < 1 for name in STRUCTURES)

    def test_every_step_has_its_loss_where_asked_for(self, model):
        within = [step for step in range(1, LAST_STEP) if step % STEPS_PER_EPOCH]
        assert [step for step, _ in logged(model.model_dir, 2)] == [
            (step // STEPS_PER_EPOCH + 1, step) for step in within
        ]

    def test_training_learns(self, model):
        by_epoch = [figures["loss"] for _, figures in logged(model.model_dir, 1)]
        assert by_epoch[-1] < 0.8 * by_epoch[0]

    def test_lines_are_of_dlloggers_form(self, model):
        for event in log_lines(model.model_dir):
            keys = {"timestamp", "datetime", "elapsedtime", "type"}
            own = {"LOG": {"step", "data"}, "METADATA": {"metric", "metadata"}}
            assert set(event) == keys | own[event["type"]]

    def test_tensorboard_reads_the_same(self, model):
        found = scalars(model.model_dir)
        for (epoch,), figures in logged(model.model_dir, 1):
            for name, value in figures.items():
                group = "held_out" if name.startswith("soft_dice_") else "training"
                assert found[group + "/" + name][epoch * STEPS_PER_EPOCH] == pytest.approx(value, rel=1e-5)


@pytest.fixture(scope="module")
def resumed(model, tmp_path_factory):
    """A model that was trained with the shared one's command, but stopped after five epochs at first."""
    model_dir = str(tmp_path_factory.mktemp("resumed") / "model")
    arguments = ("--exec_mode", "train", "--data_dir", model.data_dir, "--model_dir", model_dir) + TINY
    succeed(*arguments + ("--train_epochs", 5))
    assert checkpoint_steps(model_dir)[-1] == 5 * STEPS_PER_EPOCH
    # With no setting given but the folders: the model knows the others.
    evaluation = ("--exec_mode", "evaluate", "--data_dir", model.data_dir, "--model_dir", model_dir, "--threads", 1)
    succeed_in_turn(arguments + ("--train_epochs", EPOCHS), evaluation)
    return model_dir


class TestResuming:
    def test_the_weights_are_those_of_training_at_once(self, model, resumed):
        for step in checkpoint_steps(resumed):
            assert_equal_values(values(resumed, step), values(model.model_dir, step))

    def test_so_are_the_losses_and_the_scores(self, model, resumed):
        # Two processes with one seed also train the same epochs from the start.
        assert losses(resumed) == losses(model.model_dir)
        for (step, found), (same, expected) in zip(logged(resumed, 1), logged(model.model_dir, 1)):
            del found["images_per_second"], expected["images_per_second"]
            assert (step, found) == (same, expected)

    def test_the_checkpoints_kept_are_the_same(self, model, resumed):
        assert checkpoint_steps(resumed) == checkpoint_steps(model.model_dir)
        best, expected = (os.path.join(folder, "best") for folder in (resumed, model.model_dir))
        assert checkpoint_steps(best) == checkpoint_steps(expected)
        assert read_json(best, "score.json") == read_json(expected, "score.json")

    def test_evaluation_by_itself_gives_the_same_scores(self, model, resumed):
        found, expected = (read_json(folder, "evaluation.json") for folder in (resumed, model.model_dir))
        assert found == expected
        for name in os.listdir(os.path.join(resumed, "eval")):
            np.testing.assert_array_equal(voxels(resumed, "eval", name), voxels(model.model_dir, "eval", name))


class TestImages:
    def test_files_are_predicted_with_nothing_but_the_model(self, model, tmp_path):
        # In a folder with two images and a model, by relative paths.
        copy = shutil.copytree(model.model_dir, str(tmp_path / "copy"))
        for name in "eval", "cache":
            shutil.rmtree(os.path.join(copy, name))
        names = ["case_11.nii.gz", "case_13.nii.gz"]
        for name in names:
            shutil.copy(os.path.join(model.data_dir, "imagesTs", name), str(tmp_path))
        succeed("--exec_mode", "predict", "--model_dir", "copy", "--images", *names, folder=tmp_path)
        assert sorted(os.listdir(str(tmp_path / "copy" / "eval"))) == names
        for name in names:
            assert grid_of(read_image(copy, "eval", name)) == grid_of(read_image(tmp_path, name))
        assert sorted(os.listdir(str(tmp_path))) == sorted(names + ["copy"])


class TestPrecision:
    def train(self, model, model_dir, *flags):
        where = "--data_dir", model.data_dir, "--model_dir", model_dir
        return succeed("--exec_mode", "train", "--train_epochs", 2, *TINY + where + flags)

    def test_mixed_precision(self, model, tmp_path):
        from utils.tf_runtime import RUNTIME, gpus

        if gpus():
            pytest.skip("the two runtimes do the same on GPUs")
        finished = self.train(model, tmp_path / "mixed", "--amp")
        found = losses(tmp_path / "mixed")
        expected = {step: loss for step, loss in losses(model.model_dir).items() if step in found}
        assert len(found) == 2 * STEPS_PER_EPOCH
        notices = [line for line in finished.output.splitlines() if line.startswith("--amp: ")]
        if RUNTIME == "tf1":
            assert notices == ["--amp: this TensorFlow has no mixed precision for CPUs; going on in float32"]
            assert found == expected
        else:
            assert [notice[:29] for notice in notices] in ([], ["--amp: this CPU has no AMX: b"])
            assert found == pytest.approx(expected, abs=0.02)
            with open("/proc/cpuinfo") as file:
                if "avx512_bf16" in file.read():
                    # Eight bits of a mantissa leave a trace.
                    assert found != expected

    def test_xla(self, tmp_path):
        task = make_task(tmp_path, training=4, test=0)
        tiny = ("--input_shape", 8, 8, 8, "--downscale_blocks", 1, "--upscale_blocks", 1, "--train_split", 1)
        arguments = ("--exec_mode", "train", "--train_epochs", 2, "--data_dir", task, "--threads", 1, "--log_every", 1)
        dump = tmp_path / "compiled"
        compiled = {"XLA_FLAGS": "--xla_dump_to={} --xla_dump_hlo_as_text".format(dump)}
        succeed(*arguments + tiny + ("--model_dir", tmp_path / "plain"), environment=compiled)
        assert not dump.exists()
        succeed(*arguments + tiny + ("--model_dir", tmp_path / "xla", "--xla"), environment=compiled)
        assert any(name.endswith(".txt") for name in os.listdir(str(dump)))
        assert losses(tmp_path / "xla") == pytest.approx(losses(tmp_path / "plain"), abs=1e-3)
        assert len(losses(tmp_path / "xla")) == 4


@pytest.fixture(scope="module")
def phantom_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    data_dir = phantom.write_task(str(folder), 0, PHANTOM_CASES, PHANTOM_TESTS)
    where = "--data_dir", data_dir, "--model_dir", folder / "model"
    succeed("--exec_mode", "train_and_predict", "--checkpoint", "best", *PHANTOM_TRAINING + where)
    return data_dir, str(folder / "model")


@pytest.fixture(scope="module")
def phantom_scores(phantom_model):
    """Hard Dice [cases, 2] of the masks of the test images, and of the same masks turned around (three ways)."""
    ways = [(slice(None),) * 3] + [
        tuple(slice(None, None, -1 if axis == turned else 1) for axis in range(3)) for turned in range(3)
    ]
    scores = []
    for index in range(PHANTOM_CASES, PHANTOM_CASES + PHANTOM_TESTS):
        made = phantom.make_phantom(0, index)
        mask = voxels(phantom_model[1], "eval", made.name + ".nii.gz")
        scores.append([[dice(mask[way], made.mask, value) for value in (1, 2)] for way in ways])
    return np.array(scores).transpose(1, 0, 2)


class TestPhantomTask:
    def test_test_images_are_segmented(self, phantom_scores):
        assert phantom_scores[0].mean(axis=0).min() > 0.82
        assert phantom_scores[0].min() > 0.6

    def test_only_the_right_way_around(self, phantom_scores):
        # The bodies are nearly symmetric, and yet masks that lie otherwise do not reach that.
        assert (phantom_scores[1:].mean(axis=1) < 0.82).any(axis=1).all()

    def test_masks_lie_on_their_images(self, phantom_model):
        data_dir, model_dir = phantom_model
        names = sorted(os.listdir(os.path.join(data_dir, "imagesTs")))
        assert sorted(os.listdir(os.path.join(model_dir, "eval"))) == names
        for name in names:
            assert grid_of(read_image(model_dir, "eval", name)) == grid_of(read_image(data_dir, "imagesTs", name))

    def test_held_out_soft_dice(self, phantom_model):
        best = read_json(phantom_model[1], "best", "score.json")
        assert best["soft_dice"] > 0.82

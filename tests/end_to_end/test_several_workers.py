"""Two real workers under mpirun: what they compute together, what each of them does, and what is left when one dies."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from command_line import (
    HELD_OUT,
    PROJECT,
    QUICK_START,
    SMALLEST,
    STEPS_PER_EPOCH,
    TEST_CASES,
    TINY,
    TRAINED,
    checkpoint_steps,
    command,
    logged,
    losses,
    make_task,
    read_json,
    succeed_here,
)
from launchers import process_of_rank, run_script
from two_hosts import ADDRESSES, TwoHosts, Unavailable

from examples.launching import workers_command

pytest.importorskip("horovod.tensorflow", reason="Horovod is not installed; `make test` installs it")

# Seconds that nothing here takes, even on a busy machine: workers that wait for each other for ever are found out.
LIMIT = 600


def start_workers(
    *arguments, workers=2, hosts=None, launcher="mpirun", output=subprocess.PIPE, machines=None, variables=None
):
    """Start main.py in several workers, on the first of the `machines` if any; returns the launcher's process."""
    line = workers_command(command(arguments), workers, hosts, launcher)
    return subprocess.Popen(
        machines.on_first(line) if machines else line,
        env=dict(machines.environment() if machines else os.environ, **(variables or {})),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        cwd=PROJECT,
    )


def run_workers(*arguments, **options):
    """Run main.py in several workers, which must succeed; returns what they wrote."""
    process = start_workers(*arguments, **options)
    output = process.communicate(timeout=LIMIT)[0]
    assert process.returncode == 0, output
    return output


def weights(model_dir):
    """{variable name: value} of the last checkpoint."""
    from utils.tf_runtime import tf

    reader = tf.train.load_checkpoint(str(model_dir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same(found, expected):
    """Weights, and what the optimizer has summed up, are the same but for the order of summation."""
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-3 * np.abs(values).max(), err_msg=name)


def assert_close(found, expected):
    """Two JSON values are the same but for the last digits of their numbers."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_close(*pair)
    else:
        assert found == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("task"))


# Slow and long enough for what is learnt not to depend on how the batches fall.
EPOCHS, MEASURED = 48, 4
STEADY = TINY + ("--exec_mode", "train_and_evaluate", "--base_lr", "0.001", "--lr_schedule", "cosine")
STEADY += ("--train_epochs", EPOCHS)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, data_dir):
    """A model of two workers: its folder, and what they wrote."""
    model_dir = tmp_path_factory.mktemp("pair")
    options = STEADY + ("--batch_size", 1, "--evaluate_every", MEASURED, "--data_dir", data_dir)
    return model_dir, run_workers(*options + ("--model_dir", model_dir))


# Everything beside the reference recipe that training computes, as far as small differences stay small.
LEVERS = ("--loss", "dice_ce", "--deep_supervision", "--optimizer", "sgd", "--momentum", "0.9", "--weight_decay", "0.1")
LEVERS += ("--lr_schedule", "polynomial", "--lr_warmup_steps", 2, "--weight_averaging", "0.5")


class TestTraining:
    # No batch statistics, and all cases in each step, so that the same ones are in it whatever the order.
    OPTIONS = TINY + ("--exec_mode", "train", "--normalization_layer", "none", "--evaluate_every", 0)

    def test_two_workers_take_the_steps_of_one_with_twice_the_batch(self, tmp_path, data_dir):
        options = self.OPTIONS + LEVERS + ("--train_split", "1.0", "--train_epochs", 3, "--data_dir", data_dir)
        run_workers(*options + ("--batch_size", 5, "--model_dir", tmp_path / "two"))
        succeed_here(*options + ("--batch_size", 10, "--model_dir", tmp_path / "one"))
        one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
        assert set(one) == set(two) and one["global_step"] == two["global_step"] == 3
        assert_same(two, one)

    def test_unequal_shares_are_averaged_over_the_cases(self, tmp_path, data_dir):
        # Seven cases: four for the first worker, three for the second. The reference recipe's network and optimizer.
        options = self.OPTIONS + ("--train_epochs", 2, "--data_dir", data_dir)
        run_workers(*options + ("--batch_size", 4, "--model_dir", tmp_path / "two"), launcher="horovodrun")
        succeed_here(*options + ("--batch_size", 7, "--model_dir", tmp_path / "one"))
        one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
        assert set(one) == set(two) and one["global_step"] == two["global_step"] == 2
        assert_same(two, one)

    def test_epochs_steps_and_losses_are_counted_over_both(self, pair):
        model_dir, _ = pair
        epochs = logged(model_dir, 1)
        assert [step for step, _ in epochs] == [(number,) for number in range(1, EPOCHS + 1)]
        for (number,), figures in epochs:
            held_out = {"soft_dice_Upper", "soft_dice_Lower"} if number % MEASURED == 0 else set()
            assert set(figures) == {"loss", "images_per_second"} | held_out
        # Seven cases over two workers at batch 1: four steps.
        assert checkpoint_steps(model_dir)[-1] == EPOCHS * STEPS_PER_EPOCH

    def test_the_first_worker_alone_writes_and_tells(self, pair):
        model_dir, output = pair
        assert output.count("epoch {}: loss".format(EPOCHS)) == 1
        assert output.count("hard Dice (original grid)") == 1
        assert len([name for name in os.listdir(str(model_dir)) if name.startswith("events.")]) == 1


class TestEvaluation:
    def test_every_held_out_case_is_scored_once(self, pair):
        model_dir, _ = pair
        held_out = read_json(model_dir, "split.json")["held_out"]
        scored = [entry["case"] for entry in read_json(model_dir, "evaluation.json")["cases"]]
        assert scored == held_out and len(held_out) == HELD_OUT

    def test_the_scores_are_those_of_one_worker_with_the_same_weights(self, pair, data_dir):
        model_dir, _ = pair
        together = read_json(model_dir, "evaluation.json")
        succeed_here(*TINY[:-6] + ("--exec_mode", "evaluate", "--data_dir", data_dir, "--model_dir", model_dir))
        alone = read_json(model_dir, "evaluation.json")
        for one, other in zip(together["cases"], alone["cases"]):
            assert one["case"] == other["case"] and one["hard_dice"] == other["hard_dice"]
            assert_close(one, other)

    def test_two_workers_learn_what_one_learns(self, pair, data_dir, tmp_path):
        options = STEADY + ("--batch_size", 2, "--evaluate_every", 0)
        succeed_here(*options + ("--data_dir", data_dir, "--model_dir", tmp_path))
        one, two = (read_json(folder, "evaluation.json")["mean"]["hard_dice"] for folder in (tmp_path, pair[0]))
        for structure, dice in one.items():
            assert dice > 0.8 and two[structure] == pytest.approx(dice, abs=0.03)


def predicted(model_dir):
    """The (masks, report) in a model's folder: {file name: bytes}, a JSON value."""
    folder = os.path.join(str(model_dir), "eval")
    masks = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            masks[name] = file.read()
    return masks, read_json(model_dir, "predictions.json")


class TestPrediction:
    @pytest.fixture(scope="class")
    def expected(self, pair, data_dir, tmp_path_factory):
        """What one worker predicts."""
        copy = shutil.copytree(str(pair[0]), str(tmp_path_factory.mktemp("alone") / "model"))
        shutil.rmtree(os.path.join(copy, "eval"))
        succeed_here("--exec_mode", "predict", "--data_dir", data_dir, "--model_dir", copy, "--threads", 1)
        return predicted(copy)

    @pytest.mark.parametrize("launcher", ["mpirun", "horovodrun"])
    def test_every_test_image_gets_the_mask_that_one_worker_gives_it(self, pair, expected, data_dir, launcher):
        model_dir, _ = pair
        shutil.rmtree(str(model_dir / "eval"))
        folders = "--data_dir", data_dir, "--model_dir", model_dir
        run_script("vnet_predict.py", "--gpus", 2, "--launcher", launcher, *folders + ("--threads", 1))
        masks, report = predicted(model_dir)
        assert len(masks) == len(report["cases"]) == TEST_CASES
        assert masks == expected[0]
        assert_close(report, expected[1])

    def test_fewer_images_than_workers(self, pair, data_dir):
        model_dir, _ = pair
        image = os.path.join(data_dir, "imagesTs", sorted(os.listdir(os.path.join(data_dir, "imagesTs")))[0])
        (model_dir / "eval" / os.path.basename(image)).unlink()
        run_workers("--exec_mode", "predict", "--model_dir", model_dir, "--images", image, "--threads", 1)
        assert (model_dir / "eval" / os.path.basename(image)).exists()


class TestTwoHosts:
    OPTIONS = SMALLEST + ("--train_epochs", 3, "--batch_size", 1)

    @pytest.fixture(scope="class")
    def here(self, tmp_path_factory, data_dir):
        """The folder of a model of two workers on one host that goes by two names."""
        folder = tmp_path_factory.mktemp("here")
        options = self.OPTIONS + ("--exec_mode", "train_and_predict", "--data_dir", data_dir, "--model_dir", folder)
        run_workers(*options, hosts=[("localhost", 1), ("127.0.0.1", 1)])
        return folder

    def test_two_names_of_one_host(self, here):
        assert checkpoint_steps(here)[-1] == 3 * STEPS_PER_EPOCH
        assert len(list((here / "eval").glob("*.nii.gz"))) == TEST_CASES

    def test_train_and_evaluate_over_the_network(self, here, tmp_path, data_dir):
        there = tmp_path / "there"
        options = self.OPTIONS + ("--exec_mode", "train_and_evaluate", "--data_dir", data_dir, "--model_dir", there)
        try:
            with TwoHosts(tmp_path) as machines:
                hosts = [(address, 1) for address in ADDRESSES]
                run_workers(*options, hosts=hosts, machines=machines)
                # At the least the steps' gradients, 4 bytes for each of the network's parameters.
                assert machines.bytes_over_the_cable() > 3 * STEPS_PER_EPOCH * 4 * trainable_parameters(there)
        except Unavailable as reason:
            pytest.skip("two hosts cannot be made here: {}".format(reason))
        assert_same(weights(there), weights(here))
        evaluation = read_json(there, "evaluation.json")
        assert [entry["case"] for entry in evaluation["cases"]] == read_json(there, "split.json")["held_out"]


def trainable_parameters(model_dir):
    """The number of them in the last checkpoint, whose optimizer keeps its momentum for each."""
    return sum(value.size for name, value in weights(model_dir).items() if name.endswith("/RMSProp"))


class TestKilledWorker:
    # Killed in the third, with time to spare until the last.
    EPOCHS = 15

    def test_ends_the_job_and_the_same_command_finishes_it(self, tmp_path, data_dir):
        model_dir = tmp_path / "model"
        options = SMALLEST + ("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", model_dir)
        options += ("--train_epochs", self.EPOCHS, "--batch_size", 1)
        with open(str(tmp_path / "output"), "w+") as output:
            process = start_workers(*options, output=output, variables=QUICK_START)
            second = wait_for_second_worker(process, model_dir)
            os.kill(second, signal.SIGKILL)
            assert process.wait(timeout=LIMIT) != 0
            output.seek(0)
            assert re.search(r"rank 1 .*signal 9", output.read())
        stopped_at = checkpoint_steps(model_dir)[-1]
        assert 0 < stopped_at < self.EPOCHS * STEPS_PER_EPOCH
        run_workers(*options, variables=QUICK_START)
        assert checkpoint_steps(model_dir)[-1] == self.EPOCHS * STEPS_PER_EPOCH
        assert len(losses(model_dir)) == self.EPOCHS * STEPS_PER_EPOCH and len(logged(model_dir, 1)) == self.EPOCHS
        assert len(read_json(model_dir, "split.json")["training"]) == TRAINED

    def test_another_number_of_workers_is_refused_for_a_run_under_way(self, pair, data_dir):
        model_dir, _ = pair
        process = subprocess.run(
            command(TINY + ("--exec_mode", "train", "--data_dir", data_dir, "--model_dir", model_dir)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        assert process.returncode == 2 and "is trained by 2 workers, not by 1" in process.stdout


def wait_for_second_worker(process, model_dir):
    """Waits until the third epoch is under way; returns the process id of the worker of rank 1."""
    deadline = time.time() + LIMIT
    while time.time() < deadline and process.poll() is None:
        path = model_dir / "dllogger.json"
        lines = path.read_text().splitlines() if path.exists() else []
        if any(json.loads(line[5:]).get("step") == [2] for line in lines if line.endswith("}")):
            return process_of_rank(1, model_dir)
        time.sleep(0.05)
    raise AssertionError("the workers did not come to the third epoch")


class TestNotices:
    def test_cropped_cases_of_all_workers_are_told_once(self, data_dir, tmp_path):
        flags = SMALLEST + ("--fit", "pad", "--spacing", 0.7, 1.1, 2.9, "--train_epochs", 1, "--evaluate_every", 1)
        folders = ("--data_dir", data_dir, "--model_dir", tmp_path / "model")
        output = run_workers("--exec_mode", "train_and_evaluate", *flags + folders, variables=QUICK_START)
        cases = TRAINED + HELD_OUT
        for count in (cases, HELD_OUT):
            assert output.count(": {0} of {0} cases lose voxels of them: ".format(count)) == 1


class TestSlices:
    """U-Net: the workers have different numbers of slices."""

    def test_all_take_the_same_steps_and_the_scores_are_of_all_cases(self, data_dir, tmp_path):
        model_dir = str(tmp_path / "model")
        unet = ("--model", "unet", "--padding", "same", "--levels", 1, "--filters", 4, "--input_shape", 16, 16)
        paper = ("--loss", "weighted_ce", "--batch_size", 16, "--train_split", 0.7, "--threads", 1, "--empty_slices", 0)
        folders = ("--data_dir", data_dir, "--model_dir", model_dir)
        run_workers(
            "--exec_mode", "train_and_evaluate", "--train_epochs", 2, *unet + paper + folders, variables=QUICK_START
        )
        names = read_json(model_dir, "split.json")["training"]
        filled = []
        for name in names:
            (label,) = glob.glob(os.path.join(model_dir, "cache", glob.escape(name) + "-*.label.npy"))
            filled.append(int(np.load(label).any(axis=(0, 1)).sum()))
        shares = [sum(filled[rank::2]) for rank in (0, 1)]
        assert shares[0] != shares[1]
        assert checkpoint_steps(model_dir)[-1] == 2 * -(-max(shares) // 16)
        assert len(read_json(model_dir, "evaluation.json")["cases"]) == HELD_OUT

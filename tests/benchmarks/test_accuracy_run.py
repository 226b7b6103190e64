"""The accuracy run beside that of the original's graph: real runs on a tiny task, and commands that take turns."""

import importlib.util
import os
import subprocess
import sys
import time

import pytest
from command_line import HELD_OUT, TINY_NETWORK, TRAINED, read_json
from test_bench import PROJECT, python, running

import main
from benchmarks import accuracy_run, original_run
from benchmarks.accuracy_run import ORIGINAL, OURS, SECONDS_TO_END, Run

# Of a network that has learnt nothing it is a third.
LEARNED = 0.5
SCRIPT = os.path.join(PROJECT, "benchmarks", "accuracy_run.py")
# Starts another process; both count for ever, each in a file of its own.
COUNTING = """
import os, subprocess, sys, time
if len(sys.argv) > 2:
    subprocess.Popen([sys.executable, sys.argv[2], sys.argv[1] + "-child"])
number = 0
while True:
    number += 1
    open(sys.argv[1] + ".new", "w").write("{} {}".format(os.getpid(), number))
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(0.001)
"""


class TestRuns:
    @pytest.fixture(scope="class")
    def output(self, model, tmp_path_factory):
        # With Horovod, workers are stopped and go on too.
        workers = "2" if importlib.util.find_spec("horovod") else "1"
        folder = str(tmp_path_factory.mktemp("accuracy") / "run")
        flags = ["--data_dir", model.data_dir, "--output", folder, "--gpus", workers, "--seconds", "3"]
        flags += ["--train_epochs", "45", "--base_lr", "0.002", "--train_split", "0.7"] + list(TINY_NETWORK)
        finished = subprocess.run(
            [sys.executable, SCRIPT] + flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        assert finished.returncode == 0, finished.stderr
        return folder, finished.stdout

    def test_both_train_on_the_same_cases_and_are_scored_on_the_others(self, output):
        splits = [read_json(output[0], name, "split.json") for name in (OURS, ORIGINAL)]
        assert splits[0] == splits[1] and len(splits[0]["training"]) == TRAINED
        for name in (OURS, ORIGINAL):
            assert len(read_json(output[0], name, "evaluation.json")["cases"]) == HELD_OUT

    def test_the_originals_graph_learns(self, output):
        dice = read_json(output[0], ORIGINAL, "evaluation.json")["mean"]["soft_dice"]
        assert min(dice.values()) > LEARNED

    def test_what_is_written_is_what_is_told(self, output):
        folder, told = output
        found = read_json(folder, "accuracy_run.json")
        seconds = {name: found["runs"][name]["seconds"] for name in (OURS, ORIGINAL)}
        assert min(seconds.values()) > 1
        assert found["part_of_the_time"] == pytest.approx(seconds[OURS] / seconds[ORIGINAL])
        for name in (OURS, ORIGINAL):
            assert found["runs"][name]["mean"] == read_json(folder, name, "evaluation.json")["mean"]
            assert "{}: {:.0f} s, soft Dice Upper ".format(name, seconds[name]) in told
        assert "ours took {:.0%} of the original's time".format(found["part_of_the_time"]) in told


class TestCommands:
    def commands(self, *flags):
        given = ["--data_dir", "task", "--output", "out", "--gpus", "1"] + list(flags)
        return accuracy_run.commands(accuracy_run.parse(given))

    def test_both_train_alike(self):
        ours, original = self.commands("--split_seed", "3", "--input_shape", "16", "16", "32").values()
        shared = "--augment --data_dir task --batch_size 2 --base_lr 0.0001 --train_epochs 80 --split_seed 3"
        for words in (ours, original):
            assert shared + " --input_shape 16 16 32" in " ".join(words)

    def test_only_ours_is_mixed_and_only_the_original_saves_once(self):
        found = self.commands("--amp")
        assert "--amp" in found[OURS] and "--amp" not in found[ORIGINAL]
        for flag in ("--evaluate_every", "--checkpoint_every"):
            assert flag not in found[OURS] and flag in found[ORIGINAL]


class TestRefusals:
    @pytest.mark.parametrize(
        "flags, words",
        [
            (("--folds", "5"), "--folds: belongs to no flag that both runs have"),
            (("--base_lr", "much"), "--base_lr"),
            (("--seconds", "0"), "--seconds: '0' is not a whole number"),
        ],
    )
    def test_flags(self, tmp_path, capsys, flags, words):
        output = tmp_path / "run"
        assert accuracy_run.main(["--data_dir", "none", "--output", str(output), "--gpus", "1", *flags]) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("accuracy_run.py: error: " + words) and errors.count("\n") == 1
        assert not output.exists()

    def test_a_folder_that_is_there(self, tmp_path, capsys):
        assert accuracy_run.main(["--data_dir", "none", "--output", str(tmp_path), "--gpus", "1"]) == 2
        assert "accuracy_run.py: error: --output {}: is there already".format(tmp_path) in capsys.readouterr().err

    def test_a_run_that_fails_says_why(self, tmp_path, capsys):
        flags = ["--data_dir", str(tmp_path / "none"), "--output", str(tmp_path / "run"), "--gpus", "1"]
        assert accuracy_run.main(flags) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("accuracy_run.py: error: ours: main.py: error: --data_dir ")
        assert errors.count("\n") == 1

    @pytest.mark.parametrize(
        "flags, words",
        [
            ((), "--evaluate_every 1: the original's run has 0"),
            (("--evaluate_every", "0", "--amp"), "--amp True: the original's run has False"),
            (("--evaluate_every", "0", "--loss", "dice_ce"), "--loss"),
        ],
    )
    def test_what_the_originals_graph_does_not_follow(self, model, tmp_path, capsys, flags, words):
        given = ["--exec_mode", "train_and_evaluate", "--data_dir", model.data_dir, "--batch_size", "2", *flags]
        given += ["--model_dir", str(tmp_path / "model")]
        assert main.main(given, original_run.PROGRAM, original_run.run) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("original_run.py: error: " + words) and errors.count("\n") == 1


class TestTurns:
    def test_nothing_that_it_started_runs_between_them(self, tmp_path):
        script, path = tmp_path / "counting.py", tmp_path / "count"
        script.write_text(COUNTING)
        files = [path, tmp_path / "count-child"]
        run = Run([sys.executable, str(script), str(path), str(script)], str(tmp_path / "log"))

        def turns_until(condition):
            deadline = time.monotonic() + 60
            while not condition() and time.monotonic() < deadline:
                run.turn(0.2)
            # One that was stopped while it wrote is seen to have done so a moment later.
            time.sleep(0.1)
            return condition()

        try:
            assert turns_until(lambda: all(file.exists() for file in files))
            counted, seconds = [file.read_text() for file in files], run.seconds
            time.sleep(0.3)
            assert [file.read_text() for file in files] == counted and run.seconds == seconds
            assert turns_until(lambda: all(file.read_text() != before for file, before in zip(files, counted)))
            assert run.status is None and run.seconds >= seconds + 0.2
            processes = [int(file.read_text().split()[0]) for file in files]
        finally:
            start = time.monotonic()
            run.close()
        assert time.monotonic() - start < SECONDS_TO_END, "it was asked to end while it was stopped"
        deadline = time.monotonic() + 30
        while any(map(running, processes)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(running, processes))

    def test_one_that_ends_in_its_turn(self, tmp_path):
        run = Run(python("print('told')"), str(tmp_path / "log"))
        run.turn(60)
        assert run.status == 0 and run.seconds < 60
        assert (tmp_path / "log").read_text() == "told\n"
        run.close()

"""The example scripts with the recipe's published command lines, and real runs of them."""

import os
import subprocess

import pytest
from command_line import (
    HELD_OUT,
    QUICK_START,
    SMALLEST,
    SMALLEST_NETWORK,
    TEST_CASES,
    TINY_NETWORK,
    TRAINED,
    checkpoint_steps,
    make_task,
    read_json,
)
from launchers import PROJECT, Machine, run_script

from examples import benchmarking
from examples.benchmarking import Cell
from utils import params
from utils.model_dir import settings as model_settings

# The published command lines, as they stand, and what they make main.py do.
HIPPOCAMPUS = ["--data_dir", "./data/Task04_Hippocampus"]
TO_CONVERGENCE = (
    "python examples/vnet_train_and_evaluate.py --gpus {} --batch_size 2 --base_lr 0.0001 --epochs {} "
    "--data_dir ./data/Task04_Hippocampus/ --model_dir /tmp{}"
)
TRAIN = (
    "python examples/vnet_train.py --data_dir ./data/Task04_Hippocampus --model_dir ./tmp --gpus 8 --batch_size 260 "
    "--epochs 50 --amp"
)
TRAIN_AND_EVALUATE = (
    "python examples/vnet_train_and_evaluate.py --data_dir ./data/Task04_Hippocampus --model_dir ./tmp --gpus 1 "
    "--batch_size 8 --epochs 260 --amp"
)
PREDICT = "python examples/vnet_predict.py --data_dir ./data/Task04_Hippocampus --model_dir ./tmp --batch_size 4 --amp"
BENCHMARKS = {
    "python examples/vnet_benchmark.py --data_dir ./data/Task04_Hippocampus --model_dir /tmp --mode train "
    "--gpus {1,8} --batch_size {8,16,32} [--amp]": [
        Cell("train", gpus, size, amp) for gpus in (1, 8) for size in (8, 16, 32) for amp in (False, True)
    ],
    "python examples/vnet_benchmark.py --data_dir ./data/Task04_Hippocampus --model_dir /tmp --mode predict --gpus 1 "
    "--batch_size {8, 16, 32} [--amp]": [
        Cell("predict", 1, size, amp) for size in (8, 16, 32) for amp in (False, True)
    ],
}


@pytest.fixture
def machine(tmp_path):
    """A Machine whose launchers end at once, in an empty folder."""
    made = Machine(tmp_path / "machine")
    made.install("mpirun", "exit 0")
    made.environment["PATH"] += ":/usr/bin:/bin"
    return made


def paste(machine, line, folder):
    """What bash does with a line in a folder without data; (exit status, the command line printed, errors)."""
    finished = subprocess.run(
        ["bash", "-c", line.replace("examples/", PROJECT + "/examples/")],
        cwd=str(folder),
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    return finished.returncode, finished.stdout.split(), finished.stderr


def main_arguments(words):
    return words[words.index(os.path.join(PROJECT, "main.py")) + 1 :]


class TestPublishedCommands:
    def test_train_on_all_cases(self, machine, tmp_path):
        status, words, errors = paste(machine, TRAIN, tmp_path)
        assert (status, errors) == (0, "")
        assert words[:5] == [os.path.join(machine.bin, "mpirun"), "-np", "8", "-H", "localhost:8"]
        assert main_arguments(words) == (
            ["--exec_mode", "train", "--train_split", "1.0", "--augment"]
            + HIPPOCAMPUS
            + ["--model_dir", "./tmp", "--batch_size", "260", "--train_epochs", "50", "--amp"]
        )

    def test_train_and_evaluate(self, machine, tmp_path):
        status, words, errors = paste(machine, TRAIN_AND_EVALUATE, tmp_path)
        assert words[0] == os.path.join(machine.bin, "python")
        assert main_arguments(words) == (
            ["--exec_mode", "train_and_evaluate", "--train_split", "0.9", "--augment"]
            + HIPPOCAMPUS
            + ["--model_dir", "./tmp", "--batch_size", "8", "--train_epochs", "260", "--amp"]
        )
        # main.py takes every one of these flags: it is the task that is missing here.
        assert status == 2 and errors.startswith("main.py: error: --data_dir ./data/Task04_Hippocampus: no such folder")

    @pytest.mark.parametrize("gpus, epochs", [(1, 80), (8, 320)])
    @pytest.mark.parametrize("amp", ["", " --amp"])
    def test_to_convergence(self, machine, tmp_path, gpus, epochs, amp):
        _, words, _ = paste(machine, TO_CONVERGENCE.format(gpus, epochs, amp), tmp_path)
        arguments = main_arguments(words)
        assert arguments[:7] == (
            ["--exec_mode", "train_and_evaluate", "--train_split", "0.9", "--augment", "--data_dir"]
            + ["./data/Task04_Hippocampus/"]
        )
        assert arguments[7:13] == ["--model_dir", "/tmp", "--batch_size", "2", "--train_epochs", str(epochs)]
        assert arguments[13:] == amp.split() + ["--base_lr", "0.0001"]
        assert ("mpirun" in words[0]) == (gpus > 1)

    def test_predict(self, machine, tmp_path):
        status, words, errors = paste(machine, PREDICT, tmp_path)
        assert main_arguments(words) == (
            ["--exec_mode", "predict"] + HIPPOCAMPUS + ["--model_dir", "./tmp", "--batch_size", "4", "--amp"]
        )
        assert status == 2 and errors.startswith("main.py: error: --model_dir ./tmp: holds no trained model")

    @pytest.mark.parametrize("line", sorted(BENCHMARKS))
    def test_benchmark(self, machine, tmp_path, line, monkeypatch):
        shown = subprocess.check_output(
            ["bash", "-c", "printf '%s\\n' " + line.split(".py ", 1)[1]], cwd=str(tmp_path), universal_newlines=True
        )
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        benchmark = benchmarking.parse("vnet_benchmark.py", "", shown.splitlines())
        assert list(benchmark.cells) == BENCHMARKS[line]
        status, _, errors = paste(machine, line, tmp_path)
        assert (status, errors[:72]) == (2, "vnet_benchmark.py: error: --data_dir ./data/Task04_Hippocampus: no such ")

    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_one_benchmark(self, machine, tmp_path, mode):
        line = "python examples/vnet_benchmark.py --data_dir d --model_dir m --mode {} --gpus 8 --batch_size 16 --amp"
        status, words, errors = paste(machine, line.format(mode), tmp_path)
        assert (status, errors) == (0, "")
        assert main_arguments(words) == (
            ["--benchmark", "--exec_mode", mode, "--batch_size", "16", "--amp", "--data_dir", "d", "--model_dir", "m"]
        )

    @pytest.mark.parametrize("given", [["--train_split", "0.5"], ["--train_split=0.5"]])
    def test_what_is_given_replaces_what_a_script_gives(self, machine, given):
        words = machine.run(
            "vnet_train.py", "--data_dir", "d", "--model_dir", "m", "--gpus", 2, "--augment", *given
        ).command
        assert main_arguments(words) == (
            ["--exec_mode", "train", "--data_dir", "d", "--model_dir", "m", "--augment"] + given
        )

    @pytest.mark.parametrize(
        "given, left",
        [
            (["--folds", "5"], ["--augment"]),
            (["--folds", "0"], ["--train_split", "0.9", "--augment"]),
            (["--recipe", "tuned"], ["--train_split", "0.9"]),
            (["--recipe=tuned", "--folds=3"], []),
            (["--recipe", "reference"], ["--train_split", "0.9", "--augment"]),
        ],
    )
    def test_a_script_leaves_to_recipe_and_folds_what_they_decide(self, machine, tmp_path, given, left):
        where = ["--data_dir", "d", "--model_dir", str(tmp_path / "m")]
        words = machine.run("vnet_train_and_evaluate.py", *where + given).command
        assert main_arguments(words) == ["--exec_mode", "train_and_evaluate"] + left + where + given

    def test_a_script_leaves_to_a_trained_model_what_it_was_trained_with(self, machine, tmp_path):
        chosen = params.from_command_line(["--data_dir", "d", "--model_dir", str(tmp_path), "--recipe", "tuned"])
        task = {"task": "T", "labels": ["background", "A"], "modalities": ["MRI"], "workers": 1}
        task.update(image_kind="scans", input_shape=[16, 16, 16], crop_shape=[16, 16, 16], spacing=[1.0, 1.0, 1.0])
        model_settings.save(model_settings.settings_of(dict(chosen, **task)), str(tmp_path))
        (tmp_path / "model.ckpt-1.index").write_text("")
        words = machine.run("vnet_train_and_evaluate.py", "--data_dir", "d", "--model_dir", tmp_path).command
        assert main_arguments(words) == (
            ["--exec_mode", "train_and_evaluate", "--data_dir", "d", "--model_dir", str(tmp_path)]
        )

    @pytest.mark.parametrize("script", ["train", "train_and_evaluate", "predict", "benchmark"])
    def test_help_names_the_published_flags(self, machine, script):
        ended = machine.run("vnet_{}.py".format(script), "--help")
        assert ended.status == 0
        published = ["--data_dir", "--model_dir", "--batch_size", "--amp", "--gpus"]
        published += {"predict": [], "benchmark": ["--mode"]}.get(script, ["--epochs"])
        for flag in published:
            assert flag + " " in ended.output.replace("]", " ")


def contents(folder):
    """{path below the folder: bytes} of all its files, but for the kept copies and the log."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(parent, name), folder)
            if not path.startswith("cache" + os.sep) and path != "dllogger.json":
                with open(os.path.join(parent, name), "rb") as file:
                    found[path] = file.read()
    return found


BENCHMARK = ("--threads", "1", "--warmup_steps", "2", "--benchmark_steps", "6")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(task's folder, folder of a model that vnet_train_and_evaluate.py has trained on it)."""
    folder = tmp_path_factory.mktemp("examples")
    data_dir, model_dir = make_task(folder), str(folder / "model")
    folders = ("--data_dir", data_dir, "--model_dir", model_dir)
    run_script("vnet_train_and_evaluate.py", "--gpus", 1, "--batch_size", 3, "--epochs", 2, *folders + SMALLEST)
    return data_dir, model_dir


class TestRealRuns:
    def test_train_evaluate_and_predict(self, model):
        data_dir, model_dir = model
        assert read_json(model_dir, "params.json")["augment"] is True
        assert len(read_json(model_dir, "evaluation.json")["cases"]) == HELD_OUT
        run_script("vnet_predict.py", "--data_dir", data_dir, "--model_dir", model_dir, "--batch_size", 4)
        masks = [name for name in os.listdir(os.path.join(model_dir, "eval")) if name.endswith(".nii.gz")]
        assert len(masks) == HELD_OUT + TEST_CASES

    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_benchmark_leaves_figures_and_the_model_as_it_was(self, model, tmp_path, mode):
        data_dir, model_dir = model
        before = contents(model_dir)
        folders = ("--data_dir", data_dir, "--model_dir", model_dir, "--output", tmp_path / "figures.json")
        arguments = ("--mode", mode, "--gpus", 1, "--batch_size", 3) + SMALLEST_NETWORK + BENCHMARK
        run_script("vnet_benchmark.py", *folders + arguments)
        figures = read_json(tmp_path, "figures.json")
        assert figures["mode"] == mode
        assert figures["images_per_second"] > 0
        assert 0 < figures["latency_ms"]["p90"] <= figures["latency_ms"]["p95"] <= figures["latency_ms"]["p99"]
        # Throughput and mean latency are two sides of one thing.
        assert figures["images_per_second"] * figures["latency_ms"]["mean"] == pytest.approx(3 * 1000)
        assert figures["settings"]["workers"] == 1
        assert contents(model_dir) == before

    def test_sweep_goes_on_where_a_cell_runs_out_of_memory(self, tmp_path):
        folders = ("--data_dir", make_task(tmp_path), "--model_dir", tmp_path / "none")
        folders += ("--sweep_dir", tmp_path / "images")
        run_script(
            *("vnet_benchmark.py", "--mode", "predict", "--batch_size", 999999, 2, "--synthetic"),
            *folders + TINY_NETWORK + BENCHMARK,
            limit=12 * 10**9,
        )
        failed, measured = read_json(tmp_path, "images", "benchmark.json")["cells"]
        assert failed == dict(Cell("predict", 1, 999999, False)._asdict(), error="out of memory")
        assert measured["images_per_second"] > 0
        names = ["benchmark.json", "benchmark.md", "benchmark_latency.png", "benchmark_predict.png"]
        assert sorted(os.listdir(str(tmp_path / "images"))) == names
        assert "| 1 | 999999 | 16x16x16 | out of memory |" in (tmp_path / "images" / "benchmark.md").read_text()


class TestTwoWorkers:
    """Skipped without Horovod, which `make test` installs. What two of them predict is in test_several_workers.py."""

    @pytest.fixture(scope="class")
    def trained(self, tmp_path_factory):
        """(task's folder, folder of a model that two workers have trained on all of its cases)."""
        pytest.importorskip("horovod", reason="Horovod is not installed; `make test` installs it")
        folder = tmp_path_factory.mktemp("two")
        data_dir, model_dir = make_task(folder), str(folder / "model")
        folders = ("--data_dir", data_dir, "--model_dir", model_dir)
        arguments = ("--gpus", 2, "--batch_size", 2, "--epochs", 2) + SMALLEST_NETWORK
        run_script("vnet_train.py", *folders + arguments, environment=QUICK_START)
        return data_dir, model_dir

    def test_train_on_all_cases(self, trained):
        _, model_dir = trained
        split = read_json(model_dir, "split.json")
        assert len(split["training"]) == TRAINED + HELD_OUT and split["held_out"] == []
        assert read_json(model_dir, "params.json")["workers"] == 2
        # Five of the ten cases for each, in steps of two.
        assert checkpoint_steps(model_dir)[-1] == 2 * 3

    def test_benchmark_counts_both(self, trained, tmp_path):
        data_dir, model_dir = trained
        folders = ("--data_dir", data_dir, "--model_dir", model_dir, "--output", tmp_path / "figures.json")
        arguments = ("--mode", "train", "--gpus", 2, "--batch_size", 3) + TINY_NETWORK + BENCHMARK
        run_script("vnet_benchmark.py", *folders + arguments, environment=QUICK_START)
        figures = read_json(tmp_path, "figures.json")
        assert figures["settings"]["workers"] == 2
        # Rates of workers add up; they wait for each other at every step, so theirs are nearly equal.
        assert figures["images_per_second"] * figures["latency_ms"]["mean"] == pytest.approx(2 * 3 * 1000, rel=0.2)

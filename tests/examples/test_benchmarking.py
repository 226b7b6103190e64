"""What vnet_benchmark.py measures for which command line."""

import itertools
import os

import pytest
from launchers import Machine

from examples import benchmarking
from examples.benchmarking import Cell
from utils.system.errors import UserError

FOLDERS = ["--data_dir", "task", "--model_dir", "model"]


def parse(text):
    return benchmarking.parse("vnet_benchmark.py", "", FOLDERS + text.split())


def cells(modes, workers, batch_sizes, precisions):
    return tuple(Cell(*values) for values in itertools.product(modes, workers, batch_sizes, precisions))


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


class TestOneCell:
    def test_is_measured_alone(self):
        benchmark = parse("--mode train --gpus 1 --batch_size 8 --amp")
        assert benchmark.cells == (Cell("train", 1, 8, True),)
        assert benchmark.folder is None

    def test_one_worker_is_the_default(self):
        assert parse("--mode predict --batch_size 8").cells == (Cell("predict", 1, 8, False),)

    def test_hosts_say_how_many_workers(self):
        assert parse("--mode predict --batch_size 8 --hosts one:2,two:3").cells[0].workers == 5

    def test_flags_reach_main_py(self):
        benchmark = parse("--mode train --batch_size 8 --warmup_steps 3 --benchmark_steps 4 --synthetic --xla --seed 5")
        assert (
            benchmark.arguments_of(benchmark.cells[0], "figures.json")
            == (
                "--benchmark --exec_mode train --batch_size 8 --data_dir task --model_dir model --warmup_steps 3 "
                "--benchmark_steps 4 --synthetic --xla --seed 5 --output figures.json"
            ).split()
        )

    def test_output_only_where_it_is_asked_for(self):
        benchmark = parse("--mode train --batch_size 8 --amp")
        arguments = benchmark.arguments_of(benchmark.cells[0], benchmark.output)
        assert "--output" not in arguments
        assert arguments.count("--amp") == 1


class TestSeveralCells:
    def test_every_combination(self):
        benchmark = parse("--mode train --gpus 1 8 --batch_size 8 16 32")
        assert benchmark.cells == cells(["train"], [1, 8], [8, 16, 32], [False])
        assert benchmark.folder == benchmarking.IMAGES

    def test_braces_that_no_shell_has_expanded(self):
        benchmark = parse("--mode predict --gpus {1,8} --batch_size {8, 16, 32} [--amp]")
        assert benchmark.cells == cells(["predict"], [1, 8], [8, 16, 32], [False, True])

    @pytest.mark.parametrize("text", ["{}", "{,}", "8,x", "{0,1}", "-1", "8.5"])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(UserError, match="--batch_size: '.*' is not a whole number from 1|expected at least one"):
            parse("--mode train --batch_size " + text)


class TestSweep:
    def test_measures_the_published_tables(self):
        benchmark = parse("--sweep --gpus 8")
        assert benchmark.cells == cells(["train", "predict"], [1, 8], [2, 8, 16, 32], [False, True])
        assert benchmark.seconds is None
        assert "--warmup_steps" not in benchmark.arguments

    def test_two_workers_where_there_is_no_gpu(self):
        assert {cell.workers for cell in parse("--sweep").cells} == {1, 2}

    def test_all_gpus_where_there_are_some(self, tmp_path, monkeypatch):
        machine = Machine(tmp_path)
        machine.install("nvidia-smi", 'for n in 0 1 2 3; do echo "GPU $n: Tesla V100 (UUID: GPU-$n)"; done')
        monkeypatch.setenv("PATH", machine.bin)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert {cell.workers for cell in parse("--sweep").cells} == {1, 4}

    def test_one_worker_alone(self):
        assert {cell.workers for cell in parse("--sweep --gpus 1").cells} == {1}

    def test_narrowed_down(self):
        benchmark = parse("--sweep --mode train --batch_size 4 --gpus 2 4 --sweep_dir there --output figures.json")
        assert benchmark.cells == cells(["train"], [2, 4], [4], [False, True])
        assert (benchmark.folder, benchmark.output) == ("there", "figures.json")

    def test_quick_is_short(self):
        benchmark = parse("--sweep --quick")
        assert benchmark.cells == cells(["train", "predict"], [1, 2], [2, 8], [False, True])
        assert benchmark.seconds < 600
        assert "--warmup_steps 5 --benchmark_steps 20" in " ".join(benchmark.arguments)

    def test_quick_takes_what_is_given(self):
        benchmark = parse("--sweep --quick --batch_size 3 --benchmark_steps 7")
        assert {cell.batch_size for cell in benchmark.cells} == {3}
        assert "--warmup_steps 5 --benchmark_steps 7" in " ".join(benchmark.arguments)

    def test_cells_leave_their_figures_where_the_sweep_wants_them(self):
        benchmark = parse("--sweep --output all.json")
        arguments = benchmark.arguments_of(Cell("predict", 1, 2, True), "cell.json")
        assert arguments[-2:] == ["--output", "cell.json"] and "all.json" not in arguments
        assert "--amp" in arguments
        assert "--amp" not in benchmark.arguments_of(Cell("predict", 1, 2, False), "cell.json")


class TestRefusals:
    @pytest.mark.parametrize("text", ["", "--mode train", "--batch_size 2"])
    def test_what_to_measure_is_asked_for(self, text):
        with pytest.raises(UserError, match="--mode and --batch_size: are needed, or --sweep"):
            parse(text)

    def test_quick_alone(self):
        with pytest.raises(UserError, match="--quick: is a short form of --sweep: add that"):
            parse("--quick --mode train --batch_size 2")

    @pytest.mark.parametrize(
        "arguments, told",
        [
            ((), "--data_dir no_task: no such folder"),
            (("--no_such_flag",), "--no_such_flag: no such flag"),
            (("--benchmark_steps", "0"), "--benchmark_steps: '0' is not a whole number"),
        ],
    )
    def test_what_no_cell_could_do_is_said_before_the_first(self, tmp_path, arguments, told):
        ended = Machine(tmp_path).run(
            "vnet_benchmark.py", "--sweep", "--data_dir", "no_task", "--model_dir", "none", *arguments
        )
        assert (ended.status, ended.output) == (2, "")
        assert ended.errors.startswith("vnet_benchmark.py: error: " + told)
        assert ended.errors.count("\n") == 1

    def test_sweep_dir_is_the_projects_images(self):
        assert os.path.isdir(benchmarking.IMAGES) and os.path.basename(benchmarking.IMAGES) == "images"

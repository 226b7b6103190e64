"""Tables, plots and failures of a sweep."""

import json
import struct

import pytest

from examples import sweep_plots, sweep_report, sweeping
from examples.benchmarking import Benchmark, Cell

HARDWARE = {"cpu": "Xeon", "instructions": [], "cores": 2, "gpus": []}
RUNTIME = {"tensorflow": "tf2 2.15.1", "python": "3.11.7", "system": "Linux"}
SETTINGS = {"input_shape": [32, 32, 16], "synthetic": False, "xla": False, "task": "Hippocampus"}
SETTINGS.update(warmup_steps=5, benchmark_steps=20)


def row(mode, workers, batch_size, amp, speed):
    """What is known of a cell; `speed` in images per second, or what went wrong."""
    cell = Cell(mode, workers, batch_size, amp)._asdict()
    if isinstance(speed, str):
        return dict(cell, error=speed)
    latency = {"mean": 10.0, "p90": 11.0, "p95": 12.0, "p99": 13.5}
    settings = dict(SETTINGS, batch_size=batch_size, workers=workers, amp=amp, threads=4 // workers)
    runtime = dict(RUNTIME, **({"horovod": "0.28.1"} if workers > 1 else {}))
    return dict(
        cell, images_per_second=speed, latency_ms=latency, settings=settings, hardware=HARDWARE, runtime=runtime
    )


ROWS = [
    row("train", 1, 2, False, 10.0),
    row("train", 1, 2, True, 25.0),
    row("train", 4, 2, False, 32.0),
    row("train", 4, 2, True, "out of memory"),
    row("train", 1, 8, False, "a|b"),
    row("train", 1, 8, True, 40.0),
    row("train", 4, 8, False, 50.0),
    row("train", 4, 8, True, 100.0),
    row("predict", 1, 2, False, 123.456),
    row("predict", 1, 8, False, "not finished after 9 s"),
]


def lines(text, start):
    """The cells of the table lines that begin with `start`."""
    return [
        [word.strip() for word in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith(start)
    ]


class TestSummary:
    def test_what_all_cells_share_stands_once(self):
        summary = sweep_report.summary(ROWS)
        assert (summary["hardware"], summary["settings"]) == (HARDWARE, SETTINGS)
        assert summary["runtime"] == dict(RUNTIME, horovod="0.28.1")
        assert len(summary["cells"]) == len(ROWS)
        assert summary["cells"][3] == row("train", 4, 2, True, "out of memory")
        wanted = {"mode": "train", "workers": 1, "batch_size": 2, "amp": False, "images_per_second": 10.0, "threads": 4}
        assert summary["cells"][2]["threads"] == 1
        assert summary["cells"][0] == dict(wanted, latency_ms=ROWS[0]["latency_ms"])
        assert json.loads(json.dumps(summary)) == summary

    def test_where_nothing_was_measured(self):
        failed = [row("train", 1, 2, False, "out of memory")]
        assert sweep_report.summary(failed) == {"cells": failed}


class TestTables:
    @pytest.fixture
    def text(self):
        return sweep_report.markdown(sweep_report.summary(ROWS))

    def test_training(self, text):
        assert lines(text, "| 1 | 2 |")[0] == ["1", "2", "10.00", "25.00", "2.50", "N/A", "N/A"]
        assert lines(text, "| 4 | 8 |")[0] == ["4", "8", "50.00", "100.00", "2.00", "", "2.50"]

    def test_a_failed_cell_says_why(self, text):
        assert lines(text, "| 4 | 2 |")[0] == ["4", "2", "32.00", "out of memory", "", "3.20", ""]
        assert "| a\\|b |" in text

    def test_inference(self, text):
        assert lines(text, "| 1 | 2 |")[1] == ["1", "2", "32x32x16", "123.46", "10.00", "11.00", "12.00", "13.50"]
        assert lines(text, "| 1 | 8 |")[1] == ["1", "8", "32x32x16", "not finished after 9 s", "", "", "", ""]

    def test_every_row_is_as_wide_as_its_header(self, text):
        widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
        assert widths == {8, 9}

    def test_name_machine_runtime_and_settings(self, text):
        first = text.splitlines()[0]
        for part in ("2 cores of Xeon", "tf2 2.15.1", "Python 3.11.7", "the task Hippocampus", "5 warm-up steps"):
            assert part in first

    def test_where_nothing_was_measured(self):
        text = sweep_report.markdown(sweep_report.summary([row("predict", 2, 8, True, "exit status 1")]))
        assert lines(text, "| 2 | 8 |")[0][:4] == ["2", "8", "", "exit status 1"]

    def test_gpus_are_called_so(self):
        rows = [dict(ROWS[0], hardware=dict(HARDWARE, gpus=["V100"]))]
        assert "| GPUs |" in sweep_report.markdown(sweep_report.summary(rows))


class TestPlots:
    def draw(self, rows, tmp_path):
        paths = sweep_plots.draw(sweep_report.summary(rows), str(tmp_path / "benchmark"))
        for path in paths:
            with open(path, "rb") as file:
                head = file.read(24)
            assert head[:8] == b"\x89PNG\r\n\x1a\n"
            assert min(struct.unpack(">II", head[16:])) > 300
        return [path[len(str(tmp_path / "benchmark_")) : -len(".png")] for path in paths]

    def test_one_each_of_what_was_measured(self, tmp_path):
        assert self.draw(ROWS, tmp_path) == ["train", "predict", "scaling", "latency"]

    def test_scaling_needs_several_workers(self, tmp_path):
        assert self.draw(ROWS[:2], tmp_path) == ["train"]

    def test_mean_above_the_99th_percentile(self, tmp_path):
        rows = [dict(ROWS[8], latency_ms={"mean": 20.0, "p90": 1.0, "p95": 1.0, "p99": 2.0})]
        assert self.draw(rows, tmp_path) == ["predict", "latency"]

    def test_none_where_nothing_was_measured(self, tmp_path):
        assert self.draw([row("train", 1, 2, False, "out of memory")], tmp_path) == []


class TestReason:
    @pytest.mark.parametrize(
        "line",
        [
            "ResourceExhaustedError: OOM when allocating tensor with shape[32,32]",
            "numpy.core._exceptions.MemoryError: Unable to allocate 15.3 GiB for an array",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
            "OSError: [Errno 12] Cannot allocate memory",
        ],
    )
    def test_memory(self, line):
        assert sweeping.reason(1, ["Traceback", line, "bye"], None) == "out of memory"

    @pytest.mark.parametrize(
        "status, lines", [(137, []), (1, ["mpirun noticed that process rank 1 exited on signal 9 (Killed)."])]
    )
    def test_killed(self, status, lines):
        assert sweeping.reason(status, lines, None).startswith("killed, as the system does where memory runs out")

    def test_what_main_py_refuses(self):
        lines = ["main.py: error: 2 workers were started, but Horovod is not installed", "mpirun detected"]
        assert sweeping.reason(2, lines, None) == "2 workers were started, but Horovod is not installed"

    def test_time(self):
        assert sweeping.reason(None, ["error"], 12.3) == "not finished after 12 s"

    def test_anything_else(self):
        assert sweeping.reason(7, ["boom"], None) == "exit status 7"


class TestTime:
    def test_cells_share_what_is_left(self, tmp_path, capsys):
        benchmark = Benchmark((Cell("train", 1, 2, False),) * 2, [], None, "mpirun", None, str(tmp_path), 0.0)
        assert sweeping.run(benchmark) == 1
        with open(str(tmp_path / "benchmark.json")) as file:
            assert [cell["error"] for cell in json.load(file)["cells"]] == ["not measured: the time was over"] * 2
        assert "written: " + str(tmp_path / "benchmark.md") in capsys.readouterr().out

    def test_what_takes_longer_is_ended(self, tmp_path):
        # Not even TensorFlow is loaded by then.
        benchmark = Benchmark((Cell("train", 1, 2, False),), [], None, "mpirun", None, str(tmp_path), 0.01)
        assert sweeping.run(benchmark) == 1
        with open(str(tmp_path / "benchmark.json")) as file:
            assert json.load(file)["cells"][0]["error"] == "not finished after 0 s"

"""The benchmark from the command line: tiny runs of real contenders, and contenders that fail."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import bench, child
from benchmarks.child import Child, ContenderFailed
from benchmarks.network import Network
from benchmarks.registry import BY_NAME, Cell
from benchmarks.turns import Turns

PROJECT = bench.registry.PROJECT
TINY = ["--input_shape", "4", "4", "4", "--downscale_blocks", "1", "--upscale_blocks", "1", "--product_side", "32"]
TINY += ["--train_batch_sizes", "2", "--predict_batch_sizes", "1", "--rounds", "2", "--seconds", "0.05"]

READY = '{"version": "stand-in 1", "parameters": null, "left_out": {}, "processes": [%d]}'
# A contender that says it is ready, counts for ever in a file, and answers each order.
COUNTING = """
import os, sys, threading, time
def count():
    number = 0
    while True:
        number += 1
        open(sys.argv[1] + ".new", "w").write(str(number))
        os.replace(sys.argv[1] + ".new", sys.argv[1])
        time.sleep(0.001)
threading.Thread(target=count, daemon=True).start()
print('{}' % os.getpid(), flush=True)
for line in sys.stdin:
    print('{{"rate": 5.0, "steps": 1, "peak_megabytes": 1.0}}', flush=True)
""".format(READY)


def python(text, *arguments):
    """The command line of a contender that is a few lines of Python."""
    return [sys.executable, "-c", text] + [str(argument) for argument in arguments]


def run_bench(*arguments):
    """Run bench.py in a process of its own; return its status, output and errors."""
    finished = subprocess.run(
        [sys.executable, os.path.join(PROJECT, "benchmarks", "bench.py")] + [str(word) for word in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    return finished.returncode, finished.stdout, finished.stderr


def running(process):
    """Whether a process is there, and no more than a name of one that has ended."""
    try:
        with open("/proc/{}/stat".format(process)) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def child_of(process):
    """Whether this program started a process."""
    try:
        with open("/proc/{}/stat".format(process)) as file:
            return int(file.read().rsplit(")", 1)[1].split()[1]) == os.getpid()
    except OSError:
        return False


class TestRun:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("bench")
        patterns = ["original:train", "ours-float32", "pytorch-float32:train", "products:product:float32"]
        status, output, errors = run_bench(
            "--output", folder, "--torch_python", folder / "none", "--only", *patterns, *TINY
        )
        assert status == 0, errors
        with open(str(folder / "benchmark_speed.json"), encoding="utf-8") as file:
            return folder, output, json.load(file)

    def test_every_cell_has_its_rounds(self, run):
        cells = {cell["name"]: cell for cell in run[2]["cells"]}
        assert set(cells) == {
            "original:train:2",
            "ours-float32:train:2",
            "ours-float32:predict:1",
            "products:product:float32",
        }
        for name, cell in cells.items():
            # Products are measured beside training and beside prediction.
            assert len(cell["rounds"]) == (4 if "product" in name else 2) and min(cell["rounds"]) > 0
        assert cells["ours-float32:train:2"]["to_original"]["median"] > 0
        assert cells["ours-float32:predict:1"]["of_limit"]["median"] > 0

    def test_a_contender_that_cannot_be_measured_is_told(self, run):
        reason = run[2]["not_measured"]["pytorch-float32"]
        assert list(run[2]["not_measured"]) == ["pytorch-float32"] and "PyTorch is not installed" in reason
        assert "* pytorch-float32: {}".format(reason) in run[1]

    def test_tables_and_plot_lie_beside_the_figures(self, run):
        folder, output, _ = run
        assert (folder / "benchmark_speed.md").read_text(encoding="utf-8") in output
        assert (folder / "benchmark_speed.png").read_bytes().startswith(b"\x89PNG")

    def test_memory_and_versions_are_noted(self, run):
        circumstances = run[2]["run"]
        assert circumstances["versions"][0].startswith("tf") and len(circumstances["versions"]) == 1
        assert min(circumstances["peak_megabytes"].values()) > 50


class TestWorkers:
    def test_one_per_core_and_what_is_missing_is_told(self, tmp_path):
        pytest.importorskip("horovod.tensorflow", reason="Horovod is not installed; `make test` installs it")
        options = bench.parse(["--only", "ours-workers-float32:train"] + TINY)
        contender = BY_NAME["ours-workers-float32"]
        if bench.registry.workers(contender) == 1:
            pytest.skip("one core is one worker")
        with Turns(options.cells, lambda *which: bench.command(options, *which), options.network, print) as turns:
            turns.round(0.05)
        assert turns.failures == {}
        (rates,) = turns.rates.values()
        assert rates[0] > 0


class TestRefusals:
    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["--rounds", "0"], "--rounds: '0' is not a whole number"),
            (["--seconds", "nan"], "--seconds: 'nan' is not a number above 0"),
            (["--only", "theirs"], "--only theirs: matches no cell"),
            (["--input_shape", "12", "8", "8"], "--input_shape: 3 levels need multiples of 8"),
            (["--upscale_blocks", "1"], "--upscale_blocks: takes 2 or 3 entries"),
            (["--what"], "--what: belongs to no flag"),
        ],
    )
    def test_in_one_line(self, capsys, arguments, words):
        assert bench.main(arguments) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("bench.py: error: " + words) and errors.count("\n") == 1

    def test_nothing_could_be_measured(self, capsys, tmp_path):
        arguments = ["--output", str(tmp_path), "--torch_python", str(tmp_path / "none"), "--only", "pytorch-*"]
        assert bench.main(arguments) == 2
        assert "nothing could be measured: pytorch-float32: PyTorch is not" in capsys.readouterr().err


class TestChild:
    def test_counts_only_while_it_is_its_turn(self, tmp_path):
        path = tmp_path / "count"
        contender = Child(python(COUNTING, path))

        def counted():
            start = path.read_text()
            time.sleep(0.2)
            return path.read_text() != start

        try:
            assert contender.run("train:2", 0.1)["rate"] == 5.0
            while not path.exists():
                # On a busy machine it may take its time to begin.
                time.sleep(0.05)
            assert counted()
            contender.pause()
            time.sleep(0.05)
            assert not counted()
            contender.resume()
            assert contender.run("train:2", 0.1)["rate"] == 5.0 and counted()
            contender.pause()
        finally:
            contender.close()
        assert not running(contender.description["processes"][0])

    @pytest.mark.parametrize(
        "text, words",
        [
            ("import sys; sys.exit('no kernel here')", "ended with status 1: no kernel here"),
            ("import os; os.kill(os.getpid(), 9)", "killed by the system"),
            ("""print('{"error": "no Horovod"}', flush=True)""", "^no Horovod$"),
        ],
    )
    def test_a_start_that_fails(self, text, words):
        with pytest.raises(ContenderFailed, match=words):
            Child(python(text))

    def test_a_program_that_is_not_there(self, tmp_path):
        with pytest.raises(ContenderFailed, match="cannot be started: No such file"):
            Child([str(tmp_path / "none")])

    def test_one_that_says_nothing(self, monkeypatch):
        monkeypatch.setattr(child, "SECONDS_TO_START", 0.1)
        with pytest.raises(ContenderFailed, match="gave no answer"):
            Child(python("import sys; sys.stdin.read()"))

    def test_ends_with_the_program_that_started_it(self):
        text = "import sys; sys.path.insert(0, {!r}); from benchmarks.child import Child; import os, signal\n"
        text += "print(Child([sys.executable, '-c', {!r}, {!r}]).description['processes'][0], flush=True)\n"
        text += "os.kill(os.getpid(), signal.SIGKILL)"
        finished = subprocess.run(
            python(text.format(PROJECT, COUNTING, os.devnull + "/none")), stdout=subprocess.PIPE, timeout=60
        )
        assert finished.returncode == -signal.SIGKILL
        process = int(finished.stdout)
        deadline = time.monotonic() + 30
        while running(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(process)


class Rounds:
    """Stands in for the turns and for the clock: rounds that take so many seconds each, and the time after them."""

    def __init__(self, *seconds):
        self.now, self.asked = 0.0, []
        self._seconds = iter(seconds)

    def monotonic(self):
        return self.now

    def round(self, seconds):
        self.asked.append(seconds)
        self.now += next(self._seconds)


class TestMinutes:
    def rounds(self, monkeypatch, seconds, start=0.0):
        """How many rounds a minute has, of four that take so many seconds each, where starting took `start` s."""
        options = bench.parse(["--rounds", "4", "--minutes", "1", "--seconds", "2.5"])
        turns = Rounds(*seconds)
        monkeypatch.setattr(bench, "time", turns)
        count = bench._rounds(turns, options, -start)
        assert turns.asked == [2.5] * count
        return count

    @pytest.mark.parametrize("seconds", [(15, 15, 15, 15), (26, 10, 10, 10), (3, 2, 1, 500)])
    def test_all_rounds_that_are_asked_for(self, monkeypatch, capsys, seconds):
        assert self.rounds(monkeypatch, seconds) == 4
        assert capsys.readouterr().out.splitlines() == ["round {} of 4".format(number) for number in range(1, 5)]

    @pytest.mark.parametrize(
        "seconds, start, count",
        [
            ((20, 20, 20, 20), 0, 3),
            # Starting the contenders takes some of the time.
            ((20, 20, 20, 20), 1, 2),
            # The next one will take as long as the last one did.
            ((10, 26, 1, 1), 0, 2),
            # The first one is measured in any case.
            ((500, 1, 1, 1), 0, 1),
        ],
    )
    def test_none_begins_that_would_end_later(self, monkeypatch, capsys, seconds, start, count):
        assert self.rounds(monkeypatch, seconds, start) == count
        told = "stopped after {} rounds: another would not end within 1 minutes".format(count)
        assert capsys.readouterr().out.splitlines()[-1] == told


class TestTurns:
    PRODUCT, OTHER = Cell("products", "product", "float32"), Cell("pytorch-products", "product", "float32")

    def test_one_that_dies_is_told_and_the_others_go_on(self, tmp_path):
        told = []
        dying = "import os, sys\nprint('{}' % os.getpid(), flush=True)\nsys.stdin.readline(); sys.exit('no memory')"

        def command(contender, cells):
            return python(COUNTING, tmp_path / "count") if contender.name == "products" else python(dying.format(READY))

        with Turns((self.OTHER, self.PRODUCT), command, Network(), told.append) as turns:
            turns.round(0.1)
            turns.round(0.1)
        assert turns.rates == {self.OTHER: [None, None], self.PRODUCT: [5.0, 5.0]}
        assert turns.failures == {"pytorch-products": "ended with status 1: no memory"}
        assert "pytorch-products: not measured: ended with status 1: no memory" in told

    def test_another_network_is_no_contender(self, tmp_path):
        text = COUNTING.replace('"parameters": null', '"parameters": 17')
        cell = Cell("pytorch-float32", "train", "2")
        with Turns((cell,), lambda *which: python(text, tmp_path / "count"), Network(), print) as turns:
            turns.round(0.1)
        assert "another network: 17 parameters, not" in turns.failures["pytorch-float32"]
        assert turns.rates == {cell: [None]}

    def test_an_interrupted_run_leaves_nothing_running(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            with Turns((self.PRODUCT,), lambda *which: python(COUNTING, tmp_path / "count"), Network(), print):
                children = [int(name) for name in os.listdir("/proc") if name.isdigit() and child_of(name)]
                raise KeyboardInterrupt
        assert children and not any(map(running, children))

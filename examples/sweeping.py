"""Measures all cells of a benchmark's tables, one after the other, whatever becomes of each."""

import os
import re
import sys
import tempfile
import time

from examples import sweep_plots, sweep_report
from examples.processes import Process, in_words
from utils.system.errors import UserError
from utils.system.files import read_json, replace_on_success, write_json_atomically
from utils.system.progress import say

NAME = "benchmark"
OUT_OF_MEMORY = re.compile(
    r"out of memory|\bOOM\b|resource ?exhausted|(cannot|unable to) allocate|bad_alloc|MemoryError", re.IGNORECASE
)
MAIN_ERROR = "main.py: error: "
# Linux kills what asks for more memory than there is.
KILLED = re.compile(r"signal 9\b")
KILLED_STATUS = 137
LINES_SHOWN = 30
LONGEST_REASON = 100
# A cell may take this many times its even share of the time that is left.
SHARES = 3


def run(benchmark):
    """Measures every cell and writes JSON, Markdown and plots; returns the exit status.

    It is 0 where at least one cell could be measured, 1 where none could, 128 + n after signal n.

    Args:
        benchmark: an `examples.benchmarking.Benchmark` with a folder.
    """
    json_path = benchmark.output or os.path.join(benchmark.folder, NAME + ".json")
    deadline = None if benchmark.seconds is None else time.monotonic() + benchmark.seconds
    rows = []
    for number, cell in enumerate(benchmark.cells):
        row, signal_number = _measure(benchmark, cell, _allowance(deadline, len(benchmark.cells) - number))
        if signal_number is not None:
            return 128 + signal_number
        rows.append(row)
        print("{}: {}".format(sweep_report.cell_name(row), sweep_report.cell_figures(row)), flush=True)
        # After each cell, so that what was measured outlives whatever comes.
        write_json_atomically(json_path, sweep_report.summary(rows))
    return _conclude(benchmark, json_path, sweep_report.summary(rows))


def _conclude(benchmark, json_path, summary):
    tables = sweep_report.markdown(summary)
    markdown_path = os.path.join(benchmark.folder, NAME + ".md")
    with replace_on_success(markdown_path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(tables)
    plots = sweep_plots.draw(summary, os.path.join(benchmark.folder, NAME))
    print("\n" + tables)
    for path in [json_path, markdown_path] + plots:
        print("written: {}".format(path))
    return 0 if any("error" not in row for row in summary["cells"]) else 1


def _allowance(deadline, cells_left):
    """Seconds for the next cell, or None where there is no limit."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    return max(0.0, min(left, SHARES * left / cells_left))


def _measure(benchmark, cell, seconds):
    """Returns (row of the cell, None), or (None, signal number) where a signal asked this program to end."""
    row = cell._asdict()
    if seconds is not None and seconds <= 0:
        return dict(row, error="not measured: the time was over"), None
    with tempfile.TemporaryDirectory() as folder:
        output, log = os.path.join(folder, "output.json"), os.path.join(folder, "log")
        try:
            command = benchmark.command(cell, output)
        except UserError as error:
            return dict(row, error=str(error)), None
        say(in_words(command))
        with open(log, "wb") as file, Process(command, stdout=file, stderr=file) as process:
            status = process.wait(seconds)
        if process.received is not None:
            return None, process.received
        if status == 0:
            return dict(row, **read_json(output)), None
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        print("\n".join(lines[-LINES_SHOWN:]), file=sys.stderr, flush=True)
        return dict(row, error=reason(status, lines, seconds)), None


def reason(status, lines, seconds):
    """Returns in a few words why a measurement gave no figures.

    Args:
        status: its exit status, or None where it took too long.
        lines: list of str, what it wrote.
        seconds: how long it was allowed to take.
    """
    if status is None:
        return "not finished after {:.0f} s".format(seconds)
    if any(OUT_OF_MEMORY.search(line) for line in lines):
        return "out of memory"
    errors = [line.split(MAIN_ERROR, 1)[1] for line in lines if MAIN_ERROR in line]
    if errors:
        return errors[-1][:LONGEST_REASON]
    if status == KILLED_STATUS or any(KILLED.search(line) for line in lines):
        return "killed, as the system does where memory runs out"
    return "exit status {}".format(status)

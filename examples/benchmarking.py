"""What vnet_benchmark.py measures: one cell of the tables, or all cells of a sweep."""

import argparse
import itertools
import os
import signal
import sys
from typing import List, NamedTuple, Optional, Tuple

from examples import launching
from utils import params
from utils.imaging import tasks
from utils.system import hardware
from utils.system.errors import UserError, refuse

MODES = ("train", "predict")
BATCH_SIZES = (2, 8, 16, 32)
WORKERS_WITHOUT_GPU = 2
IMAGES = os.path.join(os.path.dirname(launching.MAIN), "images")
# What --quick measures: little enough for 10 minutes on two cores, however slow they are.
QUICK_BATCH_SIZES = (2, 8)
QUICK_STEPS = {"warmup_steps": "5", "benchmark_steps": "20"}
QUICK_SECONDS = 570
# As in the published command lines, where it means: with and without.
BOTH_PRECISIONS = "[--amp]"


class Cell(NamedTuple):
    """One measurement: main.py's exec_mode, its workers, images per step of each, mixed precision or not."""

    mode: str
    workers: int
    batch_size: int
    amp: bool


class Benchmark(NamedTuple):
    """What is to be measured.

    Attributes:
        cells: all measurements.
        arguments: main.py's flags that are the same for all.
        hosts, launcher: as `launching.workers_command` takes them.
        output: JSON file of the figures, or None.
        folder: where a sweep's files go; None where there is one cell alone and no sweep.
        seconds: how long a sweep may take, or None.
    """

    cells: Tuple[Cell, ...]
    arguments: List[str]
    hosts: Optional[List[Tuple[str, int]]]
    launcher: str
    output: Optional[str]
    folder: Optional[str]
    seconds: Optional[float]

    def arguments_of(self, cell, output):
        """Returns main.py's flags for one cell, which leaves its figures in the file `output` (None: nowhere)."""
        arguments = ["--benchmark", "--exec_mode", cell.mode, "--batch_size", str(cell.batch_size)]
        arguments += ["--amp"] * cell.amp + self.arguments
        return arguments + (["--output", output] if output else [])

    def command(self, cell, output):
        """Returns the command line of one cell; raises UserError where there is none."""
        workers = launching.worker_count(cell.workers, self.hosts)
        command = launching.main_command(self.arguments_of(cell, output))
        return launching.workers_command(command, workers, self.hosts, self.launcher)


def main(program, description, argv=None):
    """Measures what a command line asks for; returns the exit status."""
    try:
        benchmark = parse(program, description, argv)
        if benchmark.folder is None:
            return launching.run(benchmark.command(benchmark.cells[0], benchmark.output))
        # What no cell could do is said once, before the first.
        settings = params.from_command_line(benchmark.arguments_of(benchmark.cells[0], benchmark.output))
        tasks.read_task(settings["data_dir"])
        from examples import sweeping

        return sweeping.run(benchmark)
    except UserError as error:
        return refuse(program, error)
    except KeyboardInterrupt:
        # Between two cells; while one runs, it gets the signal.
        return 128 + signal.SIGINT


def parse(program, description, argv=None):
    """Returns the Benchmark of a command line; raises UserError where it asks for none."""
    parser = build_parser(program, description)
    words = sys.argv[1:] if argv is None else argv
    given, others = parser.parse_known_args([word for word in words if word != BOTH_PRECISIONS])
    if given.quick and not given.sweep:
        raise UserError("--quick: is a short form of --sweep: add that")
    if not given.sweep and not (given.mode and given.batch_size):
        raise UserError("--mode and --batch_size: are needed, or --sweep")
    cells = tuple(
        Cell(*values)
        for values in itertools.product(
            [given.mode] if given.mode else MODES,
            _worker_counts(given),
            _batch_sizes(given),
            (False, True) if given.sweep or BOTH_PRECISIONS in words else (given.amp,),
        )
    )
    sweeps = given.sweep or len(cells) > 1
    for name, value in QUICK_STEPS.items() if given.quick else ():
        if getattr(given, name) is None:
            setattr(given, name, value)
    names = ("data_dir", "model_dir", "warmup_steps", "benchmark_steps", "synthetic", "xla")
    return Benchmark(
        cells=cells,
        arguments=launching.flags_of(given, names) + others,
        hosts=given.hosts,
        launcher=given.launcher,
        output=given.output,
        folder=given.sweep_dir if sweeps else None,
        seconds=QUICK_SECONDS if given.quick else None,
    )


def build_parser(program, description):
    """Returns the parser of vnet_benchmark.py's flags."""
    parser = launching.build_parser(program, description)
    launching.add_folders(parser)
    parser.add_argument("--mode", choices=MODES, help="what to measure (default with --sweep: both)")
    parser.add_argument(
        "--gpus",
        type=read_counts,
        nargs="+",
        metavar="N",
        help=launching.GPUS_HELP + "; several values are measured one by one, and --sweep measures 1 and N",
    )
    parser.add_argument(
        "--batch_size",
        type=read_counts,
        nargs="+",
        metavar="N",
        help="images per step of each worker; several values are measured one by one (default with --sweep: {})".format(
            " ".join(map(str, BATCH_SIZES))
        ),
    )
    parser.add_argument("--amp", action="store_true", help=launching.flag_help("amp") + "; --sweep measures both")
    parser.add_argument("--xla", action="store_true", help=launching.flag_help("xla"))
    parser.add_argument("--warmup_steps", metavar="N", help="steps before the measured ones (default: 200)")
    parser.add_argument("--benchmark_steps", metavar="N", help="steps that are measured (default: 200)")
    parser.add_argument("--synthetic", action="store_true", help="measure the network alone, on one batch of noise")
    parser.add_argument("--output", metavar="FILE", help="JSON file of the figures")
    launching.add_machines(parser)
    parser.add_argument("--sweep", action="store_true", help="measure every combination, and make tables and plots")
    parser.add_argument("--sweep_dir", default=IMAGES, metavar="DIR", help="folder of these (default: images/)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="with --sweep: batch sizes {} and {warmup_steps} + {benchmark_steps} steps, 10 minutes at most".format(
            " ".join(map(str, QUICK_BATCH_SIZES)), **QUICK_STEPS
        ),
    )
    return parser


def read_counts(text):
    """Returns "8", "{1,8}" or a part of the latter, such as "8,", as a list of int.

    Raises argparse.ArgumentTypeError for anything else than whole numbers from 1 to 999999.
    """
    counts = [launching.read_count(part) for part in text.strip("{}").split(",") if part]
    if not counts:
        raise argparse.ArgumentTypeError("{!r} is not a whole number from 1 to 999999".format(text))
    return counts


def _worker_counts(given):
    counts = _flat(given.gpus)
    if not counts and (given.hosts or not given.sweep):
        counts = [launching.worker_count(None, given.hosts)]
    elif not counts:
        counts = [len(hardware.gpu_names()) or WORKERS_WITHOUT_GPU]
    if given.sweep and len(counts) == 1:
        counts = sorted({1, counts[0]})
    return counts


def _batch_sizes(given):
    return _flat(given.batch_size) or (QUICK_BATCH_SIZES if given.quick else BATCH_SIZES)


def _flat(lists):
    return [value for values in lists or [] for value in values]

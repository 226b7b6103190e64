"""The process of one contender: builds its graphs once, then runs the cell it is told to for as long as it is told.

It is started as `python -m benchmarks.contender NAME ...`, by itself or as several workers. The orders come on the
first worker's standard input, {"cell": ..., "seconds": ...} a line; the answers go to its standard output. The end
of the input ends it.
"""

import argparse
import importlib
import json
import math
import os
import resource
import sys
import time

from benchmarks.child import die_with_parent
from benchmarks.network import Network
from benchmarks.registry import BY_NAME

WARM_UP_STEPS = 2
END = -1


class Built:
    """What a contender's module makes of its cells.

    Args:
        version: what it runs on, such as "tf2 2.15.1".
        parameters: number of trained parameters, None where it has no network.
        steps: dict from a cell's name to (function without arguments that does one step and returns a number that
            must be finite, work of a step of one worker: images, or GFLOP of a product).
        left_out: dict from a cell's name to why it cannot be measured.
        workers: all workers, with `size`, `rank` and `gather`, as `utils.running.workers.Workers` has them.
    """

    def __init__(self, version, parameters, steps, left_out=None, workers=None):
        self.version = version
        self.parameters = parameters
        self.names = sorted(steps)
        self.steps = [steps[name][0] for name in self.names]
        self.work = [steps[name][1] for name in self.names]
        self.left_out = left_out or {}
        self.workers = workers or Alone()


class Alone:
    """The one worker of a contender that exchanges nothing."""

    size = 1
    rank = 0

    def gather(self, rows):
        """The rows themselves."""
        return rows


def main(argv=None):
    """Serves one contender until the input ends; returns the exit status."""
    die_with_parent()
    given = parse(argv)
    # Libraries that write to the standard output must not write into the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        module = importlib.import_module("benchmarks." + BY_NAME[given.contender].module)
        _serve(module.build(given, BY_NAME[given.contender]), answers)
    except Exception as error:
        _write(answers, {"error": _in_one_line(error)})
        raise
    return 0


def parse(argv=None):
    """Returns the namespace of its command line: contender, cells (of "kind:variant"), network, product_side."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.contender", description="One contender, run by benchmarks/bench.py."
    )
    parser.add_argument("contender", choices=sorted(BY_NAME))
    parser.add_argument("cells", nargs="+", metavar="KIND:VARIANT")
    parser.add_argument("--network", required=True, type=json.loads, help="fields of a Network, as JSON")
    parser.add_argument("--product_side", required=True, type=int, metavar="N")
    given = parser.parse_args(argv)
    given.network = Network(*(tuple(value) if isinstance(value, list) else value for value in given.network))
    return given


def _in_one_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _write(stream, value):
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def _serve(built, answers):
    workers = built.workers
    seconds = [_warm_up(step, workers) for step in built.steps]
    processes = [int(row[0]) for row in workers.gather([[os.getpid()]])]
    if workers.rank == 0:
        described = {"version": built.version, "parameters": built.parameters, "left_out": built.left_out}
        _write(answers, dict(described, processes=processes))
    while True:
        number, count = _order(built, seconds)
        if number == END:
            return
        built.steps[number]()
        workers.gather([[0]])
        own = _timed(built.steps[number], count, built.names[number])
        slowest = max(row[0] for row in workers.gather([[own]]))
        seconds[number] = slowest / count
        memory = sum(row[0] for row in workers.gather([[resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]]))
        if workers.rank == 0:
            rate = built.work[number] * count * workers.size / slowest
            _write(answers, {"rate": rate, "steps": count, "seconds": slowest, "peak_megabytes": memory * 1024 / 1e6})


def _warm_up(step, workers):
    """Seconds of a step once the graph is optimised."""
    for _ in range(WARM_UP_STEPS - 1):
        step()
    workers.gather([[0]])
    return _timed(step, 1, "the warm-up")


def _timed(step, count, name):
    start = time.perf_counter()
    for _ in range(count):
        value = step()
    seconds = time.perf_counter() - start
    if not math.isfinite(value):
        raise FloatingPointError("{}: the result is not a number".format(name))
    return seconds


def _order(built, seconds_per_step):
    """The number of the cell to run and of its steps, the same for all workers: the first one reads it."""
    told = [END, 0]
    if built.workers.rank == 0:
        line = sys.stdin.readline()
        if line:
            order = json.loads(line)
            number = built.names.index(order["cell"])
            told = [number, max(1, round(order["seconds"] / seconds_per_step[number]))]
    number, count = built.workers.gather([told])[0]
    return int(number), int(count)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Measures this recipe beside the original's graph, PyTorch and the machine's limit, by turns in one run.

On the processor's cores, whatever GPUs there are; those are measured by examples/vnet_benchmark.py.
"""

import argparse
import json
import os
import platform
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

PROGRAM = "bench.py"

with startup.loading(PROGRAM):
    from benchmarks import figures, program, registry, report
    from benchmarks.child import ContenderFailed
    from benchmarks.network import Network
    from benchmarks.turns import Turns
    from examples import launching
    from utils.config.plain_parser import PlainParser
    from utils.model_dir import provenance
    from utils.system import hardware
    from utils.system.errors import UserError
    from utils.system.files import replace_on_success, write_json_atomically

NAME = "benchmark_speed"
RESULTS = os.path.join(registry.PROJECT, "results", "speed")
QUICK = {"rounds": 1, "seconds": 1.0}


def main(argv=None):
    """Measures what a command line asks for, and writes and prints the figures; returns the exit status."""
    return program.status_of(PROGRAM, lambda: _measure(parse(argv)))


def _measure(options):
    _prepare(options.output)
    run(options)


def parse(argv=None):
    """Returns the namespace of a command line; raises UserError where it asks for nothing that can be done."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UserError("{}: belongs to no flag (see --help)".format(unknown[0]))
    if options.quick:
        for name, value in QUICK.items():
            setattr(options, name, value)
    options.network = Network(
        tuple(options.input_shape), tuple(options.downscale_blocks), tuple(options.upscale_blocks)
    )
    _check(options.network)
    options.cells = registry.cells(options.train_batch_sizes, options.predict_batch_sizes, options.only)
    return options


def build_parser():
    """Returns the parser of its flags."""
    parser = PlainParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    network = Network()

    def add(name, default, help, **options):
        text = " ".join(map(str, default)) if isinstance(default, tuple) else default
        help = "{} (default: {})".format(help, text) if default else help
        parser.add_argument("--" + name, default=default, help=help, **options)

    counts = {"type": launching.read_count, "nargs": "+", "metavar": "N"}
    add("train_batch_sizes", (2, 8), "images per step of each worker in training", **counts)
    add("predict_batch_sizes", (8, 32), "images per step of each worker in inference", **counts)
    add("rounds", 5, "how often each is measured", type=launching.read_count, metavar="N")
    add("seconds", 2.5, "how long each is measured in a round, products half as long", type=_positive, metavar="R")
    add("minutes", 11.0, "no round begins that would end later", type=_positive, metavar="R")
    parser.add_argument("--quick", action="store_true", help="one round of one second each")
    add("only", (), "measure only these cells, such as ours-mixed or '*:train:2'", nargs="+", metavar="PATTERN")
    add("output", RESULTS, "folder of the figures", metavar="DIR")
    add("torch_python", registry.TORCH_PYTHON, "the interpreter that has PyTorch", metavar="FILE")
    add("input_shape", network.input_shape, "voxels of an image", **dict(counts, nargs=3))
    add("downscale_blocks", network.downscale_blocks, "as main.py's", **counts)
    add("upscale_blocks", network.upscale_blocks, "as main.py's", **counts)
    add("product_side", 2048, "rows of the matrices that are multiplied", type=launching.read_count, metavar="N")
    return parser


def _positive(text):
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e6:
        raise argparse.ArgumentTypeError("{!r} is not a number above 0".format(text))
    return number


def _check(network):
    levels = len(network.downscale_blocks)
    if len(network.upscale_blocks) not in (max(1, levels - 1), levels):
        raise UserError("--upscale_blocks: takes {} or {} entries".format(max(1, levels - 1), levels))
    if any(size % 2**levels for size in network.input_shape):
        raise UserError("--input_shape: {} levels need multiples of {}".format(levels, 2**levels))


def _prepare(folder):
    """Makes the folder of the figures, now rather than when the measuring is done."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError("--output {}: cannot be made: {}".format(folder, error.strerror)) from error


def run(options):
    """Measures and writes; raises UserError where no cell could be measured, or a file not be written."""
    start = time.monotonic()
    # PyTorch is measured on the processor, and so is the limit.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with Turns(options.cells, lambda *which: command(options, *which), options.network, _say) as turns:
        rounds = _rounds(turns, options, start)
        found = figures.Figures(turns.rates, options.network)
        circumstances = {
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "revision": provenance.revision(),
            "versions": turns.versions,
            "python": platform.python_version(),
            "hardware": hardware.describe(),
            "rounds": rounds,
            "seconds": options.seconds,
            "product_side": options.product_side,
            "peak_megabytes": turns.memory,
            "workers_per_core": registry.workers(registry.BY_NAME["ours-workers-float32"]),
            "minutes": (time.monotonic() - start) / 60.0,
        }
        failures = turns.failures
    if not any(found.rate(cell) for cell in found.rates):
        raise UserError("nothing could be measured: {}".format("; ".join(map(": ".join, failures.items()))))
    write(options.output, found, options.network, circumstances, failures)


def _rounds(turns, options, start):
    """Goes round until all rounds are done, or until the time is up; returns how many rounds there were."""
    for number in range(1, options.rounds + 1):
        began = time.monotonic()
        _say("round {} of {}".format(number, options.rounds))
        turns.round(options.seconds)
        now = time.monotonic()
        if number < options.rounds and now + (now - began) - start > 60.0 * options.minutes:
            _say("stopped after {} rounds: another would not end within {:g} minutes".format(number, options.minutes))
            return number
    return options.rounds


def command(options, contender, cells):
    """Returns the command line of a contender's process; raises ContenderFailed where it can't be started here."""
    python = sys.executable
    if contender.torch:
        python = options.torch_python
        if not os.path.isfile(python):
            raise ContenderFailed("PyTorch is not installed: `make bench` installs it in an environment of its own")
    words = [python, "-m", "benchmarks.contender", contender.name] + [":".join(cell[1:]) for cell in cells]
    words += ["--network", json.dumps(options.network), "--product_side", str(options.product_side)]
    workers = registry.workers(contender)
    if contender.per_core and workers == 1:
        raise ContenderFailed("this machine has one core, and one worker per core is one worker")
    try:
        return launching.workers_command(words, workers, None, launching.LAUNCHERS[0])
    except UserError as error:
        raise ContenderFailed(str(error)) from error


def write(folder, found, network, circumstances, failures):
    """Writes the figures as JSON, Markdown and PNG into a folder, and prints the tables."""
    base = os.path.join(folder, NAME)
    value = dict({"run": circumstances}, **figures.summary(found, network, failures))
    write_json_atomically(base + ".json", value)
    tables = report.markdown(found, network, circumstances, failures)
    with replace_on_success(base + ".md") as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(tables)
    report.draw(found, network, circumstances, base + ".png")
    print("\n" + tables)
    _say("figures: {0}.json, {0}.md, {0}.png".format(base))


def _say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

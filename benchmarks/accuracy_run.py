#!/usr/bin/env python3
"""Times the recipe's accuracy run beside the same run of the original's graph, from the command to the scores.

Both read the task, train for as many epochs on the same cases, keep checkpoints, and evaluate the held-out cases. This
recipe's run has a worker per core, each with its own batches, so that it makes fewer and larger steps; it evaluates and
saves after every epoch, as main.py does unless told otherwise. The original's has one process, and evaluates and saves
at its end.

They take turns, each stopped while the other runs, and what is counted is each one's own time. The times and rates in
their own logs include the other's turns. Only the processor is measured, whatever GPUs there are.
"""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

PROGRAM = "accuracy_run.py"

with startup.loading(PROGRAM):
    from benchmarks import program, registry
    from benchmarks.child import die_with_parent
    from examples import launching
    from examples.processes import descendants, in_words
    from utils import params
    from utils.config.plain_parser import PlainParser
    from utils.model_dir import provenance
    from utils.system import environment, hardware
    from utils.system.errors import UserError
    from utils.system.files import read_json, write_json_atomically
    from utils.system.progress import say

NAME = "accuracy_run.json"
RESULTS = os.path.join(registry.PROJECT, "results", "accuracy_run")
OURS, ORIGINAL = "ours", "original"
ORIGINALS_MAIN = os.path.join(registry.PROJECT, "benchmarks", "original_run.py")
ONCE_AT_THE_END = ["--evaluate_every", "0", "--checkpoint_every", "999999"]
# Of main.py, for both: as the published accuracy is trained.
RECIPE = {"batch_size": "2", "base_lr": "0.0001", "train_epochs": "80"}
# The same, as main.py has them.
SHARED = ("train_split", "split_seed", "input_shape", "downscale_blocks", "upscale_blocks")
ERROR = ": error: "
SECONDS_TO_END = 10


class Run:
    """A command whose processes run in their turns only; `seconds` is how long they did.

    Args:
        command: list of str.
        log: the file that its output goes to.
    """

    def __init__(self, command, log):
        self.command, self.log = command, log
        self.seconds = 0.0
        self.status = None
        self._process = None

    def turn(self, seconds):
        """Lets it run for so many seconds, or until it has ended; raises UserError where it cannot be started."""
        start = time.monotonic()
        if self._process is None:
            self._begin()
        else:
            self._tell_all(signal.SIGCONT)
        try:
            self.status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._tell_all(signal.SIGSTOP)
        self.seconds += time.monotonic() - start

    def _begin(self):
        try:
            with open(self.log, "wb") as log:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
        except OSError as error:
            raise UserError("{}: cannot be started: {}".format(self.log, error.strerror)) from error

    def _tell_all(self, what):
        told = set()
        # Until there is none that another started before it was stopped.
        while True:
            new = {self._process.pid, *descendants(self._process.pid)} - told
            if not new:
                return
            for process in new:
                try:
                    os.kill(process, what)
                except ProcessLookupError:
                    continue
            told |= new

    def close(self):
        """Ends it, where it has not ended by itself."""
        if self._process is None or self._process.poll() is not None:
            return
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._tell_all(number)
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._tell_all(signal.SIGKILL)
            self._process.wait()

    def reason(self):
        """Why it failed, in a line: what it says is wrong, or else its status."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            errors = [line.strip() for line in file if ERROR in line]
        return errors[-1] if errors else "ended with status {}: see {}".format(self.status, self.log)


def main(argv=None):
    """Times what a command line asks for; returns the exit status."""
    return program.status_of(PROGRAM, lambda: run(parse(argv)))


def parse(argv=None):
    """Returns the namespace of a command line; raises UserError where it asks for what cannot be compared."""
    options, unknown = build_parser().parse_known_args(argv)
    if unknown:
        raise UserError("{}: belongs to no flag that both runs have (see --help)".format(unknown[0]))
    return options


def build_parser():
    """Returns the parser of its flags."""
    parser = PlainParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="task folder, with dataset.json")
    parser.add_argument("--output", default=RESULTS, metavar="DIR", help="new folder of both runs and of the figures")
    parser.add_argument(
        "--gpus", type=launching.read_count, metavar="N", help="workers of ours (default: one per core)"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision in ours; the original's has float32")
    parser.add_argument(
        "--seconds", type=launching.read_count, default=60, metavar="N", help="how long a turn is (default: 60)"
    )
    for name, value in RECIPE.items():
        parser.add_argument("--" + name, default=value, metavar="V", help="as main.py's (default: {})".format(value))
    for name in SHARED:
        parser.add_argument("--" + name, nargs="+", metavar="V", help="as main.py's")
    return parser


def run(options):
    """Times both, and writes and tells what was found; raises UserError where one of them fails."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    runs = {
        name: Run(command, os.path.join(options.output, name + ".log")) for name, command in commands(options).items()
    }
    _make(options.output)
    circumstances = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "revision": provenance.revision(),
        "hardware": hardware.describe(),
        "workers": _workers(options),
        "seconds_of_a_turn": options.seconds,
    }
    for name, one in runs.items():
        say("{}: {}".format(name, in_words(one.command)))
    try:
        while any(one.status is None for one in runs.values()):
            for name, one in runs.items():
                if one.status is None:
                    one.turn(options.seconds)
                    _look_at(name, one)
    finally:
        for one in runs.values():
            one.close()
    _tell(options.output, runs, circumstances)


def commands(options):
    """Returns the command lines of both runs, by their names; ours comes first, and pays for reading from the disk.

    Raises UserError where main.py would refuse the flags, or several workers cannot be started.
    """
    flags = ["--exec_mode", "train_and_evaluate", "--augment", "--data_dir", options.data_dir]
    for name in RECIPE:
        flags += ["--" + name, getattr(options, name)]
    for name in SHARED:
        flags += ["--" + name, *getattr(options, name)] if getattr(options, name) else []
    ours = flags + ["--model_dir", os.path.join(options.output, OURS)] + ["--amp"] * options.amp
    original = flags + ["--model_dir", os.path.join(options.output, ORIGINAL)] + ONCE_AT_THE_END
    for arguments in (ours, original):
        params.from_command_line(arguments)
    main_command = launching.main_command(ours)
    return {
        OURS: launching.workers_command(main_command, _workers(options), None, launching.LAUNCHERS[0]),
        ORIGINAL: [sys.executable, ORIGINALS_MAIN] + original,
    }


def _workers(options):
    return options.gpus or environment.available_cores()


def _make(folder):
    try:
        os.makedirs(folder)
    except FileExistsError as error:
        raise UserError("--output {}: is there already: name a new folder".format(folder)) from error
    except OSError as error:
        raise UserError("--output {}: cannot be made: {}".format(folder, error.strerror)) from error


def _look_at(name, one):
    if one.status:
        raise UserError("{}: {}".format(name, one.reason()))
    say("{}: {:.0f} s{}".format(name, one.seconds, "" if one.status is None else ", done"))


def _tell(folder, runs, circumstances):
    part = runs[OURS].seconds / runs[ORIGINAL].seconds
    scores = {name: read_json(os.path.join(folder, name, "evaluation.json"))["mean"] for name in runs}
    described = {
        name: {"command": in_words(one.command), "seconds": one.seconds, "mean": scores[name]}
        for name, one in runs.items()
    }
    path = os.path.join(folder, NAME)
    write_json_atomically(path, {"run": circumstances, "part_of_the_time": part, "runs": described})
    for name, one in runs.items():
        dice = ", ".join("{} {}".format(*item) for item in _rounded(scores[name]["soft_dice"]))
        say("{}: {:.0f} s, soft Dice {}".format(name, one.seconds, dice))
    say("ours took {:.0%} of the original's time: {}".format(part, path))


def _rounded(means):
    """Structures with their means as text; a mean is None where no held-out case has one."""
    return [(name, "undefined" if mean is None else "{:.4f}".format(mean)) for name, mean in means.items()]


if __name__ == "__main__":
    sys.exit(main())

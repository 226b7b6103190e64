#!/usr/bin/env python3
"""Times the recipe's accuracy run beside the same run of the original's graph, from the command to the scores.

Both read the task, train for as many epochs on as many cases, keep checkpoints, and evaluate the held-out cases. This
recipe's run has a worker per core and main.py's defaults: it also evaluates and saves after every epoch. The original's
has one process, and evaluates and saves at its end. They take turns, each stopped while the other runs, and what is
counted is each one's own time. Any other flag is handed to both.
"""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import registry
from benchmarks.child import die_with_parent
from examples import launching
from examples.processes import descendants, in_words
from utils import environment, hardware, provenance
from utils.errors import UserError, refuse
from utils.files import read_json, write_json_atomically
from utils.plain_parser import PlainParser
from utils.progress import say

PROGRAM = "accuracy_run.py"
NAME = "accuracy_run.json"
OURS, ORIGINAL = "ours", "original"
ORIGINALS_MAIN = os.path.join(registry.PROJECT, "benchmarks", "original_run.py")
# As the published accuracy is trained; what is given besides wins.
RECIPE = ["--batch_size", "2", "--base_lr", "0.0001", "--augment"]
ONCE_AT_THE_END = ["--evaluate_every", "0", "--checkpoint_every", "999999"]
SECONDS_TO_END = 10


class Run:
    """A command whose processes run in their turns only; `seconds` is how long they did.

    Its output goes to the file `log`.
    """

    def __init__(self, command, log):
        self.command, self.log = command, log
        self.seconds = 0.0
        self.status = None
        self._process = None

    def turn(self, seconds):
        """Lets it run for so many seconds, or until it has ended."""
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
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

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
        self._tell_all(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._tell_all(signal.SIGKILL)
            self._process.wait()


def main(argv=None):
    """Times what a command line asks for; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        options, others = build_parser().parse_known_args(argv)
        run(options, others)
    except UserError as error:
        return refuse(PROGRAM, error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def build_parser():
    """Returns the parser of its own flags."""
    parser = PlainParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    default = os.path.join("results", "accuracy_run")
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="task folder, with dataset.json")
    parser.add_argument("--output", default=default, metavar="DIR", help="new folder of both runs ({})".format(default))
    parser.add_argument("--gpus", type=launching.read_count, metavar="N", help="workers of ours (one per core)")
    parser.add_argument("--train_epochs", type=launching.read_count, default=80, metavar="N", help="epochs (80)")
    parser.add_argument("--amp", action="store_true", help="mixed precision in ours; the original's graph has float32")
    parser.add_argument("--seconds", type=launching.read_count, default=60, metavar="N", help="of a turn (60)")
    return parser


def run(options, others):
    """Times both, and writes and tells what was found; raises UserError where one of them fails."""
    _make(options.output)
    runs = {
        name: Run(command, os.path.join(options.output, name + ".log"))
        for name, command in commands(options, others).items()
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
    _tell(options, runs)


def _make(folder):
    try:
        os.makedirs(folder)
    except FileExistsError as error:
        raise UserError("--output {}: is there already: name a new folder".format(folder)) from error
    except OSError as error:
        raise UserError("--output {}: cannot be made: {}".format(folder, error.strerror)) from error


def commands(options, others):
    """Returns the command lines of both runs, by their names; ours comes first, and pays for reading from the disk."""
    flags = RECIPE + ["--exec_mode", "train_and_evaluate", "--data_dir", options.data_dir]
    flags += ["--train_epochs", str(options.train_epochs)] + others
    folders = {name: ["--model_dir", os.path.join(options.output, name)] for name in (OURS, ORIGINAL)}
    ours = launching.main_command(flags + folders[OURS] + ["--amp"] * options.amp)
    workers = options.gpus or environment.available_cores()
    return {
        OURS: launching.workers_command(ours, workers, None, launching.LAUNCHERS[0]),
        ORIGINAL: [sys.executable, ORIGINALS_MAIN] + flags + folders[ORIGINAL] + ONCE_AT_THE_END,
    }


def _look_at(name, run):
    if run.status:
        with open(run.log, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        raise UserError("{}: ended with status {}: {}".format(name, run.status, lines[-1] if lines else run.log))
    say("{}: {:.0f} s{}".format(name, run.seconds, "" if run.status is None else ", done"))


def _tell(options, runs):
    scores = {name: read_json(os.path.join(options.output, name, "evaluation.json"))["mean"] for name in runs}
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "revision": provenance.revision(),
        "hardware": hardware.describe(),
        "seconds_of_a_turn": options.seconds,
        "part_of_the_time": runs[OURS].seconds / runs[ORIGINAL].seconds,
        "runs": {
            name: {"command": in_words(one.command), "seconds": one.seconds, "mean": scores[name]}
            for name, one in runs.items()
        },
    }
    path = os.path.join(options.output, NAME)
    write_json_atomically(path, found)
    for name, one in runs.items():
        dice = ", ".join("{} {:.4f}".format(*item) for item in scores[name]["soft_dice"].items())
        say("{}: {:.0f} s, soft Dice {}".format(name, one.seconds, dice))
    say("ours took {:.0%} of the original's time: {}".format(found["part_of_the_time"], path))


if __name__ == "__main__":
    sys.exit(main())

"""What the example scripts share: their flags, and the command that starts main.py in one worker or in many."""

import argparse
import os
import re
import shutil
import subprocess
import sys

from examples.launcher_output import Relay
from examples.processes import Process, in_words
from utils.config import recipes
from utils.config.flags import FLAGS
from utils.config.parser import build_parser as build_main_parser
from utils.config.plain_parser import PlainParser
from utils.model_dir import paths as model_folder
from utils.system import hardware
from utils.system.errors import UserError, refuse
from utils.system.progress import say

MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "main.py")
HOROVODRUN = "horovodrun"
LAUNCHERS = ("mpirun", HOROVODRUN)
INSTALL_COMMAND = "make setup"
GPUS_HELP = (
    "workers, one to a GPU; where there is no GPU, processes that share out the cores (default: those of --hosts, or 1)"
)
# Workers on other machines get these of this environment; those on this machine have all of it.
PASSED_ON = re.compile(
    r"PATH|LD_LIBRARY_PATH|PYTHONPATH|(HOROVOD|NCCL|XLA|OMP|KMP)_\w+|NVIDIA_TF32_OVERRIDE"
    # Not all of TF_: Terraform's variables, which may hold secrets, begin so too.
    r"|TF_(AUTO|CPP|CUDNN|DETERMINISTIC|DISABLE|ENABLE|FORCE|GPU|NUM|ONEDNN|USE|XLA)_\w+"
)


def main(program, description, exec_mode, preset=(), argv=None):
    """Does what a script that runs one exec_mode of main.py does; returns the exit status.

    Args:
        program: the script's name.
        description: what it does, for its help.
        exec_mode: main.py's.
        preset: sequence of flags with their values (each a tuple of str) that main.py gets where they are not given,
            nor others that decide the same, nor a trained model in --model_dir.
        argv: its command line, sys.argv[1:] by default.
    """
    try:
        return run(example_command(program, description, exec_mode, preset, argv))
    except UserError as error:
        return refuse(program, error)


def run(command):
    """Prints a command line (list of str), runs it, and returns its exit status."""
    say(in_words(command))
    if os.path.basename(command[0]) != HOROVODRUN:
        with Process(command, worker=MAIN) as process:
            return process.wait()
    with Process(command, worker=MAIN, stderr=subprocess.PIPE) as process:
        relay = Relay(process.errors, sys.stderr.buffer)
        status = process.wait()
        failed = relay.finish()
        # Its own status is 1, whichever a worker ended with.
        return failed if failed and not process.received else status


def example_command(program, description, exec_mode, preset=(), argv=None):
    """Returns the command line that `main` runs; raises UserError where the flags allow none."""
    parser = build_parser(program, description)
    add_folders(parser, data_dir_required=exec_mode != "predict")
    parser.add_argument("--gpus", type=read_count, metavar="N", help=GPUS_HELP)
    parser.add_argument("--batch_size", metavar="N", help=flag_help("batch_size"))
    if "train" in exec_mode:
        names = ("--epochs", "--train_epochs")
        parser.add_argument(*names, dest="train_epochs", metavar="N", help=flag_help("train_epochs"))
    parser.add_argument("--amp", action="store_true", help=flag_help("amp"))
    add_machines(parser)
    parser.add_argument("--exec_mode", choices=[exec_mode], help=argparse.SUPPRESS)
    given, others = parser.parse_known_args(argv)
    arguments = ["--exec_mode", exec_mode]
    for words in left_open(preset, given.model_dir, others):
        arguments += words
    arguments += flags_of(given, ("data_dir", "model_dir", "batch_size", "train_epochs", "amp")) + others
    workers = worker_count(given.gpus, given.hosts)
    return workers_command(main_command(arguments), workers, given.hosts, given.launcher)


def left_open(preset, model_dir, others):
    """Returns what of a preset neither the trained model in a folder decides nor flags that were given (list of str).

    Raises UserError where a flag has a value that main.py does not accept, or the folder's settings are damaged.
    """
    if model_folder.trained_settings(model_dir) is not None:
        return []
    chosen = vars(build_main_parser().parse_known_args(others)[0])
    decided = {"--" + name for name in chosen}
    if chosen.get("folds"):
        decided.add("--train_split")
    if chosen.get("recipe", recipes.REFERENCE) != recipes.REFERENCE:
        decided.add("--augment")
    return [words for words in preset if words[0] not in decided]


def flag_help(name):
    """Returns what main.py's help says of a flag, with its default."""
    flag = FLAGS[name]
    return flag.help + ("" if flag.default in (None, False) else " (default: {})".format(flag.default))


def build_parser(program, description):
    """Returns a parser without flags, whose errors are UserErrors."""
    return PlainParser(
        prog=program,
        description=description,
        epilog="Any other flag is handed to main.py: see main.py --help.",
        allow_abbrev=False,
    )


def add_folders(parser, data_dir_required=True):
    """Adds --data_dir and --model_dir."""
    parser.add_argument("--data_dir", required=data_dir_required, metavar="DIR", help="task folder, with dataset.json")
    parser.add_argument("--model_dir", required=True, metavar="DIR", help="folder of the model")


def add_machines(parser):
    """Adds --hosts and --launcher."""
    parser.add_argument(
        "--hosts", type=read_hosts, metavar="HOST:N,HOST:N", help="machines to run on, each with its number of workers"
    )
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default=LAUNCHERS[0],
        help="program that starts several workers (default: {})".format(LAUNCHERS[0]),
    )


def flags_of(given, names):
    """Returns the flags `names` that are set in the namespace `given`, as main.py takes them: a list of str."""
    words = []
    for name in names:
        value = getattr(given, name, None)
        if value is True:
            words.append("--" + name)
        elif value not in (None, False):
            words += ["--" + name, str(value)]
    return words


def read_count(text):
    """Returns a whole number from 1 to 999999; raises argparse.ArgumentTypeError for anything else."""
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError("{!r} is not a whole number from 1 to 999999".format(text))
    return int(text)


def read_hosts(text):
    """Returns "host1:4,host2" as [("host1", 4), ("host2", 1)]; raises argparse.ArgumentTypeError for anything else."""
    hosts = []
    for entry in text.split(","):
        match = re.fullmatch(r"([^\s:,-][^\s:,]*)(?::(0*[1-9]\d{0,5}))?", entry)
        if not match:
            raise argparse.ArgumentTypeError("{!r} is not of the form host1:4,host2:4".format(text))
        hosts.append((match.group(1), int(match.group(2) or 1)))
    return hosts


def worker_count(gpus, hosts):
    """Returns the number of workers of --gpus (None: not given) on --hosts (None: this machine).

    Raises UserError where there are fewer GPUs, or places on the hosts, than that.
    """
    if hosts is None:
        workers, places = gpus or 1, len(hardware.gpu_names())
        if 0 < places < workers:
            raise UserError("--gpus {}: this machine has {}; --hosts names others".format(workers, places))
        return workers
    places = sum(count for _, count in hosts)
    if gpus is not None and gpus > places:
        raise UserError("--gpus {}: --hosts has places for {} workers only".format(gpus, places))
    return gpus or places


def main_command(arguments):
    """Returns the command line that runs main.py with `arguments` in this interpreter."""
    return [sys.executable, MAIN] + list(arguments)


def workers_command(command, workers, hosts, launcher):
    """Returns the command line that starts `command` in so many workers.

    Args:
        command: list of str.
        workers: how many.
        hosts: list of (name, number of workers), or None for this machine alone.
        launcher: "mpirun" or "horovodrun".

    Raises UserError where the launcher is not installed.
    """
    if workers == 1 and hosts is None:
        return command
    program = find_launcher(launcher)
    slots = ",".join("{}:{}".format(*host) for host in hosts or [("localhost", workers)])
    options = _mpirun_options() if launcher == "mpirun" else ["--gloo"]
    return [program, "-np", str(workers), "-H", slots] + options + command


def _mpirun_options():
    # As Horovod recommends: no worker is bound to one core, and MPI goes over TCP and shared memory.
    options = ["--bind-to", "none", "--map-by", "slot", "--mca", "pml", "ob1", "--mca", "btl", "^openib"]
    if not hardware.gpu_names():
        # A worker that waits for the others otherwise keeps a core busy that one of them computes on.
        options += ["--mca", "mpi_yield_when_idle", "1"]
    if os.geteuid() == 0:
        options.append("--allow-run-as-root")
    for name in sorted(filter(PASSED_ON.fullmatch, os.environ)):
        options += ["-x", name]
    return options


def find_launcher(name):
    """Returns the absolute path of a launcher: the one installed with this interpreter, or else one in PATH.

    From its own absolute path Open MPI knows where its parts are on the other machines.

    Raises UserError where there is none.
    """
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), name)
    found = shutil.which(beside) or shutil.which(name)
    if found is None:
        raise UserError(
            "several workers need {}, which is not installed: run `{}`, which installs it with Horovod{}".format(
                name, INSTALL_COMMAND, ", or install Open MPI (Debian: openmpi-bin)" if name == "mpirun" else ""
            )
        )
    return os.path.abspath(found)

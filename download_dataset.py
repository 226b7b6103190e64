"""Fetch a task of the Medical Segmentation Decathlon, or make a phantom: a task of volumes, or a stack of images."""

import os
import signal
import sys
from typing import NamedTuple

from utils.config.plain_parser import PlainParser
from utils.system import startup
from utils.system.errors import UserError, refuse
from utils.system.printable import printable

PROGRAM = "download_dataset.py"

with startup.loading(PROGRAM):
    from utils.fetching import archives, downloads, phantom, phantom_stack
    from utils.system.progress import Progress, say

MIRROR = "https://msd-for-monai.s3-us-west-2.amazonaws.com/{}.tar"
GOOGLE_DRIVE = "https://drive.google.com/uc?id={}"


class Archive(NamedTuple):
    """A task's folder name and its archive's MD5."""

    task: str
    md5: str


ARCHIVES = {
    "brain_tumour": Archive("Task01_BrainTumour", "240a19d752f0d9e9101544901065d872"),
    "heart": Archive("Task02_Heart", "06ee59366e1e5124267b774dbd654057"),
    "liver": Archive("Task03_Liver", "a90ec6c4aa7f6a3d087205e23d4e6397"),
    "hippocampus": Archive("Task04_Hippocampus", "9d24dba78a72977dbd1d2e110310f31b"),
    "prostate": Archive("Task05_Prostate", "35138f08b1efaef89d7424d2bcc928db"),
    "lung": Archive("Task06_Lung", "8afd997733c7fc0432f71255ba4e52dc"),
    "pancreas": Archive("Task07_Pancreas", "4f7080cfca169fa8066d17ce6eb061e4"),
    "hepatic_vessel": Archive("Task08_HepaticVessel", "641d79e80ec66453921d997fbf12a29c"),
    "spleen": Archive("Task09_Spleen", "410d4a301da4e5b2f6f86ec3ddba524e"),
    "colon": Archive("Task10_Colon", "bad7a188931dc2f6acf72b08eb6202d0"),
}
GOOGLE_DRIVE_FILES = {"hippocampus": "1RzPB1_bqzQhlWvU-YGvZzhx2omcDh38C"}
# What is made here from a seed, and the folder it is put into.
MADE = {"phantom": phantom.TASK_NAME, "phantom_stack": phantom_stack.TASK_NAME}


def build_parser():
    """Return the parser of the command line."""
    parser = PlainParser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Put a task of the Medical Segmentation Decathlon, or a phantom, into a folder. A download that "
        "broke off goes on where it stopped when the same command is run again. A task that is there already is "
        "left as it is.",
    )
    parser.add_argument(
        "--data_dir",
        required=True,
        metavar="DIR",
        help="the folder to put the task's folder into, as in DIR/Task04_Hippocampus; made where missing (required)",
    )
    parser.add_argument(
        "--dataset",
        choices=list(ARCHIVES) + list(MADE),
        default="hippocampus",
        help="the task; those made here from a seed need no network: 'phantom', volumes put into DIR/{}, and "
        "'phantom_stack', images like those of electron microscopy in the form of ISBI 2012 put into DIR/{} "
        "(default: hippocampus)".format(*MADE.values()),
    )
    parser.add_argument(
        "--source",
        choices=["mirror", "google_drive"],
        help="where to download from: 'mirror' is the public open-data mirror, which has every task; 'google_drive' "
        "has the hippocampus alone and needs the package gdown (default: the mirror and, for the hippocampus, Google "
        "Drive if the mirror cannot be reached)",
    )
    parser.add_argument(
        "--url",
        help="the complete http or https address of the task's tar archive, to download it from there, such as a "
        "mirror of your own; the checksum stays the task's (default: the address that --source knows)",
    )
    parser.add_argument(
        "--keep_archive",
        action="store_true",
        help="leave the archive in DIR once it is unpacked; an archive that lies there is used instead of downloading "
        "it (default: remove it)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="what a phantom is made from, 0 to {}; the same seed makes the same task (default: 0)".format(
            phantom.MAXIMUM_SEED
        ),
    )
    parser.add_argument(
        "--size",
        choices=list(phantom_stack.SIZES),
        help="the phantom stack's: {} (default: small)".format("; ".join(map(_size_help, phantom_stack.SIZES))),
    )
    return parser


def _size_help(name):
    return "{0}, {1.training} pages for training and {1.test} for testing of {1.side} by {1.side} pixels".format(
        name, phantom_stack.SIZES[name]
    )


def check(arguments):
    """Raise UserError where flags contradict each other or the dataset."""
    if arguments.size is not None and arguments.dataset != "phantom_stack":
        raise UserError("--size: is for --dataset phantom_stack alone; leave it out")
    if arguments.dataset in MADE:
        for flag, given in (
            ("--source", arguments.source),
            ("--url", arguments.url),
            ("--keep_archive", arguments.keep_archive),
        ):
            if given:
                raise UserError("{}: a phantom is made, not downloaded; leave the flag out".format(flag))
        if arguments.seed is not None and not 0 <= arguments.seed <= phantom.MAXIMUM_SEED:
            raise UserError("--seed: must lie between 0 and {}, not be {}".format(phantom.MAXIMUM_SEED, arguments.seed))
        return
    if arguments.seed is not None:
        raise UserError("--seed: is for --dataset phantom and phantom_stack alone; leave it out")
    if arguments.url and arguments.source:
        raise UserError("--url: already says where to download from; leave --source out")
    if arguments.source == "google_drive" and arguments.dataset not in GOOGLE_DRIVE_FILES:
        raise UserError("--source: google_drive has no {}; use --source mirror".format(arguments.dataset))


def is_there(directory):
    """Tell whether the task in `directory` is there; raises UserError for a folder that holds no task."""
    if not os.path.lexists(directory):
        return False
    if not os.path.isfile(os.path.join(directory, "dataset.json")):
        raise UserError("{}: is there but has no dataset.json; remove it and run the command again".format(directory))
    return True


def provide_phantom(data_dir, seed):
    """Make the phantom task in `data_dir` unless it is there."""
    directory = os.path.join(data_dir, phantom.TASK_NAME)
    if is_there(directory):
        leave_as_it_is(directory, "seed {}".format(phantom.seed_of(directory)), "seed {}".format(seed))
        return
    cases = phantom.TRAINING_CASES + phantom.TEST_CASES
    with Progress(cases, "making " + phantom.TASK_NAME, "cases") as progress:
        phantom.write_task(data_dir, seed, progress=progress.update)
    say("{} is ready".format(directory))


def provide_phantom_stack(data_dir, seed, size):
    """Make the phantom stack of a size (a key of `phantom_stack.SIZES`) in `data_dir` unless it is there."""
    directory = os.path.join(data_dir, phantom_stack.TASK_NAME)
    if is_there(directory):
        wanted, present = (
            "seed {} and --size {}".format(*each) for each in ((seed, size), phantom_stack.made_from(directory))
        )
        leave_as_it_is(directory, present, wanted)
        return
    pages = phantom_stack.SIZES[size].training + phantom_stack.SIZES[size].test
    with Progress(pages, "making " + phantom_stack.TASK_NAME, "pages") as progress:
        phantom_stack.write_task(data_dir, seed, size, progress=progress.update)
    say("{} is ready".format(directory))


def leave_as_it_is(directory, present, wanted):
    """Say that a phantom is there already; raises UserError where it was made from something else than is wanted."""
    if present != wanted:
        raise UserError(
            "{}: was made from {}, not {}; remove it or choose another --data_dir".format(directory, present, wanted)
        )
    say("{} is there already; nothing to do".format(directory))


def provide_task(data_dir, dataset, source, url, keep_archive):
    """Download and unpack a task into `data_dir` unless it is there."""
    task, md5 = ARCHIVES[dataset]
    directory = os.path.join(data_dir, task)
    if is_there(directory):
        say("{} is there already; nothing to do".format(directory))
        return
    os.makedirs(data_dir, exist_ok=True)
    path = os.path.join(data_dir, task + ".tar")
    if os.path.exists(path):
        found = downloads.md5_of(path)
        if found != md5:
            raise UserError(
                "{}: has MD5 {} instead of {}; remove it and run the command again".format(path, found, md5)
            )
    else:
        fetch(dataset, path, md5, source, url)
    archives.unpack(path, task, data_dir)
    if not keep_archive:
        os.remove(path)
    say("{} is ready".format(directory))


def fetch(dataset, path, md5, source, url):
    """Download the archive of `dataset` to `path` from where the flags say."""
    if source != "google_drive":
        try:
            downloads.download(url or MIRROR.format(ARCHIVES[dataset].task), path, md5)
            return
        except downloads.SourceUnavailable as error:
            if url or source or dataset not in GOOGLE_DRIVE_FILES:
                raise
            print("{}\nTrying Google Drive instead".format(printable(error)), file=sys.stderr, flush=True)
    downloads.download_from_google_drive(GOOGLE_DRIVE.format(GOOGLE_DRIVE_FILES[dataset]), path, md5)


def main(argv=None):
    """Run the program; returns its exit status."""
    try:
        arguments = build_parser().parse_args(argv)
        check(arguments)
        if arguments.dataset == "phantom":
            provide_phantom(arguments.data_dir, arguments.seed or 0)
        elif arguments.dataset == "phantom_stack":
            provide_phantom_stack(arguments.data_dir, arguments.seed or 0, arguments.size or "small")
        else:
            provide_task(arguments.data_dir, arguments.dataset, arguments.source, arguments.url, arguments.keep_archive)
    except UserError as error:
        return refuse(PROGRAM, error, lines=False)
    except OSError as error:
        told = "--data_dir {}: {}; choose a folder that can be written".format(arguments.data_dir, error)
        return refuse(PROGRAM, told, lines=False)
    except KeyboardInterrupt:
        print("{}: interrupted; run the same command again to go on".format(PROGRAM), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    # Ended like this, too, it leaves no half unpacked folder behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

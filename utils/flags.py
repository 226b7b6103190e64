"""Every flag of main.py: meaning, unit, accepted values and default, in one table."""

import argparse
import difflib
import math
from typing import Any, Callable, NamedTuple, Optional, Tuple

from utils.errors import UserError

LARGEST_COUNT = 10**6
LARGEST_SEED = 2**31 - 1
LARGEST_SIDE = 1024
MOST_LEVELS = 6
DEEPEST_BLOCK = 16


class Kind(NamedTuple):
    """One sort of value: how it is read from text, which values are accepted, and how that is said."""

    parse: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    meaning: str
    metavar: str


def whole(low, high=LARGEST_COUNT):
    """Whole numbers from `low` to `high`, both included."""

    def accepts(value):
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Kind(int, accepts, "a whole number from {} to {}".format(low, high), "N")


def real(condition, meaning):
    """Finite real numbers for which `condition` holds."""

    def accepts(value):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and math.isfinite(value) and condition(value)

    return Kind(float, accepts, "a number " + meaning, "R")


def choice(*values):
    """One of `values`, which are all of one type."""
    names = [str(value) for value in values]
    kind = type(values[0])

    def accepts(value):
        return isinstance(value, kind) and value in values

    meaning = "one of " + ", ".join(names) if len(names) > 1 else names[0]
    return Kind(kind, accepts, meaning, "{" + ",".join(names) + "}")


SWITCH = Kind(bool, lambda value: isinstance(value, bool), "true or false", "")
FOLDER = Kind(str, lambda value: isinstance(value, str) and value != "", "a folder", "DIR")
FILE = Kind(str, lambda value: isinstance(value, str) and value != "", "a file", "FILE")


class Flag(NamedTuple):
    """One flag: `--name`. `count` is None for a single value, else the fewest and most values of a list.

    `metavar` names the values of a list one by one in the help, where that says more than the kind's.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    count: Optional[Tuple[int, int]] = None
    metavar: Optional[Tuple[str, ...]] = None

    def problem(self, value):
        """Says what is wrong with `value` (a parsed one, or one read from JSON), or returns None."""
        if self.count is None:
            return None if self.kind.accepts(value) else "{!r} is not {}".format(value, self.kind.meaning)
        if not isinstance(value, list):
            return "{!r} is not a list".format(value)
        fewest, most = self.count
        if not fewest <= len(value) <= most:
            wanted = str(most) if fewest == most else "{} to {}".format(fewest, most)
            return "takes {} values, not {}".format(wanted, len(value))
        for item in value:
            if not self.kind.accepts(item):
                return "{!r} is not {}".format(item, self.kind.meaning)
        return None


def shown(value):
    """Returns `value` as a person would type it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value)


EXEC_MODES = choice("train", "evaluate", "predict", "train_and_predict", "train_and_evaluate")

GROUPS = {
    "what to do": (
        Flag("exec_mode", EXEC_MODES, "train_and_predict", "what to run, in this order"),
        Flag(
            "data_dir",
            FOLDER,
            None,
            "task folder with its dataset.json, imagesTr, labelsTr and imagesTs; only predicting --images needs none",
        ),
        Flag(
            "model_dir",
            FOLDER,
            "./result",
            "folder of the model: checkpoints, settings, logs, scores and masks. A later run continues from it and "
            "takes from it the settings of the network, the split and the training that are not given again",
        ),
        Flag(
            "images",
            FILE,
            None,
            "NIfTI files (.nii, .nii.gz) to predict instead of the task's test images",
            (1, LARGEST_COUNT),
        ),
        Flag(
            "checkpoint",
            choice("last", "best"),
            "last",
            "which checkpoint evaluates and predicts: the last one, or the one with the best held-out Dice",
        ),
    ),
    "the images": (
        Flag(
            "input_shape",
            whole(1, LARGEST_SIDE),
            [32, 32, 32],
            "size every image is resized to, in voxels along its own x, y and z axes; each divisible by 2 to the "
            "number of --downscale_blocks",
            (3, 3),
            ("X", "Y", "Z"),
        ),
        Flag("resize_interpolator", choice("linear", "nearest_neighbor"), "linear", "interpolation in that resizing"),
        Flag(
            "data_normalization",
            choice("zscore"),
            "zscore",
            "normalisation of the intensities: per image and channel to mean 0 and standard deviation 1",
        ),
        Flag("augment", SWITCH, False, "flip training images at random, horizontally and vertically"),
    ),
    "the split": (
        Flag(
            "train_split",
            real(lambda value: 0 < value <= 1, "above 0 and up to 1"),
            0.9,
            "fraction of the labelled cases to train on; the others are held out for evaluation",
        ),
        Flag("split_seed", whole(0, LARGEST_SEED), 0, "seed that decides which cases are held out"),
    ),
    "the network": (
        Flag(
            "downscale_blocks",
            whole(1, DEEPEST_BLOCK),
            [3, 3, 3],
            "convolutions in the residual block of each level down, one entry per level",
            (1, MOST_LEVELS),
        ),
        Flag(
            "upscale_blocks",
            whole(1, DEEPEST_BLOCK),
            [3, 3],
            "convolutions in the residual block of each level up, deepest first: one entry fewer than "
            "--downscale_blocks, or as many to join the finest skip connection too",
            (1, MOST_LEVELS),
        ),
        Flag("convolution_size", choice(3, 5), 3, "side of the cubic convolution kernels, in voxels"),
        Flag("activation", choice("relu", "prelu"), "relu", "activation after each convolution"),
        Flag("normalization_layer", choice("batchnorm", "none"), "batchnorm", "normalisation after each convolution"),
        Flag(
            "pooling",
            choice("conv_pool", "max_pool"),
            "conv_pool",
            "how a level halves the resolution: stride-2 convolution or max pooling",
        ),
        Flag("upsampling", choice("transposed_conv"), "transposed_conv", "how a level doubles the resolution"),
    ),
    "training": (
        Flag(
            "train_epochs",
            whole(1),
            80,
            "passes over the training cases, in total over all runs in --model_dir",
        ),
        Flag(
            "batch_size",
            whole(1),
            2,
            "images per step of each worker; where it is not given, prediction and evaluation take as many as suit the "
            "machine",
        ),
        Flag("loss", choice("dice"), "dice", "what training minimises: 1 minus the soft Dice"),
        Flag("optimizer", choice("rmsprop"), "rmsprop", "optimizer"),
        Flag("base_lr", real(lambda value: value > 0, "above 0"), 0.0001, "learning rate"),
        Flag(
            "lr_scaling",
            choice("none", "linear"),
            "none",
            "learning rate of several workers: as it is, or times their number",
        ),
        Flag(
            "lr_warmup_epochs",
            whole(0),
            5,
            "epochs over which --lr_scaling linear raises the learning rate from that of one worker",
        ),
        Flag(
            "momentum",
            real(lambda value: 0 <= value < 1, "from 0 to below 1"),
            0.0,
            "momentum coefficient of the optimizer",
        ),
        Flag(
            "seed",
            whole(0, LARGEST_SEED),
            0,
            "seed of the initial weights, the order of the cases and the augmentation",
        ),
        Flag("checkpoint_every", whole(1), 1, "epochs between checkpoints"),
        Flag(
            "evaluate_every",
            whole(0),
            1,
            "epochs between measurements of the held-out soft Dice while training; 0 for never",
        ),
    ),
    "speed": (
        Flag("amp", SWITCH, False, "automatic mixed precision: float16 on GPUs, bfloat16 on CPUs"),
        Flag("xla", SWITCH, False, "compile the graph with XLA"),
        Flag(
            "no_tf32", SWITCH, False, "full float32 products on GPUs that would round their factors to TensorFloat-32"
        ),
        Flag("threads", whole(0, 1024), 0, "processor threads; 0 for all cores, 1 for repeatable results"),
        Flag("benchmark", SWITCH, False, "measure images per second and step times"),
        Flag("warmup_steps", whole(0), 200, "steps at the start that --benchmark leaves out"),
        Flag("benchmark_steps", whole(1), 200, "steps that --benchmark measures"),
        Flag("synthetic", SWITCH, False, "let --benchmark measure the network alone, on one batch of noise"),
    ),
    "what is left behind": (
        Flag("log_every", whole(1), 100, "optimizer steps between log lines of the training loss"),
        Flag("log_dir", FOLDER, None, "folder of dllogger.json (default: --model_dir)"),
        Flag("cache_dir", FOLDER, None, "folder of the preprocessed images (default: the folder cache in --model_dir)"),
        Flag("output", FILE, None, "JSON file of what --benchmark measured"),
        Flag("pictures", SWITCH, False, "leave a PNG per evaluated or predicted case, and one of the training curves"),
    ),
}

FLAGS = {flag.name: flag for flags in GROUPS.values() for flag in flags}


class Formatter(argparse.HelpFormatter):
    """Help that shows a list's values by their names where they have names."""

    def _format_args(self, action, default_metavar):
        if isinstance(action.metavar, tuple):
            return " ".join(action.metavar)
        return super()._format_args(action, default_metavar)


class Parser(argparse.ArgumentParser):
    """Parser whose errors are UserErrors of one line, and which names the flag an unknown one comes near to."""

    def error(self, message):
        """Raises UserError(message)."""
        raise UserError(message[len("argument ") :] if message.startswith("argument ") else message)

    def parse_args(self, args=None, namespace=None):
        """Returns the namespace of the flags that were given, and only those, with each value checked.

        Raises UserError for an unknown flag and for a value a flag does not accept.
        """
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UserError(_about_unknown(unknown))
        for name, value in vars(namespace).items():
            problem = FLAGS[name].problem(value)
            if problem:
                raise UserError("--{}: {}".format(name, problem))
        return namespace


def _about_unknown(arguments):
    unknown = next((text for text in arguments if text.startswith("-")), None)
    if unknown is None:
        return "{}: does not belong to any flag (see --help)".format(arguments[0])
    unknown = unknown.split("=")[0]
    word = unknown.strip("-")
    holding = [name for name in FLAGS if word in name.split("_")]
    near = holding if 0 < len(holding) <= 3 else difflib.get_close_matches(word, FLAGS, n=1)
    meant = "; did you mean {}?".format(" or ".join("--" + name for name in near)) if near else ""
    return "{}: no such flag{} (see --help)".format(unknown, meant)


def _reader(kind):
    def read(text):
        try:
            value = kind.parse(text)
        except ValueError:
            value = None
        if not kind.accepts(value):
            raise argparse.ArgumentTypeError("{!r} is not {}".format(text, kind.meaning))
        return value

    return read


def _help(flag):
    accepted = [flag.kind.meaning] if flag.kind.metavar in ("N", "R") else []
    default = [] if flag.default is None else ["default: " + shown(flag.default)]
    notes = "; ".join(accepted + default)
    return flag.help + (" ({})".format(notes) if notes else "")


def _add(group, flag):
    options = {"dest": flag.name, "help": _help(flag), "default": argparse.SUPPRESS}
    if flag.kind is SWITCH:
        options["action"] = "store_true"
    else:
        options["type"] = _reader(flag.kind)
        options["metavar"] = flag.metavar or flag.kind.metavar
    if flag.count is not None:
        # Lists of a wrong length are told by Flag.problem: with a fixed number here, the surplus would be "unknown".
        options["nargs"] = "+"
    group.add_argument("--" + flag.name, **options)


def build_parser():
    """Returns the parser of main.py's flags (argparse.ArgumentParser).

    A flag that is not given is absent from the namespace, so that "not given" can be told from "given as the
    default". Its errors are UserErrors.
    """
    parser = Parser(
        prog="main.py",
        description="Trains V-Net on a task of the Medical Segmentation Decathlon form, evaluates it, and predicts "
        "masks with it.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            _add(group, flag)
    return parser

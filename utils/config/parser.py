"""The command line of main.py: text -> the flags that were given, each with its value checked."""

import argparse
import difflib

from utils.config.flag import shown
from utils.config.flag_values import SWITCH
from utils.config.flags import FLAGS, GROUPS
from utils.config.plain_parser import PlainParser
from utils.config.recipes import named
from utils.system.errors import UserError
from utils.system.printable import printable

MOST_MEANT = 5


class Formatter(argparse.HelpFormatter):
    """Help that shows a list's values by their names where they have names."""

    def _format_args(self, action, default_metavar):
        if isinstance(action.metavar, tuple):
            return " ".join(action.metavar)
        return super()._format_args(action, default_metavar)


class Parser(PlainParser):
    """Parser of flags of FLAGS, which names the one that an unknown one comes near to."""

    def parse_args(self, args=None, namespace=None):
        """Returns the namespace of the flags that were given, and only those, with each value checked.

        Raises UserError for an unknown flag and for a value a flag does not accept.
        """
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UserError(_about_unknown(unknown))
        for name, value in vars(namespace).items():
            if FLAGS[name].word is not None and value == [FLAGS[name].word]:
                setattr(namespace, name, FLAGS[name].word)
                continue
            problem = FLAGS[name].problem(value)
            if problem:
                raise UserError("--{}: {}".format(name, problem))
        return namespace


def _about_unknown(arguments):
    unknown = next((text for text in arguments if text.startswith("-")), None)
    if unknown is None:
        return "{}: does not belong to any flag (see --help)".format(printable(arguments[0]))
    unknown = unknown.split("=")[0]
    word = unknown.strip("-")
    holding = [name for name in FLAGS if word in name.split("_")]
    near = holding if 0 < len(holding) <= MOST_MEANT else difflib.get_close_matches(word, FLAGS, n=1)
    meant = "; did you mean {}?".format(" or ".join("--" + name for name in near)) if near else ""
    return "{}: no such flag{} (see --help)".format(printable(unknown), meant)


def _reader(flag):
    kind = flag.kind

    def read(text):
        if flag.word is not None and text == flag.word:
            return text
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
    default += ["{}: {}".format(name, shown(values[flag.name])) for name, values in named() if flag.name in values]
    notes = "; ".join(accepted + default)
    return flag.help + (" ({})".format(notes) if notes else "")


def _add(group, flag):
    options = {"dest": flag.name, "help": _help(flag), "default": argparse.SUPPRESS}
    options["type"] = _reader(flag)
    options["metavar"] = flag.metavar or flag.kind.metavar
    if flag.kind is SWITCH:
        options["nargs"], options["const"] = "?", True
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
        description="Trains V-Net or U-Net on a task of the Medical Segmentation Decathlon form, evaluates it, and "
        "predicts masks with it.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            _add(group, flag)
    return parser

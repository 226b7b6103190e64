"""Sorts of values that flags take: how they are read from text, which are accepted, and how that is said."""

import math
from typing import Any, Callable, NamedTuple

from utils.system.printable import is_printable

LARGEST_COUNT = 10**6
LARGEST_SEED = 2**31 - 1
LARGEST_SIDE = 1024
MOST_FOLDS = 20
MOST_KNOTS = 100
# In mm: far beyond any scanner's, and near enough for arithmetic.
SPACINGS = (1e-6, 1e6)
# Of the numbers that the network computes with, which are float32.
LARGEST_FLOAT = 1e38


def _switch(text):
    return {"on": True, "off": False}.get(text)


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
        # Whole numbers of JSON can be too large for math.isfinite.
        return number and -math.inf < value < math.inf and condition(value)

    return Kind(float, accepts, "a number " + meaning, "R")


NUMBER = real(lambda value: True, "that is finite")


def positive(most):
    """Real numbers above 0, up to `most`."""
    return real(lambda value: 0 < value <= most, "above 0 and up to {:g}".format(most))


def strength(most):
    """How strongly to augment: a real number from 0, for not at all, to `most`."""
    return real(lambda value: 0 <= value <= most, "from 0 to {}".format(most))


def choice(*values):
    """One of `values`, which are all of one type."""
    names = [str(value) for value in values]
    kind = type(values[0])

    def accepts(value):
        return isinstance(value, kind) and value in values

    meaning = "one of " + ", ".join(names) if len(names) > 1 else names[0]
    return Kind(kind, accepts, meaning, "{" + ",".join(names) + "}")


SWITCH = Kind(_switch, lambda value: isinstance(value, bool), "on or off", "on|off")


def _is_name(value):
    # What is no text at all is told elsewhere, with what helps.
    return isinstance(value, str) and value != "" and is_printable(value.encode("utf-8", "replace").decode("utf-8"))


FOLDER = Kind(str, _is_name, "the name of a folder, on one line", "DIR")
FILE = Kind(str, _is_name, "the name of a file, on one line", "FILE")

KNOTS = Kind(
    int,
    lambda value: whole(0, MOST_KNOTS).accepts(value) and value != 1,
    "0 or a whole number from 2 to {}".format(MOST_KNOTS),
    "N",
)
FOLDS = Kind(
    int,
    lambda value: whole(0, MOST_FOLDS).accepts(value) and value != 1,
    "0 or a whole number from 2 to {}".format(MOST_FOLDS),
    "N",
)

"""The values of labels: whole numbers from 0, and what is so near to them that only rounding has made it differ."""

import threading

import numpy as np

from utils.system.errors import UnusableFile

NEAR = 1e-3
MOST_CLASSES = 256

_rounded = set()
_changing = threading.Lock()


def check(values, classes, path, header=None):
    """Tell whether some values of a label, an array, have to be rounded, which ``take_rounded`` then tells of.

    ``path`` is what to name the file by, ``header`` that of a NIfTI file. Raises UnusableFile for values that are not
    within ``NEAR`` of whole numbers from 0 to ``classes`` - 1.
    """
    whole = np.rint(values) if values.dtype.kind == "f" else values
    wrong = values[~((whole >= 0) & (whole < classes) & (np.abs(values - whole) <= NEAR))]
    if wrong.size:
        raise UnusableFile(
            "{}: has the value {}: labels of this task are whole numbers from 0 to {}: {}".format(
                path, _origin(wrong[0], header), classes - 1, _remedy(wrong[0], header)
            )
        )
    return _noted(path, values, whole)


def rounded(values, path):
    """Return some values of a label, with those rounded that are within ``NEAR`` of whole numbers."""
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):
        # What is no number stays none, without a word from NumPy.
        whole = np.where(np.abs(values - whole) <= NEAR, whole, values)
    _noted(path, values, whole)
    return whole


def _noted(path, values, whole):
    if np.array_equal(values, whole):
        return False
    with _changing:
        _rounded.add(path)
    return True


def take_rounded(paths):
    """Return which of these files had values that were rounded since they were last asked for, a list."""
    with _changing:
        found = [path for path in dict.fromkeys(paths) if path in _rounded]
        _rounded.difference_update(found)
    return found


def exact(value):
    """Return a number of NumPy as text, with as many digits as tell it from its neighbours."""
    text = str(value)
    return text[:-2] if text.endswith(".0") else text


def _is_scaled(header):
    return header is not None and (header.slope, header.intercept) != (1, 0)


def _origin(value, header):
    if not _is_scaled(header):
        return exact(value)
    stored = exact(np.float32((float(value) - header.intercept) / header.slope))
    return "{}, which its header makes of {} (scl_slope {:.9g}, scl_inter {:.9g})".format(
        exact(value), stored, header.slope, header.intercept
    )


def _remedy(value, header):
    if _is_scaled(header):
        return "set scl_slope to 1 and scl_inter to 0 in its header, or correct the values"
    if value == np.floor(value) and 0 <= value < MOST_CLASSES:
        return "correct it, or dataset.json"
    return "correct it"

"""The one exception that means: the user can put this right; and several of them in one."""

import contextlib
import sys

from utils.system.printable import printable


class UserError(Exception):
    """Bad input or an impossible request, told in one line.

    The message names the file or flag, what is wrong with it, and what to do. Entry points print it
    without a traceback and exit with status 2.
    """


class UnusableFile(UserError):
    """A file of one case is bad, beside which other cases may be good."""


class CannotWrite(UserError):
    """The system does not let a file be written, as on a full disk: others will fare no better."""


def refuse(program, error, lines=True):
    """Says what is wrong; returns the exit status for it. Without ``lines`` an error of several lines stands on one."""
    # Where even that cannot be written, the status tells.
    with contextlib.suppress(OSError):
        print("{}: error: {}".format(program, printable(error, lines)), file=sys.stderr, flush=True)
    return 2


def attempted(function, *arguments):
    """What a function returns, or the UserError that it raises."""
    try:
        return function(*arguments)
    except UserError as error:
        # Another one, since the traceback of this one holds on to the volumes.
        return type(error)(str(error))


def last_line(error):
    """What an exception of a library says last: what is wrong, after where in its code."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


@contextlib.contextmanager
def about(path, raised=Exception):
    """Raises UnusableFile for what a library raises within: it is about this file, and others may be good."""
    try:
        yield
    except UserError:
        raise
    except raised as error:
        raise UnusableFile(
            "{}: cannot be used ({}: {}): leave it out, or save it anew with another program".format(
                path, type(error).__name__, last_line(error)
            )
        ) from error


def together(errors):
    """One UserError for several, in a line each."""
    return errors[0] if len(errors) == 1 else UserError("\n".join(map(str, errors)))


def unusable(errors, cases):
    """One UserError for those of several of so many cases; where they are several, in a line each."""
    between = "\n" if len(errors) > 1 else " "
    return UserError(
        between.join(["{} of {} cases cannot be used:".format(len(errors), cases)] + list(map(str, errors)))
    )

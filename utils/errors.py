"""The one exception that means: the user can put this right."""


class UserError(Exception):
    """Bad input or an impossible request, told in one line.

    The message names the file or flag, what is wrong with it, and what to do. Entry points print it
    without a traceback and exit with status 2.
    """


def comes_from_interrupt(error):
    """Tells whether an exception is Ctrl-C, or what became of it on its way through a library."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None

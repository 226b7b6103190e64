"""The one exception that means: the user can put this right."""


class UserError(Exception):
    """Bad input or an impossible request, told in one line.

    The message names the file or flag, what is wrong with it, and what to do. Entry points print it
    without a traceback and exit with status 2.
    """

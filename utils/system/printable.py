"""Text from file names, headers and JSON files, made fit to be shown: on a terminal, in a log, on the report's page."""

import re

# Control characters (terminals take some for commands), halves of surrogate pairs (no encoding holds them), line and
# paragraph separators, and what turns the direction of the text that follows it round.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE_BUT_LINE_ENDS = re.compile(_UNPRINTABLE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))


def is_printable(text):
    """Tells whether a text can be shown on one line of any terminal, in the order it is written in."""
    return _UNPRINTABLE.search(text) is None


def printable(text, lines=False):
    """Returns the text of any value with what cannot be shown replaced by its code, such as ``\\x1b``.

    With ``lines`` the ends of lines stay.
    """
    pattern = _UNPRINTABLE_BUT_LINE_ENDS if lines else _UNPRINTABLE
    return pattern.sub(lambda match: ascii(match.group())[1:-1], str(text))

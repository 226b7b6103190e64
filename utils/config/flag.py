"""What a flag is: its name, its sort of value, its default, and what its help says."""

from typing import Any, NamedTuple, Optional, Tuple

from utils.config.flag_values import Kind


class Flag(NamedTuple):
    """One flag: `--name`. `count` is None for a single value, else the fewest and most values of a list.

    `metavar` names the values of a list one by one in the help, where that says more than the kind's. `word` is
    what may stand instead of a list.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    count: Optional[Tuple[int, int]] = None
    metavar: Optional[Tuple[str, ...]] = None
    word: Optional[str] = None

    def problem(self, value):
        """Says what is wrong with `value` (a parsed one, or one read from JSON), or returns None."""
        if self.word is not None and value == self.word:
            return None
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

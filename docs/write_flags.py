#!/usr/bin/env python3
"""Writes docs/flags.md from the table of flags: run `python docs/write_flags.py` after a change of a flag or recipe."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.config.flag import shown
from utils.config.flags import GROUPS
from utils.config.recipes import named

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flags.md")
HEAD = """\
# Flags of main.py

`python docs/write_flags.py` writes this page. `python main.py --help` says the same.

* A flag that is given wins over the settings of the model in `--model_dir`, and those win over the recipe's defaults.
  A flag that contradicts the trained model is refused.
* `--recipe tuned` and `--model unet` change the defaults of the flags that have a value in their columns.
* `--flag` alone turns a switch on; `--flag off` turns one off that the recipe or the model has on.
* A list is typed with spaces, as in `--input_shape 32 48 32`.
* Where the published parameter list contradicts itself, the defaults are those behind its accuracy table: ReLU, linear
  interpolation, centred RMSProp with a base learning rate of 0.0001 and no momentum.
* `--log_every` counts optimizer steps; each epoch is logged anyway.
"""


def markdown():
    """The content of docs/flags.md."""
    parts = [HEAD]
    for title, flags in GROUPS.items():
        recipes = [(name, values) for name, values in named() if any(flag.name in values for flag in flags)]
        heads = ["flag", "values", "default"] + [name for name, _ in recipes] + ["meaning"]
        rows = [heads, ["---"] * len(heads)] + [_row(flag, recipes) for flag in flags]
        lines = ["| {} |".format(" | ".join(row)) for row in rows]
        parts.append("\n## {}\n\n{}\n".format(title.capitalize(), "\n".join(lines)))
    return "".join(parts)


def _row(flag, recipes):
    default = "" if flag.default is None else shown(flag.default)
    changed = [shown(values[flag.name]) if flag.name in values else "" for _, values in recipes]
    return ["`--{}`".format(flag.name), _values(flag), default] + changed + [flag.help]


def _values(flag):
    values = flag.kind.metavar.strip("{}").replace("|", ",").split(",")
    text = flag.kind.meaning if flag.kind.metavar in ("N", "R") else ", ".join(values)
    if flag.count is not None:
        most = flag.count[1]
        counts = "1 or more" if most > 100 else " to ".join(str(count) for count in sorted(set(flag.count)))
        text = "{}: {}".format(counts, text)
    return text + (", or {}".format(flag.word) if flag.word else "")


def main():
    with open(PATH, "w", encoding="utf-8") as file:
        file.write(markdown())
    print(PATH)


if __name__ == "__main__":
    main()

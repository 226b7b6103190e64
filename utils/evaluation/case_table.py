"""Figures per case and structure: as entries of a JSON file, as a CSV file, as rows that workers exchange.

The figures of a case are a NamedTuple: its first field is the case's `name`, and each other one is a measure, a
sequence of one number per structure (background left out), NaN where it is undefined.
"""

import csv

import numpy as np

from utils.system.files import replace_on_success

# Spreadsheets take text that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def measures_of(kind):
    """Returns the names of the measures of a NamedTuple of figures."""
    return kind._fields[1:]


def entries(cases, structures):
    """Returns a dict per case: "case", its name, and each measure, a dict of structure name to number.

    Raises:
        ValueError: a case has another number of figures than there are structures.
    """
    return [_entry(case, structures) for case in cases]


def _entry(case, structures):
    entry = {"case": case.name}
    for measure in measures_of(case):
        values = getattr(case, measure)
        if len(values) != len(structures):
            raise ValueError(
                "{}: {} values of {} for {} structures".format(case.name, len(values), measure, len(structures))
            )
        entry[measure] = dict(zip(structures, values))
    return entry


def write_csv(path, entries, structures, measures):
    """Writes one line per case and structure: case, structure and the measures; what is None is an empty field.

    A name that a spreadsheet would take for a formula stands behind an apostrophe, which makes it text there.

    Raises:
        UserError: the file cannot be written.
    """
    with replace_on_success(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("case", "structure") + tuple(measures))
            for entry in entries:
                for structure in structures:
                    values = [entry[measure][structure] for measure in measures]
                    names = [_text(entry["case"]), _text(structure)]
                    table.writerow(names + ["" if value is None else value for value in values])


def _text(name):
    return "'" + name if name.startswith(FORMULA_STARTS) else name


def gathered(workers, cases, kind, names, structures):
    """Returns the figures of all workers' cases, in the order of `names`, for everyone.

    Args:
        workers: the ``utils.running.workers.Workers``.
        cases: this worker's, NamedTuples of `kind`.
        kind: the NamedTuple class.
        names: the names of all cases that there may be, each once.
        structures: the number of structures.
    """
    measures = len(measures_of(kind))
    own = [np.concatenate([[names.index(case.name)]] + [np.ravel(values) for values in case[1:]]) for case in cases]
    rows = workers.gather(np.reshape(own, [-1, 1 + measures * structures]))
    rows = rows[np.argsort(rows[:, 0])]
    return [kind(names[int(row[0])], *np.split(row[1:], measures)) for row in rows]

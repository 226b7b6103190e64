"""The scores of an evaluation -> evaluation.json, evaluation.csv and a table for the terminal."""

import csv
import os
from typing import NamedTuple, Sequence

import numpy as np

from dllogger.values import plain
from utils.files import replace_on_success, write_json_atomically
from utils.scores import mean_of_defined

JSON_NAME = "evaluation.json"
CSV_NAME = "evaluation.csv"
MEASURES = ("soft_dice", "hard_dice")


class CaseScores(NamedTuple):
    """One case's scores, in the order of the structures (background left out); NaN where undefined.

    soft_dice is of the probabilities on the network's grid, hard_dice of the mask on the image's own.
    """

    name: str
    soft_dice: Sequence[float]
    hard_dice: Sequence[float]


def summarise(scores, structures, extra=None):
    """Returns the evaluation as a dict that JSON can hold: None stands for what is undefined.

    Args:
        scores: CaseScores, one per case.
        structures: names of the structures, background left out.
        extra: dict of further entries, such as the checkpoint's step.

    Keys: "structures": list of names; "cases": list of {"case", "soft_dice", "hard_dice"}; "mean",
    "standard_deviation" (of the cases as a population), "minimum", "maximum" and "count" (of the cases where
    the score is defined): each {"soft_dice", "hard_dice"}. Every "soft_dice" and "hard_dice" is a dict of
    structure name to number. Then come the entries of `extra`.

    Raises:
        ValueError: a case has another number of scores than there are structures, two structures have one
            name, or an extra entry has the name of one of ours.
    """
    structures = list(structures)
    if len(set(structures)) < len(structures):
        raise ValueError("two structures have one name: {}".format(", ".join(structures)))
    summary = {"structures": structures, "cases": [_case_entry(case, structures) for case in scores]}
    for name, statistic in _STATISTICS:
        summary[name] = {
            measure: dict(zip(structures, _per_structure(scores, measure, len(structures), statistic)))
            for measure in MEASURES
        }
    for key, value in (extra or {}).items():
        if key in summary:
            raise ValueError("the extra entry {!r} has the name of one of the evaluation's own".format(key))
        summary[key] = value
    return plain(summary)


def _case_entry(case, structures):
    entry = {"case": case.name}
    for measure in MEASURES:
        values = getattr(case, measure)
        if len(values) != len(structures):
            raise ValueError(
                "{}: {} values of {} for {} structures".format(case.name, len(values), measure, len(structures))
            )
        entry[measure] = dict(zip(structures, values))
    return entry


def _per_structure(scores, measure, structures, statistic):
    values = np.array([getattr(case, measure) for case in scores], dtype=np.float64).reshape(-1, structures)
    return [statistic(column[~np.isnan(column)]) for column in values.T]


_STATISTICS = (
    ("mean", mean_of_defined),
    ("standard_deviation", lambda values: values.std() if values.size else np.nan),
    ("minimum", lambda values: values.min() if values.size else np.nan),
    ("maximum", lambda values: values.max() if values.size else np.nan),
    ("count", len),
)


def write(summary, model_dir):
    """Writes evaluation.json (all of `summary`) and evaluation.csv (its cases) into `model_dir`.

    The CSV has one line per case and structure: case, structure, soft_dice, hard_dice; an undefined score is
    an empty field.

    Raises:
        UserError: a file cannot be written.
    """
    write_json_atomically(os.path.join(str(model_dir), JSON_NAME), summary)
    with replace_on_success(os.path.join(str(model_dir), CSV_NAME)) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("case", "structure") + MEASURES)
            table.writerows(_csv_rows(summary))


def _csv_rows(summary):
    for case in summary["cases"]:
        for structure in summary["structures"]:
            values = [case[measure][structure] for measure in MEASURES]
            yield [case["case"], structure] + ["" if value is None else value for value in values]


def format_table(summary):
    """Returns the table for the terminal: per structure the mean and standard deviation over the cases.

    "cases" is how many have a defined hard Dice; "worst case" is the one with the lowest.
    """
    heading = ("structure", "soft Dice (network grid)", "hard Dice (original grid)", "cases", "worst case (hard Dice)")
    rows = [heading] + [_table_row(summary, structure) for structure in summary["structures"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _table_row(summary, structure):
    scores = [_mean_and_deviation(summary, measure, structure) for measure in MEASURES]
    count, total = summary["count"]["hard_dice"][structure], len(summary["cases"])
    cases = str(total) if count == total else "{} of {}".format(count, total)
    return [structure] + scores + [cases, _worst_case(summary, structure)]


def _mean_and_deviation(summary, measure, structure):
    mean = summary["mean"][measure][structure]
    if mean is None:
        return "undefined"
    # ASCII, for the containers whose locale has no plus-minus sign.
    return "{:.4f} +/- {:.4f}".format(mean, summary["standard_deviation"][measure][structure])


def _worst_case(summary, structure):
    defined = [case for case in summary["cases"] if case["hard_dice"][structure] is not None]
    if not defined:
        return "none"
    worst = min(defined, key=lambda case: case["hard_dice"][structure])
    return "{} ({:.4f})".format(worst["case"], worst["hard_dice"][structure])

"""The scores of an evaluation -> evaluation.json, evaluation.csv and a table for the terminal."""

import os
import textwrap
from typing import NamedTuple, Sequence

import numpy as np

from dllogger.values import plain
from utils.evaluation import absent_structures, case_table
from utils.evaluation.scores import mean_of_defined
from utils.evaluation.statistics import bootstrap_interval, rank_correlation
from utils.imaging.case_files import is_stack
from utils.system.files import write_json_atomically

JSON_NAME = "evaluation.json"
CSV_NAME = "evaluation.csv"

# The table fits a terminal of this many columns; names that are too long for it lose their middle.
TABLE_WIDTH = 120
LONGEST_STRUCTURE = 14
SHORTEST_CASE = 8


class CaseScores(NamedTuple):
    """One case's scores, in the order of the structures (background left out); NaN where undefined.

    soft_dice is of the probabilities on the network's grid; all others are of the mask on the image's own grid, as
    it is written. volume_difference_ml is the mask's volume less the true one.
    """

    name: str
    soft_dice: Sequence[float]
    hard_dice: Sequence[float]
    hausdorff_95_mm: Sequence[float]
    surface_distance_mm: Sequence[float]
    volume_ml: Sequence[float]
    true_volume_ml: Sequence[float]
    volume_difference_ml: Sequence[float]
    uncertainty: Sequence[float]


class PageScores(NamedTuple):
    """The same of a page of a stack of images, of which lengths and areas are known in pixels alone."""

    name: str
    soft_dice: Sequence[float]
    hard_dice: Sequence[float]
    hausdorff_95_pixels: Sequence[float]
    surface_distance_pixels: Sequence[float]
    area_pixels: Sequence[float]
    true_area_pixels: Sequence[float]
    area_difference_pixels: Sequence[float]
    uncertainty: Sequence[float]


MEASURES = case_table.measures_of(CaseScores)


def kind_of(cases):
    """Returns the class of the scores of ``utils.imaging.tasks.Case``s, all of them scans or all of them pages."""
    return PageScores if any(map(is_stack, cases)) else CaseScores


def summarise(scores, structures, extra=None):
    """Returns the evaluation as a dict that JSON can hold: None stands for what is undefined.

    Args:
        scores: CaseScores, one per case; or PageScores, with measures of their own.
        structures: names of the structures, background left out.
        extra: dict of further entries, such as the checkpoint's step.

    Keys: "structures": list of names; "cases": list of {"case" and MEASURES}; then, over the cases where the measure
    is defined, "mean", "median", "standard_deviation" (of the cases as a population), "minimum", "maximum",
    "count" and "mean_interval_95" (list of the two ends, by the bootstrap): each {MEASURES}. Every measure is a
    dict of structure name to number. "uncertainty_rank_correlation" says how well the uncertainty ranks the cases
    by their hard Dice (Spearman; -1 where it ranks all rightly): {"structures": a dict of structure name to number,
    "case_means": a number, of the means of each case's structures that have both, "count": of how many cases, the same
    two entries}. Then come the entries of `extra`.

    Raises:
        ValueError: a case has another number of scores than there are structures, two structures have one
            name, or an extra entry has the name of one of ours.
    """
    structures = list(structures)
    if len(set(structures)) < len(structures):
        raise ValueError("two structures have one name: {}".format(", ".join(structures)))
    summary = {"structures": structures, "cases": case_table.entries(scores, structures)}
    measures = case_table.measures_of(type(scores[0])) if scores else MEASURES
    columns = {
        measure: np.array([getattr(case, measure) for case in scores], np.float64).reshape(-1, len(structures))
        for measure in measures
    }
    for name, statistic in _STATISTICS:
        summary[name] = {
            measure: dict(zip(structures, [statistic(column[~np.isnan(column)]) for column in columns[measure].T]))
            for measure in measures
        }
    summary["uncertainty_rank_correlation"] = _rank_correlations(
        columns["uncertainty"], columns["hard_dice"], structures
    )
    for key, value in (extra or {}).items():
        if key in summary:
            raise ValueError("the extra entry {!r} has the name of one of the evaluation's own".format(key))
        summary[key] = value
    return plain(summary)


def _rank_correlations(uncertainty, dice, structures):
    defined = ~(np.isnan(uncertainty) | np.isnan(dice))
    # Of the same structures.
    means = [mean_of_defined(np.where(defined, values, np.nan), axis=1) for values in (uncertainty, dice)]
    return {
        "structures": dict(zip(structures, [rank_correlation(*pair) for pair in zip(uncertainty.T, dice.T)])),
        "case_means": rank_correlation(*means),
        "count": {
            "structures": dict(zip(structures, defined.sum(axis=0))),
            "case_means": np.count_nonzero(defined.any(axis=1)),
        },
    }


def _interval(values):
    interval = bootstrap_interval(values)
    return np.nan if np.isnan(interval).any() else interval


_STATISTICS = (
    ("mean", mean_of_defined),
    ("mean_interval_95", _interval),
    ("median", lambda values: np.median(values) if values.size else np.nan),
    ("standard_deviation", lambda values: values.std() if values.size else np.nan),
    ("minimum", lambda values: values.min() if values.size else np.nan),
    ("maximum", lambda values: values.max() if values.size else np.nan),
    ("count", len),
)


def write_json(summary, model_dir):
    """Writes evaluation.json, all of `summary`, into `model_dir`; raises CannotWrite."""
    write_json_atomically(os.path.join(str(model_dir), JSON_NAME), summary)


def write_csv(summary, model_dir):
    """Writes evaluation.csv, the cases of `summary`, into `model_dir`; raises CannotWrite.

    It has one line per case and structure: case, structure and MEASURES; an undefined score is an empty field.
    """
    path = os.path.join(str(model_dir), CSV_NAME)
    case_table.write_csv(path, summary["cases"], summary["structures"], list(summary["mean"]))


def format_table(summary):
    """Returns the table for the terminal, of at most 120 columns: a line per structure, over the held-out cases.

    The scores are means, "none" where they are undefined; that of the hard Dice has its 95 % interval. "volume" is the
    difference of the volumes, of pages "area" that of the areas; "cases" is how many have a defined hard Dice; "worst
    case" is the one with the lowest. Lines below tell of distances that fewer cases have, and of structures that were
    not found; the last one tells how well the uncertainty ranks the cases.
    """
    form = _OF_PAGES if set(_OF_PAGES.measures) <= set(summary["mean"]) else _OF_SCANS
    heading = ("structure", "soft Dice", "hard Dice [95 %]", "median") + form.headings + ("cases",)
    rows = [heading] + [_table_row(summary, structure, form) for structure in summary["structures"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    left = max(SHORTEST_CASE, TABLE_WIDTH - sum(widths) - 2 * len(widths) - len(" (0.0000)"))
    worst = ["worst case"] + [_worst_case(summary, structure, left) for structure in summary["structures"]]
    widths.append(max(len(cell) for cell in worst))
    lines = [_line(row + (cell,), widths) for row, cell in zip(rows, worst)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    below = _distance_lines(summary, form) + absent_structures.lines(summary["cases"]) + [_rank_line(summary)]
    return "\n".join([_CAPTION.format(form.size)] + lines + [_filled(line) for line in below])


_CAPTION = "hard Dice (original grid): mean [95 % interval of the mean] and median; others: means; {}: mask less truth"
_Form = NamedTuple(
    "_Form", [("headings", Sequence[str]), ("measures", Sequence[str]), ("formats", Sequence[str]), ("size", str)]
)
_OF_SCANS = _Form(
    ("HD95 mm", "ASSD mm", "volume ml"),
    ("hausdorff_95_mm", "surface_distance_mm", "volume_difference_ml"),
    ("{:.2f}", "{:.2f}", "{:+.2f}"),
    "volume",
)
_OF_PAGES = _Form(
    ("HD95 pixels", "ASSD pixels", "area pixels"),
    ("hausdorff_95_pixels", "surface_distance_pixels", "area_difference_pixels"),
    ("{:.2f}", "{:.2f}", "{:+.0f}"),
    "area",
)


def _line(cells, widths):
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()


def _table_row(summary, structure, form):
    def shown(statistic, measure, form):
        value = summary[statistic][measure][structure]
        return "none" if value is None else form.format(value)

    dice, interval = shown("mean", "hard_dice", "{:.4f}"), summary["mean_interval_95"]["hard_dice"][structure]
    count, total = summary["count"]["hard_dice"][structure], len(summary["cases"])
    first = (
        _shortened(structure, LONGEST_STRUCTURE),
        shown("mean", "soft_dice", "{:.4f}"),
        dice if interval is None else "{} [{:.4f}, {:.4f}]".format(dice, *interval),
        shown("median", "hard_dice", "{:.4f}"),
    )
    own = tuple(shown("mean", *entry) for entry in zip(form.measures, form.formats))
    return first + own + (str(total) if count == total else "{} of {}".format(count, total),)


def _worst_case(summary, structure, width):
    defined = [case for case in summary["cases"] if case["hard_dice"][structure] is not None]
    if not defined:
        return "none"
    worst = min(defined, key=lambda case: case["hard_dice"][structure])
    return "{} ({:.4f})".format(_shortened(worst["case"], width), worst["hard_dice"][structure])


def _shortened(text, width):
    first = width // 2 - 1
    return text if len(text) <= width else text[:first] + ".." + text[-(width - first - 2) :]


def _distance_lines(summary, form):
    """Of how many cases the distances are, where the Dice is of more; no line where it never is."""
    told = []
    for structure in summary["structures"]:
        cases, defined = (summary["count"][measure][structure] for measure in ("hard_dice", form.measures[0]))
        if defined < cases:
            told.append("{} {} of {}".format(_shortened(structure, LONGEST_STRUCTURE), defined, cases))
    text = "HD95 and ASSD are of the cases where mask and truth have the structure: " + ", ".join(told)
    return [text] if told else []


def _rank_line(summary):
    found = summary["uncertainty_rank_correlation"]
    counts, total = found["count"], len(summary["cases"])
    told = [
        (_shortened(name, LONGEST_STRUCTURE), value, counts["structures"][name])
        for name, value in found["structures"].items()
    ]
    shown = []
    for name, value, count in told + [("means of the cases", found["case_means"], counts["case_means"])]:
        shown.append("{} {}".format(name, "none" if value is None else "{:+.2f}".format(value)))
        if value is not None and count < total:
            shown[-1] += " ({} of {})".format(count, total)
    return "rank correlation of uncertainty and hard Dice (best: -1): " + ", ".join(shown)


def _filled(text):
    return textwrap.fill(text, TABLE_WIDTH, subsequent_indent="  ")

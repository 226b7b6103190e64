"""What a report's tables hold: the columns of the measures that cases have, and the cases, the worst first."""

import math
from typing import Any, Dict, List, NamedTuple, Optional

from utils.evaluation.absent_structures import not_found


class Measure(NamedTuple):
    """How a measure is shown: its title, its unit, and the format of its numbers."""

    title: str
    unit: str = ""
    form: str = "{:.4g}"


# In the order of the tables' columns; what is not here comes last, under its own name.
MEASURES = {
    "hard_dice": Measure("Dice", "", "{:.3f}"),
    "hausdorff_95_mm": Measure("Hausdorff 95 %", "mm", "{:.2f}"),
    "surface_distance_mm": Measure("Surface distance", "mm", "{:.2f}"),
    "hausdorff_95_pixels": Measure("Hausdorff 95 %", "pixels", "{:.2f}"),
    "surface_distance_pixels": Measure("Surface distance", "pixels", "{:.2f}"),
    "volume_ml": Measure("Volume", "ml", "{:.2f}"),
    "true_volume_ml": Measure("True volume", "ml", "{:.2f}"),
    "volume_difference_ml": Measure("Volume difference", "ml", "{:+.2f}"),
    "area_pixels": Measure("Area", "pixels", "{:.0f}"),
    "true_area_pixels": Measure("True area", "pixels", "{:.0f}"),
    "area_difference_pixels": Measure("Area difference", "pixels", "{:+.0f}"),
    "uncertainty": Measure("Uncertainty", "", "{:.3f}"),
    "soft_dice": Measure("Soft Dice", "", "{:.3f}"),
}
UNITS = {"_mm": "mm", "_ml": "ml"}
MEAN = "mean of the structures"
LARGEST = 1e12
# The uncertainty of a structure that was not found, though most of the other cases have it: above all that are told.
NOT_FOUND = math.inf
# A case is the worse the lower the first, and where there is none the higher the second.
RANKING = (("hard_dice", 1.0), ("uncertainty", -1.0))
STATISTICS = {
    "mean": "Mean",
    "mean_interval_95": "95 % interval of the mean",
    "median": "Median",
    "standard_deviation": "Standard deviation",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "count": "Cases with a value",
}


class Column(NamedTuple):
    """One measure of one structure; ``part`` is None for a measure of the whole case, MEAN for that of all."""

    measure: str
    part: Optional[str]
    shown: Measure

    def text(self, value):
        """A value as the page shows it; an interval too, and a count."""
        if value is None:
            return "–"
        if value == NOT_FOUND:
            return "not found"
        if isinstance(value, list):
            return " to ".join(self.text(end) for end in value)
        return self.shown.form.format(value) if isinstance(value, float) else str(value)


class Row(NamedTuple):
    """A case: its name and its value (None where undefined, or NOT_FOUND) in each column."""

    name: str
    values: List[Optional[float]]


class Table(NamedTuple):
    """Columns and rows, the worst case first by the column ``ranked_by`` (None: in the order given)."""

    columns: List[Column]
    rows: List[Row]
    ranked_by: Optional[int]
    rising: bool
    statistics: Dict[str, List[Any]]


def tabulate(summary):
    """Returns the Table of an evaluation or of predictions, as read from their JSON file.

    Each case has a dict of structure name to number for each measure, or one number.
    """
    structures, cases = summary.get("structures", []), summary.get("cases", [])
    columns = []
    for measure in _measures(cases):
        columns.extend(Column(measure, part, _shown(measure)) for part in _parts(measure, cases, structures))
    rows = [
        Row(str(case["case"]), [_value(case, column, missing) for column in columns])
        for case, missing in zip(cases, not_found(cases))
    ]
    ranked_by, sign = _ranking(columns)
    if ranked_by is not None:
        rows.sort(key=lambda row: _rank(row.values[ranked_by], sign))
    return Table(columns, rows, ranked_by, sign > 0, _statistics(summary, columns))


def _measures(cases):
    found = []
    for case in cases:
        found.extend(name for name in case if name != "case" and name not in found and _tells(case[name]))
    known = list(MEASURES)
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


def _tells(values):
    """Whether there is any number: a measure that no case has is not worth a column."""
    return any(_number(value) is not None for value in (values.values() if isinstance(values, dict) else [values]))


def _shown(measure):
    if measure in MEASURES:
        return MEASURES[measure]
    unit = next((unit for ending, unit in UNITS.items() if measure.endswith(ending)), "")
    name = measure[: -len(unit) - 1] if unit else measure
    return Measure(name.replace("_", " ").capitalize(), unit)


def _parts(measure, cases, structures):
    dicts = [case[measure] for case in cases if isinstance(case.get(measure), dict)]
    if not dicts:
        return [None]
    found = [structure for structure in structures if any(structure in values for values in dicts)]
    for values in dicts:
        found.extend(name for name in values if name not in found)
    return ([MEAN] if measure in dict(RANKING) and len(found) > 1 else []) + found


def _value(entry, column, missing):
    if column.measure == "uncertainty" and missing and column.part in [MEAN] + missing:
        return NOT_FOUND
    values = entry.get(column.measure)
    if column.part is None:
        return _number(values)
    values = values if isinstance(values, dict) else {}
    if column.part == MEAN:
        defined = [number for number in map(_number, values.values()) if number is not None]
        return sum(defined) / len(defined) if defined else None
    return _number(values.get(column.part))


def _number(value):
    """A number of JSON as float; None for what is none, or beyond all that can be measured or drawn."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= LARGEST else None


def _ranking(columns):
    for measure, sign in RANKING:
        places = [place for place, column in enumerate(columns) if column.measure == measure]
        if places:
            return places[0], sign
    return None, 1.0


def _rank(value, sign):
    return (value is None, 0.0 if value is None else sign * value)


def _statistics(summary, columns):
    found = {}
    for key, title in STATISTICS.items():
        entry = summary.get(key)
        if isinstance(entry, dict):
            values = [_statistic(entry.get(column.measure), column.part) for column in columns]
            if any(value is not None for value in values):
                found[title] = values
    return found


def _statistic(values, part):
    return values.get(part) if isinstance(values, dict) and part is not None else None

"""What is known of masks that no label can score -> predictions.json, predictions.csv and a line for the terminal."""

import os
from typing import NamedTuple, Sequence

import numpy as np

from dllogger.values import plain
from utils.evaluation import absent_structures, case_table
from utils.evaluation.scores import mean_of_defined
from utils.imaging import stacks
from utils.imaging.case_files import is_stack
from utils.system.files import write_json_atomically
from utils.system.progress import say

JSON_NAME = "predictions.json"
CSV_NAME = "predictions.csv"


class CasePrediction(NamedTuple):
    """One predicted case, in the order of the structures (background left out).

    volume_ml is that of the mask, uncertainty that of ``utils.evaluation.uncertainty``, NaN where it is undefined.
    """

    name: str
    volume_ml: Sequence[float]
    uncertainty: Sequence[float]


MEASURES = case_table.measures_of(CasePrediction)


class StackPrediction(NamedTuple):
    """The same of a stack of images: area_pixels are the pixels of the masks of all its pages."""

    name: str
    area_pixels: Sequence[float]
    uncertainty: Sequence[float]


def kind_of(cases):
    """Returns the class of what is known of the masks of ``Case``s, all of scans or all of stacks."""
    return StackPrediction if any(map(is_stack, cases)) else CasePrediction


def page_names(cases, made):
    """Returns what predictions.json tells of folders of images: {"pages": {case: names of its files}}, {} without any.

    The names are in the order of the pages of the mask. Of the ``utils.imaging.tasks.Case``s those are told of that are
    among the predictions ``made``. Raises UserError for a folder that cannot be read any more.
    """
    known = {prediction.name for prediction in made}
    folders = [case for case in cases if case.name in known and is_stack(case) and os.path.isdir(case.image)]
    names = {case.name: [os.path.basename(page.path) for page in stacks.pages_of(case.image)] for case in folders}
    return {"pages": names} if names else {}


def tabulate(predictions, structures, extra):
    """Returns what predictions.json holds: a dict that JSON can hold.

    "structures": list of names; "cases": list of {"case", "volume_ml", "uncertainty"}, the last two dicts of structure
    name to number or None (of stacks "area_pixels" instead of the volume); and the entries of the dict `extra`.
    """
    structures = list(structures)
    return plain(dict({"structures": structures, "cases": case_table.entries(predictions, structures)}, **extra))


def write_json(table, model_dir):
    """Writes what `tabulate` returns to predictions.json in `model_dir`; raises CannotWrite."""
    write_json_atomically(os.path.join(str(model_dir), JSON_NAME), table)


def write_csv(table, model_dir):
    """Writes its cases to predictions.csv in `model_dir`, one line per case and structure; raises CannotWrite."""
    cases = table["cases"]
    measures = [key for key in cases[0] if key != "case"] if cases else MEASURES
    case_table.write_csv(os.path.join(str(model_dir), CSV_NAME), cases, table["structures"], measures)


def tell(table, model_dir):
    """Says of what `tabulate` returns which cases a person should look at first, and where the rest is.

    Those are the cases in which a structure was not found, and the one that has the highest mean uncertainty.
    """
    cases = table["cases"]
    for line in absent_structures.lines(cases):
        say(line)
    means = np.array([mean_of_defined(list(case["uncertainty"].values())) for case in cases], np.float64)
    if np.isfinite(means).any():
        worst = int(np.nanargmax(means))
        say("most uncertain case: {} ({:.4f})".format(cases[worst]["case"], means[worst]))
    sizes = "areas" if cases and "area_pixels" in cases[0] else "volumes"
    say("{} and uncertainties: {}".format(sizes, os.path.join(str(model_dir), JSON_NAME)))

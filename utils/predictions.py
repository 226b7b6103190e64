"""What is known of masks that no label can score -> predictions.json, predictions.csv and a line for the terminal."""

import os
from typing import NamedTuple, Sequence

import numpy as np

from dllogger.values import plain
from utils import case_table
from utils.files import write_json_atomically
from utils.progress import say
from utils.scores import mean_of_defined

JSON_NAME = "predictions.json"
CSV_NAME = "predictions.csv"


class CasePrediction(NamedTuple):
    """One predicted case, in the order of the structures (background left out).

    volume_ml is that of the mask, uncertainty that of ``utils.uncertainty``, NaN where it is undefined.
    """

    name: str
    volume_ml: Sequence[float]
    uncertainty: Sequence[float]


MEASURES = case_table.measures_of(CasePrediction)


def tabulate(predictions, structures, extra):
    """Returns what predictions.json holds: a dict that JSON can hold.

    "structures": list of names; "cases": list of {"case", "volume_ml", "uncertainty"}, the last two dicts of structure
    name to number or None; and the entries of the dict `extra`.
    """
    structures = list(structures)
    return plain(dict({"structures": structures, "cases": case_table.entries(predictions, structures)}, **extra))


def write_json(table, model_dir):
    """Writes what `tabulate` returns to predictions.json in `model_dir`; raises CannotWrite."""
    write_json_atomically(os.path.join(str(model_dir), JSON_NAME), table)


def write_csv(table, model_dir):
    """Writes its cases to predictions.csv in `model_dir`, one line per case and structure; raises CannotWrite."""
    case_table.write_csv(os.path.join(str(model_dir), CSV_NAME), table["cases"], table["structures"], MEASURES)


def tell(predictions, model_dir):
    """Says which case has the highest mean uncertainty, which a person should look at first, and where the rest is."""
    means = np.array([mean_of_defined(case.uncertainty) for case in predictions], np.float64)
    if np.isfinite(means).any():
        worst = int(np.nanargmax(means))
        say("most uncertain case: {} ({:.4f})".format(predictions[worst].name, means[worst]))
    say("volumes and uncertainties: {}".format(os.path.join(str(model_dir), JSON_NAME)))

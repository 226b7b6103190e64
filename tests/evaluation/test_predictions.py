import csv
import json
import re

import numpy as np
import pytest
from stack_tasks import grey, saved

from utils.evaluation.predictions import (
    CasePrediction,
    StackPrediction,
    page_names,
    tabulate,
    tell,
    write_csv,
    write_json,
)
from utils.imaging.case_files import read_channels
from utils.imaging.nifti import to_array
from utils.imaging.tasks import cases_of_images
from utils.system.errors import UserError

STRUCTURES = ["Anterior", "Posterior"]
NAN = float("nan")
PREDICTIONS = [
    CasePrediction("case_1", [1.5, 2.5], [0.1, 0.3]),
    CasePrediction("case_2", [0.5, 0.0], [0.25, NAN]),
    CasePrediction("case_3", [0.0, 0.0], [NAN, NAN]),
]


class TestFiles:
    def test_json(self, tmp_path):
        write_json(tabulate(PREDICTIONS, STRUCTURES, {"checkpoint": {"which": "best", "step": 8}}), tmp_path)
        content = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
        assert content["structures"] == STRUCTURES
        assert content["checkpoint"] == {"which": "best", "step": 8}
        assert content["cases"][1] == {
            "case": "case_2",
            "volume_ml": {"Anterior": 0.5, "Posterior": 0.0},
            "uncertainty": {"Anterior": 0.25, "Posterior": None},
        }

    def test_the_files_of_a_folder_are_named_in_the_order_of_the_masks_pages(self, tmp_path):
        for number in range(12):
            saved(tmp_path / "cells" / "page{}.png".format(number), np.full((3, 2), number, np.uint8))
        stack = saved(tmp_path / "stack.tif", grey(), grey())
        cases = cases_of_images([str(tmp_path / "cells"), stack])
        made = [StackPrediction(case.name, [1.0], [0.1]) for case in cases]
        found = page_names(cases, made)
        assert found == {"pages": {"cells": ["page{}.png".format(number) for number in range(12)]}}
        # The network, and so the mask, has them in this order.
        pixels = to_array(read_channels(cases[0])[0])
        assert [int(re.sub("[^0-9]", "", name)) for name in found["pages"]["cells"]] == list(pixels[0, 0])
        table = tabulate(made, ["cell"], found)
        assert table["pages"] == found["pages"] and len(table["cases"]) == 2
        assert page_names(cases, made[1:]) == page_names([], made) == {}

    def test_csv(self, tmp_path):
        write_csv(tabulate(PREDICTIONS, STRUCTURES, {}), tmp_path)
        with open(str(tmp_path / "predictions.csv"), newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["case", "structure", "volume_ml", "uncertainty"]
        assert rows[1] == ["case_1", "Anterior", "1.5", "0.1"] and rows[4] == ["case_2", "Posterior", "0.0", ""]
        assert len(rows) == 1 + 2 * len(PREDICTIONS)

    def test_a_file_in_the_place_of_the_folder(self, tmp_path):
        (tmp_path / "results").write_text("")
        with pytest.raises(UserError, match=r"results.predictions\.json.*cannot be written"):
            write_json(tabulate(PREDICTIONS, STRUCTURES, {}), tmp_path / "results")


class TestTerminal:
    def test_the_cases_to_look_at(self, capsys):
        tell(tabulate(PREDICTIONS, STRUCTURES, {}), "model")
        assert capsys.readouterr().out.splitlines() == [
            "not found: Anterior in case_3",
            "most uncertain case: case_2 (0.2500)",
            "volumes and uncertainties: model/predictions.json",
        ]

    @pytest.mark.filterwarnings("error")
    def test_nothing_found_in_any(self, capsys):
        tell(tabulate(PREDICTIONS[2:], STRUCTURES, {}), "model")
        assert capsys.readouterr().out == "volumes and uncertainties: model/predictions.json\n"

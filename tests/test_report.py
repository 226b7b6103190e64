import csv
import json
import os

import numpy as np
import pytest

from utils.errors import UserError
from utils.report import CaseScores, format_table, summarise, write

STRUCTURES = ("Anterior", "Posterior")
NAN = float("nan")
SCORES = (
    CaseScores("case_001", [0.8, 0.6], [0.9, NAN]),
    CaseScores("case_002", [0.6, NAN], [0.7, NAN]),
    CaseScores("case_003", [0.7, 0.8], [0.8, NAN]),
)


def read_csv(path):
    with open(str(path), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestSummary:
    def test_statistics_by_hand(self):
        summary = summarise(SCORES, STRUCTURES)
        assert summary["structures"] == ["Anterior", "Posterior"]
        assert summary["mean"]["soft_dice"] == pytest.approx({"Anterior": 0.7, "Posterior": 0.7})
        assert summary["standard_deviation"]["soft_dice"] == pytest.approx(
            {"Anterior": (0.02 / 3) ** 0.5, "Posterior": 0.1}
        )
        assert summary["minimum"]["soft_dice"] == {"Anterior": 0.6, "Posterior": 0.6}
        assert summary["maximum"]["soft_dice"] == {"Anterior": 0.8, "Posterior": 0.8}
        assert summary["count"]["soft_dice"] == {"Anterior": 3, "Posterior": 2}

    def test_each_case(self):
        assert summarise(SCORES, STRUCTURES)["cases"][1] == {
            "case": "case_002",
            "soft_dice": {"Anterior": 0.6, "Posterior": None},
            "hard_dice": {"Anterior": 0.7, "Posterior": None},
        }

    @pytest.mark.parametrize("scores", [SCORES, []])
    @pytest.mark.filterwarnings("error")
    def test_defined_nowhere(self, scores):
        summary = summarise(scores, STRUCTURES)
        for statistic in ("mean", "standard_deviation", "minimum", "maximum"):
            assert summary[statistic]["hard_dice"]["Posterior"] is None
        assert summary["count"]["hard_dice"]["Posterior"] == 0

    def test_numpy_rows_and_extra_entries(self):
        scores = [CaseScores("a", np.array([0.5, np.nan]), np.array([0.5, 1], np.float32))]
        extra = {"checkpoint_step": np.int64(80), "loss": np.float32("nan")}
        summary = summarise(scores, STRUCTURES, extra=extra)
        assert summary["checkpoint_step"] == 80 and summary["loss"] is None
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary

    def test_extra_entry_with_a_name_of_ours(self):
        with pytest.raises(ValueError, match="'mean'"):
            summarise(SCORES, STRUCTURES, extra={"mean": 1})

    def test_wrong_number_of_scores(self):
        with pytest.raises(ValueError, match="case_1: 3 values of hard_dice for 2 structures"):
            summarise([CaseScores("case_1", [1, 1], [1, 1, 1])], STRUCTURES)

    def test_two_structures_of_one_name(self):
        with pytest.raises(ValueError, match="two structures have one name"):
            summarise(SCORES, ("Anterior", "Anterior"))


class TestFiles:
    def test_json_is_the_summary_and_has_no_nan(self, tmp_path):
        summary = summarise(SCORES, STRUCTURES, extra={"checkpoint": "best"})
        write(summary, str(tmp_path))
        text = (tmp_path / "evaluation.json").read_text(encoding="utf-8")
        assert json.loads(text, parse_constant=pytest.fail) == summary

    def test_csv_has_a_line_per_case_and_structure(self, tmp_path):
        write(summarise(SCORES, STRUCTURES), str(tmp_path))
        rows = read_csv(tmp_path / "evaluation.csv")
        assert [(row["case"], row["structure"]) for row in rows] == [
            (case.name, structure) for case in SCORES for structure in STRUCTURES
        ]
        assert dict(rows[2]) == {"case": "case_002", "structure": "Anterior", "soft_dice": "0.6", "hard_dice": "0.7"}
        assert dict(rows[3]) == {"case": "case_002", "structure": "Posterior", "soft_dice": "", "hard_dice": ""}

    def test_csv_keeps_every_digit_and_awkward_names(self, tmp_path):
        value = 1 / 3
        write(summarise([CaseScores('a,"b"', [value], [value])], ["left, upper"]), str(tmp_path))
        (row,) = read_csv(tmp_path / "evaluation.csv")
        assert (row["case"], row["structure"], float(row["soft_dice"])) == ('a,"b"', "left, upper", value)

    def test_an_earlier_evaluation_is_replaced_and_nothing_else_is_left(self, tmp_path):
        write(summarise(SCORES, STRUCTURES), str(tmp_path))
        write(summarise(SCORES[:1], STRUCTURES), str(tmp_path))
        assert sorted(os.listdir(str(tmp_path))) == ["evaluation.csv", "evaluation.json"]
        assert len(read_csv(tmp_path / "evaluation.csv")) == 2

    def test_a_file_in_the_place_of_the_folder(self, tmp_path):
        (tmp_path / "results").write_text("")
        with pytest.raises(UserError, match=r"results.evaluation\.json.*cannot be written"):
            write(summarise(SCORES, STRUCTURES), str(tmp_path / "results"))


class TestTable:
    def test_a_line_per_structure(self):
        heading, rule, anterior, posterior = format_table(summarise(SCORES, STRUCTURES)).splitlines()
        assert heading.split("  ")[0] == "structure" and set(rule) == {"-", " "}
        assert anterior.split() == "Anterior 0.7000 +/- 0.0816 0.8000 +/- 0.0816 3 case_002 (0.7000)".split()
        assert posterior.split() == "Posterior 0.7000 +/- 0.1000 undefined 0 of 3 none".split()

    def test_columns_stand_below_each_other(self):
        scores = [CaseScores("x", [0.5, 0.25], [0.125, 1.0])]
        lines = format_table(summarise(scores, ("a", "a structure with a long name"))).splitlines()
        column = lines[0].index("hard Dice")
        assert [line[column:].split()[0] for line in lines[2:]] == ["0.1250", "1.0000"]

    def test_can_be_printed_where_the_locale_is_plain(self):
        format_table(summarise(SCORES, STRUCTURES)).encode("ascii")

    def test_of_no_cases(self):
        assert "undefined" in format_table(summarise([], STRUCTURES))

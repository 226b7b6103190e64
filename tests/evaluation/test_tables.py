import csv
import json
import os

import numpy as np
import pytest

from utils.evaluation.tables import MEASURES, CaseScores, format_table, summarise, write_csv, write_json
from utils.system.errors import UserError

STRUCTURES = ("Anterior", "Posterior")
NAN = float("nan")


def scores_of(name, soft, hard, uncertainty=None):
    """The scores of a case whose distances and volumes are made up: 1 mm more for each tenth of Dice that lacks."""
    hard = np.array(hard, np.float64)
    volume = np.linspace(1.0, 2.0, len(hard))
    unsure = 1 - hard if uncertainty is None else uncertainty
    return CaseScores(name, soft, hard, 10 - 10 * hard, 1 - hard, volume, volume + 0.25, volume * 0 - 0.25, unsure)


SCORES = (
    scores_of("case_001", [0.8, 0.6], [0.9, NAN]),
    scores_of("case_002", [0.6, NAN], [0.7, NAN]),
    scores_of("case_003", [0.7, 0.8], [0.8, NAN]),
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
        assert summary["median"]["hard_dice"] == {"Anterior": 0.8, "Posterior": None}
        assert summary["mean"]["hausdorff_95_mm"] == pytest.approx({"Anterior": 2.0, "Posterior": None})
        assert summary["mean"]["volume_difference_ml"] == {"Anterior": -0.25, "Posterior": -0.25}

    def test_the_mean_lies_within_its_interval(self):
        for measure in MEASURES:
            for structure in STRUCTURES:
                interval = summarise(SCORES, STRUCTURES)["mean_interval_95"][measure][structure]
                values = [case[measure][structure] for case in summarise(SCORES, STRUCTURES)["cases"]]
                defined = [value for value in values if value is not None]
                if len(defined) < 2:
                    assert interval is None
                else:
                    low, high = interval
                    rounding = 1e-12
                    assert min(defined) - rounding <= low <= np.mean(defined) + rounding
                    assert np.mean(defined) - rounding <= high <= max(defined) + rounding

    def test_uncertainty_that_ranks_the_cases(self):
        hard = [[0.9, 0.5], [0.7, 0.6], [0.8, 0.8]]
        unsure = [[0.1, 0.3], [0.5, 0.2], [0.3, NAN]]
        scores = [scores_of(str(case), [0, 0], *row) for case, row in enumerate(zip(hard, unsure))]
        found = summarise(scores, STRUCTURES)["uncertainty_rank_correlation"]
        # The means are 0.7, 0.65, 0.8 and 0.2, 0.35, 0.3; Posterior has two cases.
        assert found["structures"] == {"Anterior": -1, "Posterior": None}
        assert found["case_means"] == pytest.approx(-0.5)

    def test_case_means_are_ranked_over_the_structures_that_have_both(self):
        # The second structure's Dice of 0, which has no uncertainty, would make the best case the worst.
        hard, unsure = [[0.7, 0.7], [0.8, 0.8], [0.9, 0.0], [0.0, 0.0]], [[0.3, 0.3], [0.2, 0.2], [0.1, NAN], [NAN] * 2]
        scores = [scores_of(str(case), [0, 0], *row) for case, row in enumerate(zip(hard, unsure))]
        found = summarise(scores, STRUCTURES)["uncertainty_rank_correlation"]
        assert found["case_means"] == pytest.approx(-1)
        assert found["count"] == {"structures": {"Anterior": 3, "Posterior": 2}, "case_means": 3}

    def test_each_case(self):
        case = summarise(SCORES, STRUCTURES)["cases"][1]
        assert list(case) == ["case"] + list(MEASURES)
        assert case["case"] == "case_002"
        assert case["soft_dice"] == {"Anterior": 0.6, "Posterior": None}
        assert case["hard_dice"] == {"Anterior": 0.7, "Posterior": None}
        assert case["true_volume_ml"] == {"Anterior": 1.25, "Posterior": 2.25}

    @pytest.mark.parametrize("scores", [SCORES, []])
    @pytest.mark.filterwarnings("error")
    def test_defined_nowhere(self, scores):
        summary = summarise(scores, STRUCTURES)
        for statistic in ("mean", "mean_interval_95", "median", "standard_deviation", "minimum", "maximum"):
            assert summary[statistic]["hard_dice"]["Posterior"] is None
        assert summary["count"]["hard_dice"]["Posterior"] == 0
        assert summary["uncertainty_rank_correlation"]["structures"]["Posterior"] is None

    def test_numpy_rows_and_extra_entries(self):
        scores = [scores_of("a", np.array([0.5, np.nan]), np.array([0.5, 1], np.float32))]
        extra = {"checkpoint_step": np.int64(80), "loss": np.float32("nan")}
        summary = summarise(scores, STRUCTURES, extra=extra)
        assert summary["checkpoint_step"] == 80 and summary["loss"] is None
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary

    def test_extra_entry_with_a_name_of_ours(self):
        with pytest.raises(ValueError, match="'mean'"):
            summarise(SCORES, STRUCTURES, extra={"mean": 1})

    def test_wrong_number_of_scores(self):
        with pytest.raises(ValueError, match="case_1: 3 values of hard_dice for 2 structures"):
            summarise([scores_of("case_1", [1, 1], [1, 1, 1])], STRUCTURES)

    def test_two_structures_of_one_name(self):
        with pytest.raises(ValueError, match="two structures have one name"):
            summarise(SCORES, ("Anterior", "Anterior"))


class TestFiles:
    def test_json_is_the_summary_and_has_no_nan(self, tmp_path):
        summary = summarise(SCORES, STRUCTURES, extra={"checkpoint": "best"})
        write_json(summary, str(tmp_path))
        text = (tmp_path / "evaluation.json").read_text(encoding="utf-8")
        assert json.loads(text, parse_constant=pytest.fail) == summary

    def test_csv_has_a_line_per_case_and_structure(self, tmp_path):
        write_csv(summarise(SCORES, STRUCTURES), str(tmp_path))
        rows = read_csv(tmp_path / "evaluation.csv")
        assert [(row["case"], row["structure"]) for row in rows] == [
            (case.name, structure) for case in SCORES for structure in STRUCTURES
        ]
        assert list(rows[2]) == ["case", "structure"] + list(MEASURES)
        assert (rows[2]["soft_dice"], rows[2]["hard_dice"], rows[2]["volume_ml"]) == ("0.6", "0.7", "1.0")
        assert (rows[3]["soft_dice"], rows[3]["hard_dice"], rows[3]["volume_ml"]) == ("", "", "2.0")

    def test_csv_keeps_every_digit_and_awkward_names(self, tmp_path):
        value = 1 / 3
        write_csv(summarise([scores_of('a,"b"', [value], [value])], ["left, upper"]), str(tmp_path))
        (row,) = read_csv(tmp_path / "evaluation.csv")
        assert (row["case"], row["structure"], float(row["soft_dice"])) == ('a,"b"', "left, upper", value)

    def test_an_earlier_evaluation_is_replaced_and_nothing_else_is_left(self, tmp_path):
        for scores in SCORES, SCORES[:1]:
            for write in write_json, write_csv:
                write(summarise(scores, STRUCTURES), str(tmp_path))
        assert sorted(os.listdir(str(tmp_path))) == ["evaluation.csv", "evaluation.json"]
        assert len(read_csv(tmp_path / "evaluation.csv")) == 2

    def test_a_file_in_the_place_of_the_folder(self, tmp_path):
        (tmp_path / "results").write_text("")
        with pytest.raises(UserError, match=r"results.evaluation\.json.*cannot be written"):
            write_json(summarise(SCORES, STRUCTURES), str(tmp_path / "results"))


def lines_of(summary):
    """The table's lines without those that explain it: heading, rule, structures; and the one of the ranks."""
    lines = format_table(summary).splitlines()
    return lines[1:-1], lines[-1]


class TestTable:
    def test_a_line_per_structure(self):
        (heading, rule, anterior, posterior), _ = lines_of(summarise(SCORES, STRUCTURES))
        assert heading.split("  ")[0] == "structure" and set(rule) == {"-", " "}
        interval = summarise(SCORES, STRUCTURES)["mean_interval_95"]["hard_dice"]["Anterior"]
        shown = "Anterior 0.7000 0.8000 [{:.4f}, {:.4f}] 0.8000 2.00 0.20 -0.25 3 case_002 (0.7000)".format(*interval)
        assert anterior.split() == shown.split()
        assert posterior.split() == "Posterior 0.7000 none none none none -0.25 0 of 3 none".split()

    def test_distances_of_fewer_cases_than_the_dice_are_told(self):
        missed = scores_of("case_004", [0.1, 0.5], [0.0, 0.5])._replace(hausdorff_95_mm=[NAN, 5.0])
        lines, _ = lines_of(summarise(SCORES + (missed,), STRUCTURES))
        assert len(lines) == 5 and lines[-1].endswith("mask and truth have the structure: Anterior 3 of 4")

    def test_the_ranks(self):
        last = lines_of(summarise(SCORES, STRUCTURES))[1]
        assert last.endswith(": Anterior -1.00, Posterior none, means of the cases -1.00")

    def test_the_ranks_of_some_cases_are_told_as_such(self):
        missed = scores_of("case_004", [0.1], [0.0], [NAN])
        scores = [scores_of(case.name, case.soft_dice[:1], case.hard_dice[:1]) for case in SCORES] + [missed]
        last = lines_of(summarise(scores, STRUCTURES[:1]))[1]
        assert last.endswith(": Anterior -1.00 (3 of 4), means of the cases -1.00 (3 of 4)")

    def test_what_was_not_found(self):
        missed = scores_of("case_004", [0.1, 0.5], [0.0, 0.5])._replace(volume_ml=[0.0, 1.0])
        lines, _ = lines_of(summarise(SCORES + (missed,), STRUCTURES))
        assert lines[-1] == "not found: Anterior in case_004"

    def test_the_ranks_of_many_structures_take_several_lines(self):
        structures = ["structure {}".format(number) for number in range(9)]
        scores = [scores_of(str(n), [0.5] * 9, [0.1 * n] * 9) for n in range(4)]
        lines = format_table(summarise(scores, structures)).splitlines()
        assert max(len(line) for line in lines) <= 120
        told = " ".join(line.strip() for line in lines[-3:])
        assert all(name + " -1.00" in told for name in structures + ["means of the cases"])

    def test_columns_stand_below_each_other(self):
        scores = [scores_of("x", [0.5, 0.25], [0.125, 1.0])]
        lines, _ = lines_of(summarise(scores, ("a", "a structure")))
        column = lines[0].index("hard Dice")
        assert [line[column:].split()[0] for line in lines[2:]] == ["0.1250", "1.0000"]

    @pytest.mark.parametrize("count", [1, 25])
    def test_it_fits_the_terminal_whatever_the_names(self, count):
        name = "a_case_of_the_third_hospital_in_the_north_number_{:04d}"
        scores = [scores_of(name.format(n), [0.5] * 2, [0.5, NAN if n else 0.4]) for n in range(count)]
        lines, _ = lines_of(summarise(scores, ("a structure with a long name", "another structure")))
        assert max(len(line) for line in lines) <= 120
        # What tells names apart is kept: how they begin and how they end.
        assert "a stru..g name" in lines[2] and "0000 (0.5000)" in lines[2]

    def test_can_be_printed_where_the_locale_is_plain(self):
        format_table(summarise(SCORES, STRUCTURES)).encode("ascii")

    def test_of_no_cases(self):
        (_, _, anterior, _), _ = lines_of(summarise([], STRUCTURES))
        assert anterior.split() == "Anterior none none none none none none 0 none".split()

import csv
from typing import NamedTuple, Sequence

import numpy as np
import pytest

from utils.evaluation import case_table

STRUCTURES = ["Anterior", "Posterior"]
NAN = float("nan")


class Figures(NamedTuple):
    name: str
    dice: Sequence[float]
    volume: Sequence[float]


class Together:
    """Workers seen from one of them: their `gather` puts the rows of the others before its own."""

    def __init__(self, *others):
        self.others = others

    def gather(self, rows):
        return np.concatenate(list(self.others) + [np.asarray(rows, np.float64)])


class TestEntries:
    def test_a_dict_per_case(self):
        assert case_table.entries([Figures("a", [0.5, 1.0], (2, 3))], STRUCTURES) == [
            {"case": "a", "dice": {"Anterior": 0.5, "Posterior": 1.0}, "volume": {"Anterior": 2, "Posterior": 3}}
        ]

    def test_a_wrong_number_of_figures(self):
        with pytest.raises(ValueError, match="a: 3 values of volume for 2 structures"):
            case_table.entries([Figures("a", [1, 1], [1, 1, 1])], STRUCTURES)


class TestCsv:
    def test_names_that_are_no_utf_8(self, tmp_path):
        entries = [{"case": "sc\udce4n", "dice": {"Head": 0.5}}]
        case_table.write_csv(str(tmp_path / "table.csv"), entries, ["Head"], ["dice"])
        assert (tmp_path / "table.csv").read_text() == "case,structure,dice\nsc\\udce4n,Head,0.5\n"

    def test_of_no_cases_has_its_heading(self, tmp_path):
        case_table.write_csv(str(tmp_path / "table.csv"), [], STRUCTURES, case_table.measures_of(Figures))
        assert (tmp_path / "table.csv").read_text() == "case,structure,dice,volume\n"

    def test_a_line_per_case_and_structure(self, tmp_path):
        entries = [{"case": 'a,"b"', "dice": {"one": 1 / 3, "two": None}, "volume": {"one": 0.0, "two": 2.0}}]
        case_table.write_csv(str(tmp_path / "table.csv"), entries, ["one", "two"], ("dice", "volume"))
        with open(str(tmp_path / "table.csv"), newline="", encoding="utf-8") as file:
            assert list(csv.reader(file))[1:] == [
                ['a,"b"', "one", "0.3333333333333333", "0.0"],
                ['a,"b"', "two", "", "2.0"],
            ]

    @pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
    def test_a_name_is_no_formula(self, tmp_path, name):
        entries = [{"case": name, "dice": {name: -0.5, "a=b": 1e-9}}]
        case_table.write_csv(str(tmp_path / "table.csv"), entries, [name, "a=b"], ("dice",))
        with open(str(tmp_path / "table.csv"), newline="", encoding="utf-8") as file:
            assert list(csv.reader(file))[1:] == [["'" + name, "'" + name, "-0.5"], ["'" + name, "a=b", "1e-09"]]


class TestGathered:
    def figures(self, name, number):
        return Figures(name, [number, NAN], np.array([10.0 * number, 1e-9]))

    def rows(self, names, cases):
        """What one worker hands to the others."""
        sent = []

        class Alone:
            def gather(self, rows):
                sent.append(rows)
                return rows

        case_table.gathered(Alone(), cases, Figures, names, 2)
        return sent[0]

    def test_all_workers_cases_in_their_order(self):
        names = ["c", "a", "b"]
        others = self.rows(names, [self.figures("b", 2.0), self.figures("c", 3.0)])
        found = case_table.gathered(Together(others), [self.figures("a", 1.0)], Figures, names, 2)
        assert [case.name for case in found] == names
        for case, number in zip(found, (3.0, 1.0, 2.0)):
            assert isinstance(case, Figures)
            for values, expected in zip(case[1:], self.figures(case.name, number)[1:]):
                np.testing.assert_array_equal(values, expected)

    def test_a_worker_without_cases_and_cases_without_figures(self):
        names = ["a", "b", "c"]
        nothing = self.rows(names, [])
        assert nothing.shape == (0, 5)
        (found,) = case_table.gathered(Together(nothing), [self.figures("b", 1.0)], Figures, names, 2)
        assert found.name == "b"
        assert case_table.gathered(Together(nothing), [], Figures, names, 2) == []

import pytest

from utils.evaluation.absent_structures import lines, not_found


def cases_of(sizes, true_sizes=None, size="volume_ml"):
    """Cases of one structure, of these sizes in masks and, where they are known, in truths."""
    found = [{"case": str(number), size: {"A": value}} for number, value in enumerate(sizes)]
    for case, true in zip(found, true_sizes or ()):
        case["true_" + size] = {"A": true}
    return found


class TestNotFound:
    @pytest.mark.parametrize("size", ["volume_ml", "area_pixels"])
    def test_where_most_others_have_it(self, size):
        assert not_found(cases_of([1.5, 2.0, 0.0, 1.0, 0.0], size=size)) == [[], [], ["A"], [], ["A"]]

    @pytest.mark.parametrize("sizes", [[], [0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0, 0.0]])
    def test_what_is_often_absent_is_not_missed(self, sizes):
        assert not_found(cases_of(sizes)) == [[]] * len(sizes)

    def test_nor_is_what_the_truth_lacks(self):
        assert not_found(cases_of([1.0, 2.0, 0.0, 0.0, 3.0], [1.0, 2.0, 0.0, 0.5, 0.0])) == [[], [], [], ["A"], []]

    def test_each_structure_by_itself(self):
        sizes = {"case": "x", "volume_ml": {"A": 1.0, "B": 0.0}}, {"case": "y", "volume_ml": {"A": 0.0, "B": 1.0}}
        assert not_found(sizes[:1] * 3 + sizes[1:]) == [[], [], [], ["A"]]

    @pytest.mark.parametrize("sizes", [None, 3, {}, {"A": None}, {"A": "no number"}])
    def test_sizes_that_nobody_knows(self, sizes):
        assert not_found([{"case": "x"}, {"case": "y", "volume_ml": sizes}]) == [[], []]


class TestLines:
    def test_few_are_named_and_the_others_counted(self):
        assert lines(cases_of([1.0] * 5 + [0.0] * 2)) == ["not found: A in 5, A in 6"]
        assert lines(cases_of([1.0] * 9 + [0.0] * 7)) == [
            "not found: A in 9, A in 10, A in 11, A in 12, A in 13 and 2 more"
        ]

    def test_none_where_all_were_found(self):
        assert lines(cases_of([1.0] * 5)) == lines([]) == []

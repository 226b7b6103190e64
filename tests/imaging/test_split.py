import pytest

from utils.imaging.split import (
    changed_contents,
    check_stored_split,
    fold_cases,
    read_split,
    split_cases,
    write_contents,
    write_split,
)
from utils.system.errors import UserError

# As numpy's frozen legacy generator gives it, on numpy 1.18 and 1.26 alike.
HELD_OUT_OF_20 = ["case_000", "case_003", "case_012", "case_015"]


def names_of(count):
    return ["case_{:03d}".format(number) for number in range(count)]


class TestSplitCases:
    @pytest.mark.parametrize(
        "cases, train_split, trained",
        [(220, 0.9, 198), (260, 0.9, 234), (45, 0.7, 32), (5, 0.5, 3), (2, 0.5, 1), (1, 1.0, 1), (7, 1, 7)],
    )
    def test_rounds_half_up_as_written_in_decimal(self, cases, train_split, trained):
        training, held_out = split_cases(names_of(cases), train_split, 0)
        assert (len(training), len(held_out)) == (trained, cases - trained)

    @pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
    def test_every_case_is_on_one_side_in_order(self, seed):
        training, held_out = split_cases(names_of(50), 0.8, seed)
        assert sorted(training + held_out) == names_of(50)
        assert training == sorted(training) and held_out == sorted(held_out)

    def test_order_of_the_list_does_not_matter(self):
        assert split_cases(names_of(30)[::-1], 0.8, 3) == split_cases(names_of(30), 0.8, 3)

    def test_seeds_hold_out_different_cases_and_not_the_tail(self):
        sides = [tuple(split_cases(names_of(220), 0.9, seed)[1]) for seed in range(5)]
        assert len(set(sides)) == 5
        assert tuple(names_of(220)[198:]) not in sides

    def test_is_the_same_on_every_version(self):
        assert split_cases(names_of(20), 0.8, 0)[1] == HELD_OUT_OF_20

    @pytest.mark.parametrize(
        "cases, train_split, message",
        [
            (3, 0.1, r"^--train_split 0.1 of 3 labelled cases leaves none to train on"),
            (0, 0.9, r"^--train_split 0.9 of 0 labelled cases leaves none to train on: list some as .training. in its"),
            (3, 0.9, r"^--train_split 0.9 of 3 labelled cases leaves none to evaluate"),
            (1, 0.9, r"^--train_split 0.9 of 1 labelled case leaves none to evaluate: use 1.0 to train on it, or add"),
        ],
    )
    def test_an_empty_side_is_refused(self, cases, train_split, message):
        with pytest.raises(UserError, match=message):
            split_cases(names_of(cases), train_split, 0)


class TestStoredSplit:
    def test_round_trip(self, tmp_path):
        training, held_out = split_cases(names_of(10), 0.8, 4)
        write_split(str(tmp_path), 0.8, 4, training, held_out)
        assert read_split(str(tmp_path)) == {
            "split_seed": 4,
            "train_split": 0.8,
            "training": training,
            "held_out": held_out,
        }

    def test_none_is_stored(self, tmp_path):
        assert read_split(str(tmp_path)) is None
        assert check_stored_split(str(tmp_path), ["a"], ["b"]) is None

    def test_the_same_split_passes(self, tmp_path):
        write_split(str(tmp_path), 0.5, 0, ["a"], ["b"])
        assert check_stored_split(str(tmp_path), ["a"], ["b"]) is None

    @pytest.mark.parametrize(
        "training, held_out, told",
        [
            (["a", "b", "n"], ["z"], r"\(new: n\)"),
            (["a"], ["z"], r"\(gone: b\)"),
            (["a", "n"], ["z"], r"\(new: n; gone: b\)"),
            (["a", "z"], ["b"], r"\(on the other side: b, z\)"),
            (["a", "b", "m", "n", "o", "p", "q"], ["z"], r"\(new: m, n, o and 2 more\)"),
        ],
    )
    def test_another_split_is_refused(self, tmp_path, training, held_out, told):
        write_split(str(tmp_path), 0.67, 0, ["a", "b"], ["z"])
        with pytest.raises(UserError, match=r"split.json: .*" + told + ".*another --model_dir"):
            check_stored_split(str(tmp_path), training, held_out)

    @pytest.mark.parametrize(
        "content",
        [
            *("[]", "{}", '{"training": ["a"]}', '{"training": ["a"], "held_out": [1]}', '{"training": '),
            '{"training": ["a"], "held_out": ["b"], "contents": ["c"]}',
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path, content):
        (tmp_path / "split.json").write_text(content)
        with pytest.raises(UserError, match="split.json: is damaged"):
            read_split(str(tmp_path))


class TestContents:
    def test_what_has_changed_is_named(self, tmp_path):
        folder = str(tmp_path)
        write_split(folder, 0.5, 0, ["a", "b"], ["c", "d"])
        assert changed_contents(folder, {"a": "1", "b": "2"}, {}) is None
        write_contents(folder, {"a": "1", "b": "2"})
        write_contents(folder, {"c": "3"})
        assert changed_contents(folder, {"a": "1", "b": "2"}, {}) is None
        assert changed_contents(folder, {"c": "0", "d": "4"}, {}) == "1 of 2: c"
        assert changed_contents(folder, {"b": "1", "a": "2", "c": "3"}, {}) == "2 of 3: a, b"

    def test_hashes_of_earlier_releases_are_known(self, tmp_path):
        folder = str(tmp_path)
        write_split(folder, 0.5, 0, ["a"], ["b"])
        write_contents(folder, {"a": "1", "b": "2"})
        assert changed_contents(folder, {"a": "3", "b": "4"}, {"a": "1", "b": "2"}) is None
        assert changed_contents(folder, {"a": "3", "b": "4"}, {"a": "1", "b": "5"}) == "1 of 2: b"

    def test_writing_the_split_again_keeps_those_of_its_cases(self, tmp_path):
        folder = str(tmp_path)
        write_split(folder, 0.5, 0, ["a", "b"], ["c"])
        write_contents(folder, {"a": "1", "b": "2", "c": "3"})
        write_split(folder, 0.5, 0, ["a"], ["c"])
        assert read_split(folder)["contents"] == {"a": "1", "c": "3"}
        assert (read_split(folder)["training"], read_split(folder)["held_out"]) == (["a"], ["c"])

    def test_of_a_folder_without_a_split_nothing_is_known(self, tmp_path):
        assert changed_contents(str(tmp_path), {"a": "1"}, {}) is None


class TestFolds:
    @pytest.mark.parametrize("count, folds", [(10, 2), (11, 5), (20, 20), (7, 3)])
    def test_every_name_is_held_out_once(self, count, folds):
        names = ["case_{}".format(number) for number in range(count)]
        sides = fold_cases(names, folds, 3)
        assert len(sides) == folds
        assert sorted(name for _, held_out in sides for name in held_out) == sorted(names)
        for training, held_out in sides:
            assert sorted(training + held_out) == sorted(names)
            assert (training, held_out) == (sorted(training), sorted(held_out))
        sizes = [len(held_out) for _, held_out in sides]
        assert max(sizes) - min(sizes) <= 1

    def test_follow_from_the_set_of_names_and_the_seed(self):
        names = ["case_{}".format(number) for number in range(12)]
        assert fold_cases(names[::-1], 3, 5) == fold_cases(names, 3, 5)
        assert fold_cases(names, 3, 5) != fold_cases(names, 3, 6)

    def test_fewer_cases_than_folds(self):
        with pytest.raises(UserError, match=r"^--folds 5: the task has 4 labelled cases: use fewer folds$"):
            fold_cases(list("abcd"), 5, 0)

    def test_a_single_case_can_have_no_folds(self):
        with pytest.raises(UserError, match=r"^--folds 2: the task has 1 labelled case: add cases, which each model"):
            fold_cases(["a"], 2, 0)

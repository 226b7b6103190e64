import hashlib
import re

import numpy as np
import pytest

from utils.imaging.tasks import Case
from utils.model_dir import settings as model_settings
from utils.model_dir.provenance import about_run
from utils.model_dir.record import RunRecord, combined, in_words
from utils.preprocessing.cache import Kept


class Several:
    """Workers seen from one of them: `gather` puts the rows of the others before its own."""

    def __init__(self, is_first=True, others=()):
        self.is_first = is_first
        self.others = others

    def gather(self, rows):
        self.rows = np.asarray(rows, np.float64)
        return np.concatenate(list(self.others) + [self.rows])


def kept(name):
    return Kept(Case(name, "image", None), "copy", None, hashlib.md5(name.encode()).hexdigest())


CASES = [kept(name).case for name in ("a", "b", "c")]


@pytest.fixture
def model_dir(tmp_path):
    return str(tmp_path)


class TestReading:
    def test_what_was_read_is_added_part_by_part(self, model_dir):
        record = RunRecord(lambda: {"command": "main.py"}, model_dir, Several())
        record.write()
        (first,) = model_settings.runs(model_dir)
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00$", first["started"])
        assert first == {"started": first["started"], "command": "main.py", "data": {}}
        for name in "a", "b", "c":
            record.note(kept(name))
        hashes = record.read("training", CASES[:2])
        assert hashes == {"a": kept("a").content, "b": kept("b").content}
        assert model_settings.runs(model_dir) == [first]
        record.read("held_out", CASES[2:])
        record.write()
        expected = {
            "training": {"cases": 2, "hash": combined(hashes)},
            "held_out": {"cases": 1, "hash": combined({"c": kept("c").content})},
        }
        assert model_settings.runs(model_dir) == [dict(first, data=expected)]

    def test_each_run_has_its_own(self, model_dir):
        for command in "first", "second":
            RunRecord(lambda text=command: {"command": text}, model_dir, Several()).write()
        assert [run["command"] for run in model_settings.runs(model_dir)] == ["first", "second"]

    def test_workers_put_together_what_each_has_read(self, model_dir):
        workers = Several(is_first=False)
        other = RunRecord(None, model_dir, workers)
        for name in "a", "c":
            other.note(kept(name))
        other.read("training", CASES)
        other.write()
        assert model_settings.runs(model_dir) == []
        record = RunRecord(dict, model_dir, Several(others=[workers.rows]))
        record.note(kept("b"))
        assert record.read("training", CASES) == {name: kept(name).content for name in ("a", "b", "c")}

    def test_cases_that_could_not_be_read_are_not_counted(self, model_dir):
        record = RunRecord(dict, model_dir, Several())
        assert record.read("predicted", CASES) == {}
        record.note(kept("b"))
        assert list(record.read("predicted", CASES)) == ["b"]
        record.write()
        assert model_settings.runs(model_dir)[0]["data"]["predicted"]["cases"] == 1

    def test_another_record_is_taken_over(self, model_dir):
        record, fold = (RunRecord(dict, model_dir, Several()) for _ in range(2))
        fold.note(kept("c"))
        record.take_over(fold)
        assert list(record.read("held_out", CASES)) == ["c"]

    def test_hashes_of_earlier_releases_are_told_beside(self, model_dir):
        record = RunRecord(dict, model_dir, Several())
        record.note(kept("a")._replace(former=kept("z").content))
        record.note(kept("b"))
        assert record.read("held_out", CASES) == {name: kept(name).content for name in ("a", "b")}
        assert record.former == {"a": kept("z").content, "b": kept("b").content}


class TestCombined:
    def test_follows_from_names_and_contents_alone(self):
        hashes = {"a": "1", "b": "2"}
        assert combined(hashes) == combined({"b": "2", "a": "1"})
        others = [{"a": "1"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"a": "1", "b": "3"}, {}]
        assert len({combined(hashes)} | {combined(other) for other in others}) == 6

    def test_is_that_of_a_list_as_b2sum_writes_them(self):
        expected = hashlib.blake2b(b"1  a\n2  b\xe4\n", digest_size=16).hexdigest()
        assert combined({"b\udce4": "2", "a": "1"}) == expected


class TestInWords:
    def test_of_the_last_run_that_trained(self):
        training = {"training": {"cases": 7, "hash": "abc"}}
        about = dict(about_run("tf1 1.15.2", 1), revision=None, command="main.py --seed 1")
        records = [dict(about, data=training, started=when) for when in ("early", "later")] + [dict(about, data={})]
        words = in_words(records)
        assert (words["trained"], words["revision"]) == ("later", "unknown")
        assert not any("main.py" in value or about["host"]["name"] in value for value in words.values())
        assert words["training data"] == "7 cases, hash abc" and "tensorflow tf1 1.15.2" in words["with"]
        assert all(isinstance(value, str) for value in words.values())

    @pytest.mark.parametrize("records", [[], [{"started": "now"}], [{"data": {"predicted": {}}}]])
    def test_nothing_was_trained(self, records):
        assert in_words(records) == {}

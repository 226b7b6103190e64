import json

import pytest

import dllogger
from utils.evaluation import tables
from utils.model_dir import log as run_log
from utils.system.errors import UserError

STRUCTURES = ["Upper", "Lower"]
PARAMS = {"batch_size": 2, "base_lr": 0.001, "data_dir": None}


@pytest.fixture(autouse=True)
def logger_of_before():
    yield
    dllogger.init([])


@pytest.fixture
def params(tmp_path):
    return dict(PARAMS, log_dir=str(tmp_path / "logs"))


@pytest.fixture
def start(params):
    run_log.start(params, STRUCTURES, "tf2 2.15.1")


def events(params):
    with open(run_log.log_path(params)) as file:
        lines = file.read().splitlines()
    assert all(line.startswith("DLLL {") for line in lines)
    return [json.loads(line[len("DLLL ") :]) for line in lines]


def metadata(params):
    return {event["metric"]: event["metadata"] for event in events(params) if event["type"] == "METADATA"}


class TestFile:
    def test_the_params_come_first(self, start, params):
        first = events(params)[0]
        assert (first["type"], first["step"]) == ("LOG", "PARAMETER")
        assert first["data"] == dict(params, runtime="tf2 2.15.1")
        assert {"timestamp", "datetime", "elapsedtime"} < set(first)

    def test_every_metric_has_a_direction(self, start, params):
        described = metadata(params)
        names = [measure + "_" + name for measure in ("soft_dice", "hard_dice") for name in STRUCTURES]
        small = [measure + "_" + name for measure in ("hausdorff_95_mm", "uncertainty") for name in STRUCTURES]
        assert {"loss", "images_per_second", "latency_mean", "latency_99"} | set(names) <= set(described)
        assert all(described[name]["GOAL"] == "MAXIMIZE" for name in names + ["images_per_second"])
        assert all(described[name]["GOAL"] == "MINIMIZE" for name in ["loss", "latency_mean"] + small)
        assert described["images_per_second"]["unit"] == "images/s"
        assert described["latency_95"]["unit"] == "ms"
        assert described["surface_distance_mm_Upper"]["unit"] == "mm"
        assert described["volume_ml_Lower"] == {"unit": "ml", "GOAL": None, "STAGE": "VAL", "format": "{:.2f}"}

    def test_a_second_run_adds_to_it(self, start, params):
        dllogger.log((1,), {"loss": 0.5})
        before = events(params)
        run_log.start(params, STRUCTURES, "tf1 1.15.2")
        after = events(params)
        assert after[: len(before)] == before
        assert [event["data"]["runtime"] for event in after if event.get("step") == "PARAMETER"] == [
            "tf2 2.15.1",
            "tf1 1.15.2",
        ]

    def test_what_is_logged_is_there_at_once(self, start, params):
        dllogger.log((3,), {"loss": 0.25})
        assert (events(params)[-1]["step"], events(params)[-1]["data"]) == ([3], {"loss": 0.25})

    def test_names_of_any_script(self, params):
        run_log.start(params, ["Höhle"], "tf2")
        assert "soft_dice_Höhle" in metadata(params)


class TestTerminal:
    def lines(self, capsys):
        # Each begins with the time of day.
        return [line[9:] for line in capsys.readouterr().out.splitlines()]

    def test_params_are_for_the_file_alone(self, start, capsys):
        assert self.lines(capsys) == []

    def test_an_epochs_figures(self, start, capsys):
        dllogger.log((7,), {"loss": 0.123456, "images_per_second": 12.3456})
        assert self.lines(capsys) == ["epoch 7: loss 0.1235; images_per_second 12.35 images/s;"]

    def test_a_benchmarks_figures(self, start, capsys):
        dllogger.log((), {"latency_mean": 1.006})
        assert self.lines(capsys) == ["benchmark: latency_mean 1.01 ms;"]

    def test_an_undefined_score(self, start, capsys):
        dllogger.log((1,), {"soft_dice_Upper": None})
        assert self.lines(capsys) == ["epoch 1: soft_dice_Upper undefined;"]


class TestEvaluation:
    def summary(self, hard):
        others = [[number, number + 1] for number in range(6)]
        scores = [
            tables.CaseScores("first", [0.5, 0.25], hard, *others),
            tables.CaseScores("second", [0.75, 0.75], hard, *others),
        ]
        return tables.summarise(scores, STRUCTURES)

    def test_means_are_logged(self, start, params, capsys):
        run_log.log_evaluation(self.summary([0.5, 1.0]))
        last = events(params)[-1]
        assert last["step"] == []
        expected = {"soft_dice": [0.625, 0.5], "hard_dice": [0.5, 1.0]}
        expected.update({measure: [number, number + 1] for number, measure in enumerate(tables.MEASURES[2:])})
        assert last["data"] == {
            measure + "_" + name: value
            for measure, values in expected.items()
            for name, value in zip(STRUCTURES, values)
        }
        assert set(last["data"]) < set(metadata(params))
        assert capsys.readouterr().out == ""

    def test_an_undefined_mean_is_null(self, start, params):
        run_log.log_evaluation(self.summary([float("nan"), 1.0]))
        assert events(params)[-1]["data"]["hard_dice_Upper"] is None


class TestErrors:
    def test_a_folder_in_the_files_place(self, params, tmp_path):
        (tmp_path / "logs" / "dllogger.json").mkdir(parents=True)
        with pytest.raises(UserError, match=r"^--log_dir: .*dllogger\.json: cannot be written \(Is a directory\)$"):
            run_log.start(params, STRUCTURES, "tf2")

    def test_a_file_in_the_folders_place(self, params, tmp_path):
        (tmp_path / "logs").write_text("")
        with pytest.raises(UserError, match=r"^--log_dir: .*: cannot be written \("):
            run_log.start(params, STRUCTURES, "tf2")

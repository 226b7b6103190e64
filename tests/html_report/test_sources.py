import json
import os

import pytest
from pages import STRUCTURES, evaluated_model, evaluation_of, write_json

from utils.html_report import build, sources
from utils.system.errors import UserError


def written(tmp_path, name, value):
    """The report of a model, one file of which holds this."""
    model_dir, cases, log = evaluated_model(tmp_path, names=["one"])
    os.makedirs(os.path.join(model_dir, "report"), exist_ok=True)
    write_json(value, model_dir, *name.split("/"))
    build.write(model_dir, cases, STRUCTURES, logs=[log])
    with open(os.path.join(model_dir, "report", "index.html"), encoding="utf-8") as file:
        return file.read()


class TestDamage:
    @pytest.mark.parametrize(
        "name, change, told",
        [
            ("evaluation.json", {"structures": 3}, '"structures" are no names: (delete it, and evaluate|put back)'),
            ("evaluation.json", {"structures": [[]]}, '"structures" are no names: (delete it, and evaluate|put back)'),
            ("evaluation.json", {"cases": {"a": 1}}, '"cases" are none: delete it, and evaluate or predict anew'),
            (
                "evaluation.json",
                {"uncertainty_rank_correlation": "high"},
                '"uncertainty_rank_correlation" is none: delete it',
            ),
            ("params.json", {"modalities": 5}, '"modalities" are no names: (delete it, and evaluate|put back)'),
            ("params.json", {"modalities": [None]}, '"modalities" are no names: (delete it, and evaluate|put back)'),
            ("report/scans.json", {"predicted": 1}, "delete it"),
            ("report/scans.json", {"predicted": [["a", 1, None]]}, "delete it"),
            ("report/scans.json", {"predicted": [["a", "b"]]}, "delete it"),
            ("report/scans.json", {"predicted": [["../../a", "b", None]]}, "delete it"),
            ("report/scans.json", {"predicted": [["", "b", None]]}, "delete it"),
        ],
    )
    def test_is_told_in_a_line(self, tmp_path, name, change, told):
        value = dict(evaluation_of(["one"]) if name == "evaluation.json" else {}, **change)
        with pytest.raises(UserError, match="{}: is damaged.*{}".format(name.replace(".", r"\."), told)):
            written(tmp_path, name, value)

    def test_what_is_left_out_is_no_damage(self):
        sources.check_summary("evaluation.json", {})
        sources.check_settings("params.json", {})
        sources.check_scans("scans.json", {"predicted": [["a", "a.nii", None]], "evaluated": [["b", "b.nii", "c.nii"]]})


class TestNumbersBeyondMeasure:
    @pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "1" + "0" * 400, "1e300"])
    def test_are_no_scores(self, tmp_path, number):
        evaluation = evaluation_of(["one"])
        evaluation["cases"][0]["hard_dice"] = {name: "number" for name in STRUCTURES}
        value = json.loads(json.dumps(evaluation).replace('"number"', number))
        assert "Hausdorff 95 %" in written(tmp_path, "evaluation.json", value)

"""What the report tells of the run that made the model."""

import os

import pytest
from pages import STRUCTURES, evaluated_model, write_json

from utils.html_report.build import write
from utils.model_dir import settings as model_settings
from utils.model_dir.provenance import about_run
from utils.system.errors import UserError


def test_what_the_model_was_made_with(tmp_path):
    model_dir, cases, log = evaluated_model(tmp_path)
    data = {"training": {"cases": 7, "hash": "00ff"}}
    about = dict(about_run("tf2 <2>", 1), started="2026-01-02", command="main.py --secret")
    model_settings.record_run(dict(about, data=data), model_dir)
    write(model_dir, cases, STRUCTURES, logs=[log])
    with open(os.path.join(model_dir, "report", "index.html"), encoding="utf-8") as file:
        page = file.read()
    assert "<dt>trained</dt><dd>2026-01-02</dd>" in page and "tensorflow tf2 &lt;2&gt;" in page
    assert "<dt>training data</dt><dd>7 cases, hash 00ff</dd>" in page
    assert "<dt>runs</dt>" not in page and "--secret" not in page


@pytest.mark.parametrize("runs", [7, ["a"], [{"data": {"training": {"cases": 7}}}]])
def test_damaged_records_are_named(tmp_path, runs):
    model_dir, cases, log = evaluated_model(tmp_path)
    write_json({"runs": runs}, model_dir, "params.json")
    with pytest.raises(UserError, match='params.json: is damaged, "runs": delete that entry'):
        write(model_dir, cases, STRUCTURES, logs=[log])

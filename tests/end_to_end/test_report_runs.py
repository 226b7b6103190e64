"""The report that runs of main.py leave."""

import os
import re
import shutil

from command_line import HELD_OUT, TEST_CASES, read_json, succeed_here


def page_of(model_dir):
    with open(os.path.join(model_dir, "report", "index.html"), encoding="utf-8") as file:
        return file.read()


def names_in(page):
    """The names of the cases whose pictures are there, in their order."""
    return re.findall(r"<h3[^>]*>([^<]*)</h3>", page)


class TestReport:
    def test_of_training_and_evaluation(self, model):
        page = page_of(model.model_dir)
        assert sorted(names_in(page)) == read_json(model.model_dir, "split.json")["held_out"]
        assert page.count('"truth":"') == HELD_OUT and "Training loss" in page
        assert "report: " + os.path.join(model.model_dir, "report", "index.html") in model.run.output.splitlines()

    def test_of_a_prediction_keeps_what_was_evaluated(self, model, tmp_path):
        copy = shutil.copytree(model.model_dir, str(tmp_path / "copy"))
        succeed_here("--exec_mode", "predict", "--data_dir", model.data_dir, "--model_dir", copy, "--threads", "1")
        found = names_in(page_of(copy))
        predicted = sorted("case_{}".format(10 + number) for number in range(TEST_CASES))
        assert sorted(found[:TEST_CASES]) == predicted
        assert found[TEST_CASES:] == names_in(page_of(model.model_dir))

    def test_that_cannot_be_written_costs_neither_masks_nor_scores(self, model, tmp_path):
        copy = shutil.copytree(model.model_dir, str(tmp_path / "copy"))
        for name in "report", "eval":
            shutil.rmtree(os.path.join(copy, name))
        with open(os.path.join(copy, "report"), "w"):
            pass
        run = succeed_here(
            "--exec_mode", "evaluate", "--data_dir", model.data_dir, "--model_dir", copy, "--threads", "1"
        )
        assert re.search("^no report: .*cannot be written", run.output, re.MULTILINE)
        assert read_json(copy, "evaluation.json") == read_json(model.model_dir, "evaluation.json")
        assert len(os.listdir(os.path.join(copy, "eval"))) == HELD_OUT

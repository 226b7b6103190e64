import json
import os
import re

import numpy as np
import pytest
from pages import (
    STRUCTURES,
    case_in,
    evaluated_model,
    evaluation_of,
    log_in,
    predictions_of,
    write_json,
)
from parsed_page import Page
from synthetic import image_of

from utils.config.network_flags import OWN_FLAGS
from utils.html_report import build, charts, markup
from utils.html_report.build import write
from utils.html_report.measures import MEAN, tabulate
from utils.html_report.volume import encode
from utils.imaging.tasks import Case
from utils.inference.masks import mask_path
from utils.system.errors import UserError

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def written(parent, **arguments):
    model_dir, cases, log = evaluated_model(parent, **arguments)
    write(model_dir, cases, arguments.get("structures", STRUCTURES), logs=[log])
    return Page(model_dir)


class TestStructure:
    def test_every_case_has_a_row_and_its_pictures(self, tmp_path):
        names = ("one", "two", "three", "four")
        page = written(tmp_path, names=names)
        assert sorted(page.text("h3")) == sorted(names)
        assert sorted(text for text in page.text("a") if text in names) == sorted(names)
        assert len(page.all("article")) == len(page.volumes()) == len(names)
        assert len(page.all("canvas")) == len(page.all("input", type="range")) == 3 * len(names)
        assert all(volume["truth"] for volume in page.volumes())

    def test_the_worst_come_first(self, tmp_path):
        names = ("one", "two", "three", "four")
        page = written(tmp_path, names=names)
        cases = evaluation_of(names)["cases"]
        defined = {case["case"]: [value for value in case["hard_dice"].values() if value is not None] for case in cases}
        assert page.text("h3") == sorted(names, key=lambda name: np.mean(defined[name]))

    def test_links_and_labels_lead_somewhere(self, tmp_path):
        page = written(tmp_path)
        names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(set(names)) == len(names)
        targets = [attributes["href"] for attributes in page.all("a")]
        assert targets and all(target.startswith("#") and target[1:] in names for target in targets)
        assert {label["for"] for label in page.all("label") if "for" in label} == {
            slider["id"] for slider in page.all("input", type="range")
        }
        for _, attributes in page.elements:
            for reference in ("aria-labelledby", "for"):
                assert attributes.get(reference, names[0]) in names

    def test_nothing_comes_from_elsewhere(self, tmp_path):
        page = written(tmp_path)
        assert not re.search(r"https?:|url\(|@import|fetch|XMLHttpRequest", page.source)
        assert not page.all("link") and not page.all("img") and not page.all("iframe")
        assert not any("src" in attributes for _, attributes in page.elements)
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy

    def test_settings_curves_and_scores(self, tmp_path):
        page = written(tmp_path)
        settings = dict(zip(page.text("dt"), page.text("dd")))
        assert settings["input_shape"] == "32 32 32" and settings["augment"] == "on" and settings["loss"] == "dice"
        assert "loss: 0.1167 at the end" in page.shown() and "Front: 0.9167 at the end" in page.shown()
        assert "0.250 to 0.750" in page.shown() and "last checkpoint (step 9)" in page.shown()
        assert page.text("h1") == ["Test <task>"]
        for unit in ("Hausdorff 95 %, mm", "Volume, ml"):
            assert unit in page.text("th")

    @pytest.mark.parametrize("model, other", [("vnet", "unet"), ("unet", "vnet")])
    def test_settings_are_those_of_the_network(self, tmp_path, model, other):
        model_dir, cases, log = evaluated_model(tmp_path)
        stored = dict.fromkeys(OWN_FLAGS["vnet"] + OWN_FLAGS["unet"], 1)
        for folds, more in (0, ["train_split"]), (5, []):
            write_json(dict(stored, model=model, folds=folds, train_split=0.9), model_dir, "params.json")
            write(model_dir, cases, STRUCTURES, logs=[log])
            assert sorted(Page(model_dir).text("dt")) == sorted(list(OWN_FLAGS[model]) + ["model", "folds"] + more)

    def test_what_else_the_masks_were_made_with(self, tmp_path):
        model_dir, cases, log = evaluated_model(tmp_path)
        used = {"patch_overlap": 0.0, "test_time_flips": True, "largest_component": False}
        write_json(dict(evaluation_of(["one"]), made_with=used), model_dir, "evaluation.json")
        write(model_dir, cases, STRUCTURES, logs=[log])
        assert "by the last checkpoint (step 9), patch_overlap 0.0, test_time_flips on" in Page(model_dir).shown()

    @pytest.mark.parametrize("count, told", [(2, ", of 2 of 3 cases."), (3, "."), (None, ".")])
    def test_the_rank_correlation_says_how_many_cases_it_is_of(self, tmp_path, count, told):
        model_dir, cases, log = evaluated_model(tmp_path)
        ranks = {"case_means": -0.5, "count": count and {"case_means": count}}
        evaluation = dict(evaluation_of([case.name for case in cases]), uncertainty_rank_correlation=ranks)
        write_json(evaluation, model_dir, "evaluation.json")
        write(model_dir, cases, STRUCTURES, logs=[log])
        assert "with their Dice: -0.50 (-1 at best)" + told in Page(model_dir).shown()

    def test_says_where_it_is(self, tmp_path, capsys):
        page = written(tmp_path)
        assert "report: " + page.path in capsys.readouterr().out.splitlines()
        assert sorted(os.listdir(os.path.dirname(page.path))) == ["index.html", "scans.json"]

    def test_a_model_without_settings_and_log(self, tmp_path):
        model_dir, cases, log = evaluated_model(tmp_path)
        os.remove(os.path.join(model_dir, "params.json"))
        os.remove(log)
        write(model_dir, cases, STRUCTURES, logs=[log])
        page = Page(model_dir)
        assert len(page.all("article")) == 3 and "no epoch" in page.shown()

    def test_folds_have_their_mean_curve(self, tmp_path):
        model_dir, cases, log = evaluated_model(tmp_path)
        (tmp_path / "fold").mkdir()
        longer = log_in(tmp_path / "fold", epochs=8)
        write(model_dir, cases, STRUCTURES, logs=[log, longer, os.path.join(model_dir, "missing")])
        shown = Page(model_dir).shown()
        assert "Training curves, the mean of 2 folds" in shown and "loss: 0.0875 at the end" in shown


class TestPredictions:
    def predicted(self, tmp_path, names=("a", "b")):
        model_dir = str(tmp_path / "model")
        cases = [case_in(tmp_path / "new", model_dir, name, 7, labelled=False) for name in names]
        write_json(predictions_of(names), model_dir, "predictions.json")
        write(model_dir, cases, STRUCTURES, predicted=True)
        return Page(model_dir), cases

    def test_have_no_truth(self, tmp_path):
        page, _ = self.predicted(tmp_path)
        assert [volume["truth"] for volume in page.volumes()] == [None, None]
        assert not page.all("input", value="truth") and page.all("input", value="mask")

    def test_the_most_uncertain_come_first(self, tmp_path):
        page, _ = self.predicted(tmp_path, ("a", "b", "c"))
        cases = predictions_of(("a", "b", "c"))["cases"]
        means = {case["case"]: np.mean(list(case["uncertainty"].values())) for case in cases}
        assert page.text("h3") == sorted(means, key=means.get, reverse=True)

    def test_what_was_not_found_is_explained(self, tmp_path):
        model_dir, names = str(tmp_path / "model"), ("a", "b", "c")
        cases = [case_in(tmp_path / "new", model_dir, name, 7, labelled=False) for name in names]
        predictions = predictions_of(names)
        for missed in False, True:
            if missed:
                predictions["cases"][1].update(volume_ml={"Front": 0.0, "Back": 1.0})
            write_json(predictions, model_dir, "predictions.json")
            write(model_dir, cases, STRUCTURES, predicted=True)
            page = Page(model_dir)
            assert ("Not found: in no voxel of the mask" in page.shown()) == missed
            # Of the mean and the structure in the table, and once in the case's own figures.
            assert page.text("td").count("not found") == 3 * missed
        assert page.text("h3")[0] == "b"

    def test_without_figures(self, tmp_path):
        model_dir = str(tmp_path / "model")
        cases = [case_in(tmp_path, model_dir, name, labelled=False) for name in ("a", "b")]
        os.remove(mask_path(model_dir, cases[1]))
        write(model_dir, cases, STRUCTURES, predicted=True)
        assert Page(model_dir).text("h3") == ["a"]

    def test_stand_beside_the_evaluation(self, tmp_path):
        evaluated = written(tmp_path)
        both, _ = self.predicted(tmp_path)
        assert len(both.all("article")) == len(evaluated.all("article")) + 2
        assert both.text("h3")[2:] == evaluated.text("h3")
        model_dir = os.path.join(str(tmp_path), "model")
        again = [case_in(tmp_path / "scans", model_dir, "one")]
        write_json(evaluation_of(["one"]), model_dir, "evaluation.json")
        write(model_dir, again, STRUCTURES)
        assert Page(model_dir).text("h3")[0] == "one" and len(Page(model_dir).all("article")) == 3

    def test_a_mask_that_was_made_anew_is_no_longer_shown_with_the_score_of_the_old_one(self, tmp_path):
        model_dir, cases, _ = evaluated_model(tmp_path)
        write(model_dir, cases, STRUCTURES)
        shown = len(Page(model_dir).all("article"))
        write(model_dir, cases[:1], STRUCTURES, predicted=True)
        page = Page(model_dir)
        assert page.text("h3").count(cases[0].name) == 1 and len(page.all("article")) == shown


class TestHostileText:
    def test_is_shown_as_text(self, tmp_path):
        names = ["<script>alert(1)<", "a&amp;b", "one"]
        structures = (HOSTILE, "Back")
        model_dir, cases, log = evaluated_model(tmp_path, names=names, structures=structures)
        settings = {
            "task": HOSTILE,
            "labels": ["background", HOSTILE, "Back"],
            "modalities": [HOSTILE],
            HOSTILE: HOSTILE,
        }
        write_json(settings, model_dir, "params.json")
        evaluation = evaluation_of(names, structures)
        for case in evaluation["cases"]:
            case[HOSTILE] = 1.5
        evaluation["checkpoint"] = {"which": HOSTILE, "step": [HOSTILE]}
        write_json(evaluation, model_dir, "evaluation.json")
        write(model_dir, cases, structures, logs=[log])
        page = Page(model_dir)
        assert not page.all("img") and len(page.all("script")) == 2 + len(names)
        assert sorted(page.text("h3")) == sorted(names)
        assert page.text("h1") == [HOSTILE] and HOSTILE in page.text("dt") and HOSTILE in page.text("dd")
        assert HOSTILE in page.text("label") and page.shown().count(HOSTILE) > 10
        assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
        assert json.loads(page.text("script")[-2])["structures"] == list(structures)

    def test_that_no_encoding_holds(self, tmp_path):
        model_dir, cases, _ = evaluated_model(tmp_path, names=["one"])
        write_json({"task": "Task \udcff"}, model_dir, "params.json")
        write(model_dir, cases, STRUCTURES)
        assert Page(model_dir).text("h1") == ["Task \\udcff"]

    def test_in_scripts(self):
        value = {"a": [HOSTILE, "<!--", "\u2028"]}
        text = markup.script_json(value)
        assert not set("<>&\u2028") & set(text)
        assert json.loads(text) == value


class TestTrouble:
    def test_a_case_whose_scan_is_gone_is_told(self, tmp_path, capsys):
        model_dir, cases, log = evaluated_model(tmp_path)
        os.remove(cases[1].image)
        write(model_dir, cases, STRUCTURES, logs=[log])
        page = Page(model_dir)
        assert len(page.all("article")) == 2 and cases[1].name in page.shown()
        assert "No pictures: {}: cannot be read".format(cases[1].image) in page.shown()
        # Beside it, nothing is left to be done.
        assert "making the report: 3/3 cases (100%)" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["evaluation.json", "predictions.json", "params.json"])
    @pytest.mark.parametrize("content", ['{"cases', "[1]"])
    def test_a_damaged_file(self, tmp_path, name, content):
        model_dir, cases, _ = evaluated_model(tmp_path)
        with open(os.path.join(model_dir, name), "w") as file:
            file.write(content)
        with pytest.raises(UserError, match=name + ": is damaged"):
            write(model_dir, cases, STRUCTURES)
        assert not os.path.exists(os.path.join(model_dir, "report", "index.html"))

    @pytest.mark.parametrize("cases", [3, [3], [{}]])
    def test_cases_that_are_none(self, tmp_path, cases):
        model_dir, own, _ = evaluated_model(tmp_path)
        write_json({"cases": cases}, model_dir, "evaluation.json")
        with pytest.raises(UserError, match="evaluation.json: is damaged"):
            write(model_dir, own, STRUCTURES)

    def test_damaged_places_of_scans(self, tmp_path):
        model_dir, cases, _ = evaluated_model(tmp_path)
        os.makedirs(os.path.join(model_dir, "report"))
        write_json({"predicted": [1]}, model_dir, "report", "scans.json")
        with pytest.raises(UserError, match="scans.json: is damaged"):
            write(model_dir, cases, STRUCTURES)

    def test_a_folder_that_refuses(self, tmp_path):
        model_dir, cases, _ = evaluated_model(tmp_path)
        with open(os.path.join(model_dir, "report"), "w"):
            pass
        with pytest.raises(UserError, match="cannot be written"):
            write(model_dir, cases, STRUCTURES)


class TestSize:
    def test_130_small_cases_fit_even_as_noise(self):
        shape = (36, 50, 36)
        random = np.random.RandomState(0)
        scan = image_of(random.normal(0, 1, shape).astype(np.float32))
        mask = np.zeros(shape, np.uint8)
        mask[8:28, 10:40, 8:28] = random.randint(1, 3, (20, 30, 20))
        volume = encode(scan, image_of(mask), image_of(mask), build.ROOM_FOR_CASES // 130)
        assert volume["shrunk"] == [1, 1, 1]
        row = tabulate(evaluation_of(["case"])).rows[0]
        card = markup.card("a", row, tabulate(evaluation_of(["case"])).columns, volume, shape, "MRI", "evaluated")
        assert 130 * len(card) < build.ROOM_FOR_CASES

    def test_no_more_than_fit_are_shown_the_worst_first(self, tmp_path, monkeypatch):
        names = ["case {}".format(number) for number in range(8)]
        complete = written(tmp_path / "all", names=names)
        limit = len(complete.source) - 40000
        monkeypatch.setattr(build, "ROOM_FOR_CASES", limit)
        monkeypatch.setattr(build, "LEAST_ROOM", 1)
        page = written(tmp_path / "some", names=names)
        shown = len(page.all("article"))
        assert 0 < shown < len(names) and len(page.source) <= limit + 1000
        assert page.text("h3") == complete.text("h3")[:shown]
        assert "Shown are {} of 8 cases, the worst first".format(shown) in page.shown()
        rows = [[found for found in part.all("td") if "data-value" in found] for part in (page, complete)]
        assert rows[0] == rows[1]
        linked = [attributes["href"] for attributes in page.all("a") if "-case-" in attributes["href"]]
        assert {"#" + attributes["id"] for attributes in page.all("article")} == set(linked)

    def test_a_page_that_shows_all_says_nothing_of_it(self, tmp_path):
        assert "Shown are" not in written(tmp_path).shown()


class TestTabulate:
    def test_columns_come_from_what_the_cases_have(self):
        summary = {
            "structures": ["A", "B"],
            "cases": [
                {"case": "x", "new_mm": {"A": 1.0, "B": 2.0}, "hard_dice": {"A": 0.5, "B": None}},
                {"case": "y", "hard_dice": {"A": None, "B": None}, "whole": 3, "never": {"A": None}},
            ],
        }
        table = tabulate(summary)
        found = [(column.measure, column.part, column.shown.title, column.shown.unit) for column in table.columns]
        assert found == [
            ("hard_dice", MEAN, "Dice", ""),
            ("hard_dice", "A", "Dice", ""),
            ("hard_dice", "B", "Dice", ""),
            ("new_mm", "A", "New", "mm"),
            ("new_mm", "B", "New", "mm"),
            ("whole", None, "Whole", ""),
        ]
        assert table.rows == [("x", [0.5, 0.5, None, 1.0, 2.0, None]), ("y", [None] * 5 + [3.0])]

    def test_undefined_cases_come_last(self):
        dice = {"a": 0.9, "b": None, "c": 0.2, "d": 0.5}
        summary = {"structures": ["A"], "cases": [{"case": name, "hard_dice": {"A": dice[name]}} for name in dice]}
        assert [row.name for row in tabulate(summary).rows] == ["c", "d", "a", "b"]

    def test_cases_in_which_a_structure_was_not_found_come_first(self):
        figures = {"a": (1.0, 0.2), "b": (2.0, 0.4), "c": (0.0, None), "d": (3.0, 0.9)}
        cases = [
            {"case": name, "volume_ml": {"A": size, "B": 1.0}, "uncertainty": {"A": unsure, "B": 0.1}}
            for name, (size, unsure) in figures.items()
        ]
        table = tabulate({"structures": ["A", "B"], "cases": cases})
        assert [row.name for row in table.rows] == ["c", "d", "b", "a"]
        shown = [column.text(value) for column, value in zip(table.columns, table.rows[0].values)]
        assert shown == ["0.00", "1.00", "not found", "not found", "0.100"]
        # What the script sorts by.
        assert markup.table_row(table.columns, table.rows[0], None).count('data-value="Infinity">not found<') == 2

    def test_without_any_measure_the_order_stays(self):
        table = tabulate({"cases": [{"case": "b"}, {"case": "a"}]})
        assert [row.name for row in table.rows] == ["b", "a"]
        assert table.columns == [] and table.ranked_by is None


class TestCharts:
    def test_every_epoch_has_its_point(self):
        epochs = {epoch: {"loss": 1.0 / epoch, "soft_dice_A": 0.5} for epoch in range(1, 31)}
        paths = re.findall(r'class="line[^"]*" d="([^"]*)"', charts.curves(epochs))
        assert [len(re.findall(r"[ML]", path)) for path in paths] == [30, 30]

    @pytest.mark.parametrize("epochs", [{1: {"loss": 0.5}}, {3: {"soft_dice_A": 1.0}}, {1: {"loss": float("nan")}}])
    def test_short_trainings(self, epochs):
        assert "nan" not in charts.curves(epochs).replace("Training", "")

    def test_points_lie_within_the_axes(self):
        epochs = {epoch: {"loss": value} for epoch, value in enumerate((1.7, -0.3, 0.2, 1.1), 1)}
        path = re.search(r'class="line[^"]*" d="M([^"]*)"', charts.curves(epochs)).group(1)
        places = np.array([list(map(float, place.split())) for place in path.split("L")])
        assert (places[:, 0] >= charts.LEFT).all() and (places[:, 0] <= charts.WIDTH - charts.RIGHT).all()
        assert (places[:, 1] >= charts.TOP).all() and (places[:, 1] <= charts.HEIGHT - charts.BOTTOM).all()
        assert np.argsort(places[:, 1]).tolist() == [0, 3, 2, 1]

    def test_every_defined_dice_has_its_dot(self):
        strips = charts.dice_strips("t", [("A", [0.5, None, 0.7]), ("B", [1.0, 0.0, None])], [("x", "a")] * 3)
        assert strips.count("<circle") == 4 and strips.count('href="#a"') == 4

    @pytest.mark.parametrize("low, high", [(0, 1), (0.7, 1.0), (1, 80), (-3.3, 12.9), (0.0, 0.0003), (5, 5)])
    def test_ticks_are_few_and_reach_round_the_values(self, low, high):
        ticks = charts._ticks(low, high)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9


class TestScans:
    def test_relative_paths_are_found_from_anywhere(self, tmp_path, monkeypatch):
        model_dir, cases, _ = evaluated_model(tmp_path, names=["one"])
        monkeypatch.chdir(str(tmp_path / "scans"))
        write(model_dir, [Case("one", "one.nii.gz", "one_truth.nii.gz")], STRUCTURES)
        monkeypatch.chdir(str(tmp_path))
        new = case_in(tmp_path / "new", model_dir, "new", labelled=False)
        write(model_dir, [new], STRUCTURES, predicted=True)
        assert Page(model_dir).text("h3") == ["new", "one"]

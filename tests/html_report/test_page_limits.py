"""A page stays bounded and says so, however many cases, structures and troubles there are."""

import os
import re

import numpy as np
import pytest
from pages import STRUCTURES, case_in, evaluation_of, write_json
from parsed_page import Page

from utils.html_report import build, charts
from utils.html_report.build import write
from utils.html_report.sections import MOST_PROBLEMS
from utils.imaging.tasks import Case
from utils.inference.masks import mask_path


def model_of_many(parent, count, structures=STRUCTURES, with_scans=False):
    """(model_dir, cases): scores of so many cases, whose scans are all one or missing."""
    model_dir, scans = str(parent / "model"), str(parent / "scans")
    one = case_in(scans, model_dir, "one", shape=(36, 50, 36))
    cases = []
    for number in range(count):
        name = "case_{:05d}".format(number)
        case = Case(name, os.path.join(scans, name + ".nii.gz"), os.path.join(scans, name + "_truth.nii.gz"))
        if with_scans:
            os.symlink(one.image, case.image)
            os.symlink(one.label, case.label)
            os.symlink(mask_path(model_dir, one), mask_path(model_dir, case))
        cases.append(case)
    write_json(evaluation_of([case.name for case in cases], structures), model_dir, "evaluation.json")
    return model_dir, cases


class TestTable:
    COUNT = 60

    def test_the_worst_are_listed_and_the_others_named_a_file(self, tmp_path, monkeypatch):
        model_dir, cases = model_of_many(tmp_path, self.COUNT)
        write(model_dir, cases, STRUCTURES)
        complete = Page(model_dir)
        monkeypatch.setattr(build, "ROOM_FOR_TABLE", 20000)
        write(model_dir, cases, STRUCTURES)
        page = Page(model_dir)
        names, all_names = ([text for text in part.text("span") if "case_" in text] for part in (page, complete))
        assert len(all_names) == self.COUNT and 5 < len(names) < 30 and names == all_names[: len(names)]
        assert "{} of 60 cases (all are in evaluation.csv), the worst first".format(len(names)) in page.shown()
        assert "60 cases, the worst first" in complete.shown()
        # Means are those of all, and so are the dots.
        assert page.source.count("<circle") == complete.source.count("<circle")
        assert page.source.count("<tfoot>") == 1
        foot = slice(page.source.index("<tfoot>"), page.source.index("</tfoot>"))
        assert page.source[foot] in complete.source

    def test_a_case_that_is_not_listed_has_no_pictures(self, tmp_path, monkeypatch):
        model_dir, cases = model_of_many(tmp_path, 12, with_scans=True)
        monkeypatch.setattr(build, "ROOM_FOR_TABLE", 6000)
        write(model_dir, cases, STRUCTURES)
        page = Page(model_dir)
        linked = [attributes["href"] for attributes in page.all("a") if "-case-" in attributes["href"]]
        assert 0 < len(page.all("article")) < 12
        assert "Shown are {} of 12 cases, the worst first".format(len(page.all("article"))) in page.shown()
        assert {"#" + attributes["id"] for attributes in page.all("article")} == set(linked)


class TestProblems:
    @pytest.mark.parametrize("count", [MOST_PROBLEMS, MOST_PROBLEMS + 7])
    def test_some_are_told_and_the_others_counted(self, tmp_path, count):
        model_dir, cases = model_of_many(tmp_path, count)
        write(model_dir, cases, STRUCTURES)
        shown = Page(model_dir).shown()
        assert shown.count("No pictures: ") == MOST_PROBLEMS
        assert ("No pictures of 7 more cases" in shown) == (count > MOST_PROBLEMS)


class TestStrips:
    def strips(self, count, structures=2):
        random = np.random.RandomState(0)
        lines = [
            ("S{}".format(number), [None if place % 9 == 8 else random.rand() for place in range(count)])
            for number in range(structures)
        ]
        return lines, charts.dice_strips("t", lines, [("case", "anchor")] * count)

    def test_a_cloud_has_a_dot_wherever_a_case_is(self):
        lines, strips = self.strips(charts.CASES_WITH_LINKS + 1)
        assert "<circle" not in strips and "<a " not in strips
        clouds = [
            re.findall(r"M(\d+) ([\d.]+)h0", path) for path in re.findall(r'class="cloud[^"]*" d="([^"]*)"', strips)
        ]
        assert len(clouds) == 2
        for (_, values), dots in zip(lines, clouds):
            left, right = charts.LEFT, charts.WIDTH - charts.RIGHT
            wanted = {int(round(left + (right - left) * value)) for value in values if value is not None}
            assert {int(x) for x, _ in dots} == wanted

    def test_of_a_few_each_has_its_own(self):
        assert self.strips(charts.CASES_WITH_LINKS)[1].count("<circle") == 2 * sum(
            place % 9 != 8 for place in range(charts.CASES_WITH_LINKS)
        )

    def test_they_do_not_grow_for_ever(self):
        shorter, longer = (len(self.strips(count, 1)[1]) for count in (20000, 60000))
        assert longer < 1.1 * shorter < 60000


@pytest.mark.endurance
class TestThousands:
    @pytest.mark.parametrize("structures", [2, 14, 60])
    def test_a_page_of_2000_cases(self, tmp_path, structures):
        names = ["structure {}".format(number) for number in range(structures)]
        model_dir, cases = model_of_many(tmp_path, 2000, names, with_scans=True)
        write(model_dir, cases, names)
        page = Page(model_dir)
        assert len(page.source.encode()) < build.LARGEST_PAGE
        assert len(page.all("article")) > 50
        assert "Shown are {} of 2000 cases, the worst first".format(len(page.all("article"))) in page.shown()

"""The README names every flag with its default, what it links to is there, and its tables are the measured ones."""

import json
import os
import re

import pytest

from examples import sweep_report
from utils.flag import shown
from utils.flags import FLAGS
from utils.recipes import named

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.path.join(PROJECT, "README.md"), encoding="utf-8") as file:
    README = file.read()


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_stands_in_the_table_with_its_default_and_meaning(name):
    flag = FLAGS[name]
    default = "" if flag.default is None else shown(flag.default)
    recipes = [shown(values[name]) if name in values else "" for _, values in named()]
    assert "| {} |".format(" | ".join(["`--{}`".format(name), default] + recipes + [flag.help])) in README


def test_the_table_has_no_flag_that_is_gone():
    assert {match for match in re.findall(r"^\| `--(\w+)` \|", README, re.MULTILINE)} == set(FLAGS)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", README))))
def test_linked_files_are_there(link):
    assert os.path.exists(os.path.join(PROJECT, link))


def test_linked_sections_are_there():
    sections = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= sections


def test_the_benchmarks_tables_are_those_of_its_figures():
    with open(os.path.join(PROJECT, "images", "benchmark.json"), encoding="utf-8") as file:
        tables = sweep_report.markdown(json.load(file))
    assert tables.strip() in README
    with open(os.path.join(PROJECT, "images", "benchmark.md"), encoding="utf-8") as file:
        assert file.read() == tables


def test_no_figure_is_left_open():
    assert not re.search(r"@[A-Z_]+@", README)

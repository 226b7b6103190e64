"""The README names every flag with its default, and its figures are the measured ones."""

import json
import os
import re

import pytest

from benchmarks import figures, report
from benchmarks.network import Network
from benchmarks.registry import Cell
from examples import sweep_report
from utils.flag import shown
from utils.flags import FLAGS
from utils.recipes import named

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read(*path):
    with open(os.path.join(PROJECT, *path), encoding="utf-8") as file:
        return file.read()


README = read("README.md")


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_stands_in_the_table_with_its_default_and_meaning(name):
    flag = FLAGS[name]
    default = "" if flag.default is None else shown(flag.default)
    recipes = [shown(values[name]) if name in values else "" for _, values in named()]
    assert "| {} |".format(" | ".join(["`--{}`".format(name), default] + recipes + [flag.help])) in README


def test_the_table_has_no_flag_that_is_gone():
    assert {match for match in re.findall(r"^\| `--(\w+)` \|", README, re.MULTILINE)} == set(FLAGS)


def paragraph(start):
    """The README's text from its only occurrence of `start` to the next empty line."""
    (rest,) = README.split(start)[1:]
    return rest.split("\n\n")[0]


class TestBenchmark:
    TABLES = read("images", "benchmark.md")

    def test_tables_are_those_of_its_figures(self):
        assert self.TABLES == sweep_report.markdown(json.loads(read("images", "benchmark.json")))

    def test_the_readme_has_figures_of_theirs(self):
        named = re.findall(r"\b\d+\.\d\b", paragraph("[images/benchmark.md](images/benchmark.md) has its tables."))
        measured = {"{:.1f}".format(float(number)) for number in re.findall(r"\d+\.\d\d", self.TABLES)}
        assert len(named) > 5 and set(named) <= measured


class TestSpeed:
    TABLES = read("images", "benchmark_speed.md")

    def test_tables_are_those_of_its_figures(self):
        content = json.loads(read("images", "benchmark_speed.json"))
        shape = Network(*(content["network"][name] for name in Network._fields))
        rates = {
            Cell(cell["contender"], cell["kind"], str(cell.get("batch_size", cell["precision"]))): cell["rounds"]
            for cell in content["cells"]
        }
        found = figures.Figures(rates, shape)
        assert self.TABLES == report.markdown(found, shape, content["run"], content["not_measured"])

    def test_the_readme_has_figures_of_theirs(self):
        ratios = re.findall(r"(\d\.\d\d) \((\d\.\d\d to \d\.\d\d)\)", paragraph("| ours, at |"))
        assert len(ratios) > 5
        for ratio in ratios:
            assert "| {} | {} |".format(*ratio) in self.TABLES
        parts = re.findall(r"(\d+) %", paragraph("Training reached"))
        assert len(parts) == 3
        for part in parts:
            assert re.search(r"part of the limit .* \| {}% \|".format(part), self.TABLES)


def test_no_figure_is_left_open():
    assert not re.search(r"@[A-Z_]+@", README)

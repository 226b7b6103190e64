"""The documents: what they name is there, what they show can be typed, what a script writes is up to date."""

import glob
import importlib.util
import json
import os
import re
import shlex

import pytest

from benchmarks import figures, report
from benchmarks.network import Network
from benchmarks.registry import Cell
from examples import sweep_report
from utils.config.flag import shown
from utils.config.flags import FLAGS
from utils.config.parser import build_parser

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/NOTES.md"]
DOCUMENTS += ["predictions/README.md", "tests/FAULTS.md"]
DOCUMENTS += sorted("docs/" + os.path.basename(path) for path in glob.glob(os.path.join(PROJECT, "docs", "*.md")))
PARTS = "utils|model|examples|tests|images|benchmarks|docs|setup|dllogger"


def read(name):
    with open(os.path.join(PROJECT, name), encoding="utf-8") as file:
        return file.read()


def anchors(text):
    titles = re.findall("^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_linked_files_and_sections_are_there(name):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", read(name)):
        path, _, section = link.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
        assert os.path.exists(os.path.join(PROJECT, path)), link
        assert not section or section in anchors(read(path)), link


@pytest.mark.parametrize("name", sorted(set(DOCUMENTS) - {"CHANGELOG.md"}))
def test_named_files_are_there(name):
    for path in re.findall(r"`((?:{})/[\w./-]*|main\.py|download_dataset\.py)`".format(PARTS), read(name)):
        assert os.path.exists(os.path.join(PROJECT, path)), path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_of_main_can_be_typed(name):
    text = read(name).replace("\\\n", " ")
    for line in re.findall(r"^    +python main\.py (.*)$", text, re.MULTILINE):
        words = shlex.split(line.replace("[--amp]", "--amp").replace("EPOCHS", "1").replace(" S ", " 0 "))
        if words != ["--help"]:
            build_parser().parse_args(words)


def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= 250


def test_defaults_of_the_readmes_flags_are_those_of_the_table():
    rows = re.findall(r"^\| `--(\w+)` \|([^|]*)\|[^|]*\|$", read("README.md"), re.MULTILINE)
    assert len(rows) > 10
    for name, default in rows:
        assert default.strip() == ("" if FLAGS[name].default is None else shown(FLAGS[name].default)), name


def test_the_page_of_flags_is_that_of_the_table():
    found = importlib.util.spec_from_file_location("write_flags", os.path.join(PROJECT, "docs", "write_flags.py"))
    write_flags = importlib.util.module_from_spec(found)
    found.loader.exec_module(write_flags)
    assert read("docs/flags.md") == write_flags.markdown(), "run python docs/write_flags.py"


def test_tables_of_the_sweep_are_those_of_its_figures():
    assert read("images/benchmark.md") == sweep_report.markdown(json.loads(read("images/benchmark.json")))


@pytest.mark.parametrize("name", ["images/benchmark_speed", "images/benchmark_speed_tf1"])
def test_tables_of_speed_are_those_of_its_figures(name):
    content = json.loads(read(name + ".json"))
    shape = Network(*(content["network"][name] for name in Network._fields))
    rates = {
        Cell(cell["contender"], cell["kind"], str(cell.get("batch_size", cell["precision"]))): cell["rounds"]
        for cell in content["cells"]
    }
    found = figures.Figures(rates, shape)
    assert read(name + ".md") == report.markdown(found, shape, content["run"], content["not_measured"])


def test_tests_of_faults_and_promises_are_there():
    """The tests that stand behind what FAULTS.md and SECURITY.md promise."""
    rows = re.findall(r"^\|.*\|$", read("tests/FAULTS.md"), re.MULTILINE)[2:]
    rows = [re.findall(r"`(test_\w+)(?:::(\w+))?`", row) for row in rows]
    named = sum(rows, [])
    for module, classes in re.findall(r"`tests/(?:\w+/)?(test_\w+)\.py`:?((?:\s+`Test\w+`,?)*)", read("SECURITY.md")):
        named += [(module, tested) for tested in re.findall(r"Test\w+", classes) or [""]]
    assert len(named) > 40 and all(rows)
    for module, tested in named:
        (path,) = glob.glob(os.path.join(PROJECT, "tests", "**", module + ".py"), recursive=True)
        assert "\nclass {}:".format(tested) in read(path) or not tested, (module, tested)

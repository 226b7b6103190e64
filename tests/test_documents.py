"""The documents: what they link to is there, the tests that they name are there, and their lines are short."""

import os
import re

import pytest
from test_fuzz import LONG

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS += ("benchmarks/NOTES.md", "predictions/README.md", "tests/FAULTS.md")


def read(name):
    with open(os.path.join(PROJECT, name), encoding="utf-8") as file:
        return file.read()


def anchors(text, level="#+"):
    """What links name the sections of a document by; all, or those of one level of headings."""
    titles = re.findall("^{} (.+)$".format(level), text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("name", DOCUMENTS)
class TestText:
    def test_linked_files_and_sections_are_there(self, name):
        for link in re.findall(r"\]\((?!http)([^)]+)\)", read(name)):
            path, _, section = link.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            assert os.path.exists(os.path.join(PROJECT, path)), link
            assert not section or section in anchors(read(path)), link

    def test_lines_are_short_but_for_tables(self, name):
        lines = enumerate(read(name).splitlines(), 1)
        assert [number for number, line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_readmes_contents_are_its_sections():
    text = read("README.md")
    contents = text[text.index("\n* [") : text.index("\n## ")]
    assert re.findall(r"\]\(#([^)]+)\)", contents) == anchors(text, "##")


class TestNamedTests:
    """The tests that stand behind what is promised."""

    def test_of_faults_are_there(self):
        rows = re.findall(r"^\|.*\| (.+) \|$", read("tests/FAULTS.md"), re.MULTILINE)[1:]
        assert len(rows) > 30
        for row in rows:
            named = re.findall(r"`(test_\w+)(?:::(\w+))?`", row)
            assert named, row
            for module, tested in named:
                assert not tested or "\nclass {}:".format(tested) in read("tests/{}.py".format(module)), row
                assert os.path.exists(os.path.join(PROJECT, "tests", module + ".py")), row

    def test_of_promises_are_there(self):
        named = re.findall(r"`tests/(\w+)\.py`:?((?:\s+`Test\w+`,?)*)", read("SECURITY.md"))
        assert len(named) > 8
        for module, classes in named:
            text = read("tests/{}.py".format(module))
            for tested in re.findall(r"Test\w+", classes):
                assert "\nclass {}:".format(tested) in text, module

    def test_so_many_inputs_are_tried(self):
        told = re.findall(r"`([a-z ]+)`: ([\d,]+)", read("tests/FAULTS.md"))
        assert {kind: int(count.replace(",", "")) for kind, count in told} == LONG
        assert "tries {:,} of them".format(sum(LONG.values())) in read("SECURITY.md")

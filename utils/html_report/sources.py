"""Are the files that a report is made from what it takes them for? What is wrong with them is told in one line."""

import os

from utils.imaging.stacks import Page
from utils.imaging.tasks import Case, Pages
from utils.system.errors import UserError
from utils.system.files import RESTORE

ANEW = "delete it, and evaluate or predict anew"


def check_summary(path, summary):
    """Raises UserError where the dict in evaluation.json or predictions.json, read from ``path``, is none of these."""
    cases = summary.get("cases", [])
    if not isinstance(cases, list) or not all(isinstance(case, dict) and "case" in case for case in cases):
        raise UserError('{}: is damaged, its "cases" are none: {}'.format(path, ANEW))
    if not _are_names(summary.get("structures", [])):
        raise UserError('{}: is damaged, its "structures" are no names: {}'.format(path, ANEW))
    if not isinstance(summary.get("uncertainty_rank_correlation", {}), dict):
        raise UserError('{}: is damaged, its "uncertainty_rank_correlation" is none: {}'.format(path, ANEW))


def check_settings(path, settings):
    """Raises UserError where the dict in params.json, read from ``path``, has no names of modalities."""
    if not _are_names(settings.get("modalities", [])):
        raise UserError('{}: is damaged, its "modalities" are no names: {}'.format(path, RESTORE))


def check_scans(path, scans):
    """Raises UserError where the dict in scans.json, read from ``path``, lists other things than cases and files."""
    for cases in scans.values():
        if not isinstance(cases, list) or not all(map(_is_case, cases)):
            raise UserError("{}: is damaged: delete it".format(path))


def entry_of(case):
    """Returns a ``utils.imaging.tasks.Case`` as scans.json lists it: its name, and the paths of its image and its
    label.

    A page of a stack, or a whole one, has a fourth entry: the numbers of the pages in the two files, or none.
    """
    entry = [case.name, os.path.abspath(case.image), case.label and os.path.abspath(case.label)]
    if case.pages is None:
        return entry
    return entry + [[page.number for page in case.pages[:2] if page is not None]]


def case_of(entry):
    """Returns the Case that an entry of scans.json stands for."""
    name, image, label = entry[:3]
    if len(entry) == 3:
        return Case(name, image, label)
    pages = [Page(name, path, number) for path, number in zip((image, label), entry[3])]
    return Case(name, image, label, Pages(*pages))


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_case(entry):
    """Whether an entry is one that ``entry_of`` returns; the name is that of a file."""
    if not isinstance(entry, list) or len(entry) not in (3, 4) or not _are_names(entry[:2] + [entry[2] or ""]):
        return False
    if len(entry) == 4 and not _are_pages(entry[3], 2 if entry[2] else 0):
        return False
    return os.path.basename(entry[0]) == entry[0] != ""


def _are_pages(numbers, count):
    """Whether these are the numbers of so many pages, None for a file of a single one."""
    if not isinstance(numbers, list) or len(numbers) != count:
        return False
    return all(number is None or (type(number) is int and number >= 0) for number in numbers)

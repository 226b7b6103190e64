"""Are the files that a report is made from what it takes them for? What is wrong with them is told in one line."""

import os

from utils.errors import UserError


def check_summary(path, summary):
    """Raises UserError where the dict in evaluation.json or predictions.json, read from ``path``, is none of these."""
    cases = summary.get("cases", [])
    if not isinstance(cases, list) or not all(isinstance(case, dict) and "case" in case for case in cases):
        raise UserError('{}: is damaged, its "cases" are none'.format(path))
    if not _are_names(summary.get("structures", [])):
        raise UserError('{}: is damaged, its "structures" are no names'.format(path))
    if not isinstance(summary.get("uncertainty_rank_correlation", {}), dict):
        raise UserError('{}: is damaged, its "uncertainty_rank_correlation" is none'.format(path))


def check_settings(path, settings):
    """Raises UserError where the dict in params.json, read from ``path``, has no names of modalities."""
    if not _are_names(settings.get("modalities", [])):
        raise UserError('{}: is damaged, its "modalities" are no names'.format(path))


def check_scans(path, scans):
    """Raises UserError where the dict in scans.json, read from ``path``, lists other things than cases and files."""
    for cases in scans.values():
        if not isinstance(cases, list) or not all(map(_is_case, cases)):
            raise UserError("{}: is damaged: delete it".format(path))


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_case(entry):
    """Whether an entry is [name, path of the image, path of the label or None]; the name is that of a file."""
    if not isinstance(entry, list) or len(entry) != 3 or not _are_names(entry[:2] + [entry[2] or ""]):
        return False
    return os.path.basename(entry[0]) == entry[0] != ""

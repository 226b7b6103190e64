"""Builds the report page of a model's folder from the files that lie there, and from the scans of its cases."""

import base64
import hashlib
import os
import string
import time
from typing import Any, Dict, List, NamedTuple, Tuple

from utils.config.flag import shown
from utils.config.network_flags import OWN_FLAGS, UNET, VNET
from utils.html_report import markup, sections, sources
from utils.html_report.measures import Table, tabulate
from utils.html_report.volume import encode
from utils.imaging import case_files as scan_files
from utils.imaging.tasks import Case
from utils.inference.masks import mask_path
from utils.model_dir.record import in_words
from utils.model_dir.settings import RUNS
from utils.system.environment import share_of_cores
from utils.system.errors import UserError, attempted
from utils.system.files import read_json, replace_on_success, write_json_atomically
from utils.system.progress import Progress, say
from utils.system.thread_pool import overlapped
from utils.visualization.planes import COLOURS
from utils.visualization.training_log import mean_epochs

FOLDER = "report"
PAGE_NAME = "index.html"
# Where the scans of the page lie, so that predicting leaves those that were evaluated on it, and the other way round.
SCANS_NAME = "scans.json"
LARGEST_PAGE = 20 * 10**6
# The rest is for what is small, and for a case that comes out larger than it was asked to.
ROOM_FOR_CASES = LARGEST_PAGE - 300000
LEAST_ROOM = 120000
ROOM_FOR_TABLE = 4 * 10**6
SOURCES = {"evaluated": "evaluation.json", "predicted": "predictions.json"}
HERE = os.path.dirname(os.path.abspath(__file__))


class Group(NamedTuple):
    """The evaluated or the predicted cases: what is known of them, and the paths of their scans by name.

    ``listed`` is how many rows of the table the page has room for.
    """

    kind: str
    summary: Dict[str, Any]
    table: Table
    listed: int
    scans: Dict[str, Case]


class Contents(NamedTuple):
    """What the page tells beside its pictures: names of the structures, the run's settings, its folds and epochs."""

    groups: List[Group]
    structures: List[str]
    settings: Dict[str, Any]
    folds: int
    epochs: Dict[int, Dict[str, float]]


class Card(NamedTuple):
    """A case as HTML; whether it is of pages, rather than of a volume cut by planes; and whether it shows a truth."""

    html: str
    pages: bool = False
    has_truth: bool = False


class Pictures(NamedTuple):
    """The cases that the page shows, a Card by (kind, place in the table); and why others are not shown."""

    cards: Dict[Tuple[str, int], Card]
    problems: List[str]
    complete: bool


def write(model_dir, cases, structures, predicted=False, logs=()):
    """Writes ``<model_dir>/report/index.html``, one self-contained page, and says where it is.

    It shows params.json, the curves of the log, and the cases of evaluation.json and predictions.json with their
    masks in ``eval``; those of an earlier evaluation or prediction of this model too, as long as their scans are
    where they were and their masks have not been made anew by this one. A page that would grow past 20 MB shows as
    many cases as fit, the worst first, in its tables and in its pictures.

    Args:
        model_dir: the model's folder, as text.
        cases: the ``utils.imaging.tasks.Case``s that have been evaluated or predicted.
        structures: their names by value, background left out.
        predicted: whether the cases have been predicted; else they have been evaluated.
        logs: paths of the training's log, or of those of all folds; one that is missing is left out.

    Raises:
        UserError: a file of the folder is damaged, or the page cannot be written.
    """
    model_dir, structures = str(model_dir), list(structures)
    folder = os.path.join(model_dir, FOLDER)
    kind = "predicted" if predicted else "evaluated"
    groups = _groups(model_dir, _scans(folder, kind, cases), kind)
    settings = _settings(os.path.join(model_dir, "params.json"))
    contents = Contents(groups, structures, settings, *mean_epochs(logs))
    page = _page(contents, _pictures(model_dir, contents))
    path = os.path.join(folder, PAGE_NAME)
    with replace_on_success(path) as temporary:
        # A file's name may hold what is no text.
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(page)
    say("report: {}".format(path))


def _settings(path):
    """The settings in a params.json, and beside them what is on record of the last run that trained."""
    settings = _optional(path)
    sources.check_settings(path, settings)
    runs = settings.pop(RUNS, [])
    try:
        return dict(_own(settings), **in_words(runs))
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError('{}: is damaged, "{}": delete that entry'.format(path, RUNS)) from error


def _own(settings):
    """The settings that decide something: not those of the other network, and no share where there are folds."""
    model = settings.get("model", VNET)
    idle = {name for other, names in OWN_FLAGS.items() if other != model for name in names}
    if settings.get("folds"):
        idle.add("train_split")
    return {name: value for name, value in settings.items() if name not in idle}


def _optional(path):
    """The dict in a JSON file; an empty one where there is no file."""
    if not os.path.exists(path):
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(
            "{}: is damaged, it holds no JSON object: put back a whole copy, or evaluate or predict anew".format(path)
        )
    return value


def _scans(folder, kind, cases):
    """The cases of the page by kind and name; the given ones take the place of those of their kind before."""
    path = os.path.join(folder, SCANS_NAME)
    known = _optional(path)
    sources.check_scans(path, known)
    known[kind] = [sources.entry_of(case) for case in cases]
    names = {case.name for case in cases}
    try:
        for other in set(SOURCES) - {kind}:
            known[other] = [entry for entry in known.get(other, []) if entry[0] not in names]
        write_json_atomically(path, known)
        return {kind: {entry[0]: sources.case_of(entry) for entry in known[kind]} for kind in SOURCES}
    except ValueError as error:
        # JSON can tell of text that no encoding holds.
        raise UserError("{}: is damaged: delete it".format(path)) from error


def _groups(model_dir, scans, first):
    groups = []
    for kind in sorted(SOURCES, key=lambda kind: kind != first):
        summary = _summary(os.path.join(model_dir, SOURCES[kind]))
        if not summary:
            summary = {"cases": [{"case": name} for name, case in scans[kind].items() if _has_mask(model_dir, case)]}
        if summary.get("cases"):
            table = tabulate(summary)
            groups.append(Group(kind, summary, table, _rows_that_fit(kind, table), scans[kind]))
    return groups


def _rows_that_fit(kind, table):
    room = ROOM_FOR_TABLE
    for place, row in enumerate(table.rows):
        room -= _size(markup.table_row(table.columns, row, sections.anchor(kind, place)))
        if room < 0:
            return place
    return len(table.rows)


def _summary(path):
    summary = _optional(path)
    sources.check_summary(path, summary)
    return summary


def _has_mask(model_dir, case):
    return os.path.exists(mask_path(model_dir, case))


def _pictures(model_dir, contents):
    """The ``Pictures`` of the worst cases, as many as there is room for beside all else."""
    wanted = [
        (group, place)
        for group in contents.groups
        for place, row in enumerate(group.table.rows[: group.listed])
        if row.name in group.scans
    ]
    without = Pictures({(group.kind, place): Card("") for group, place in wanted}, [], True)
    room, done = ROOM_FOR_CASES - sum(map(_size, _page(contents, without))), 0
    cards, problems = {}, []
    complete = all(group.listed == len(group.table.rows) for group in contents.groups)

    def shares():
        # Of what those that are done have left; those that are under way are still counted.
        for group, place in wanted:
            yield group, place, max(room // (len(wanted) - done), LEAST_ROOM)

    def made(one):
        return attempted(_card, model_dir, contents, *one)

    with Progress(len(wanted), "making the report", "cases") as progress:
        for (group, place), card in zip(wanted, overlapped(made, shares(), share_of_cores())):
            done += 1
            if isinstance(card, UserError):
                problems.append(str(card))
            else:
                room -= _size(card.html)
                if room < 0:
                    return Pictures(cards, problems, False)
                cards[group.kind, place] = card
            progress.update()
    return Pictures(cards, problems, complete)


def _card(model_dir, contents, group, place, room):
    """The ``Card`` of a case, of about ``room`` bytes; the scan is read, used and forgotten."""
    row = group.table.rows[place]
    case, classes = group.scans[row.name], len(contents.structures) + 1
    pages = scan_files.is_stack(case)
    with scan_files.turn_of(case):
        grid = scan_files.read_grid(case)
        mask = scan_files.read_mask(case, mask_path(model_dir, case), grid, classes)
        truth = scan_files.read_label(case, grid, classes) if case.label else None
        image = scan_files.read_channels(case)[0]
        html = markup.card(
            sections.anchor(group.kind, place),
            row,
            group.table.columns,
            encode(image, mask, truth, room, pages),
            grid.size,
            (contents.settings.get("modalities") or [""])[0],
            group.kind,
            pages,
        )
        return Card(html, pages, has_truth=truth is not None)


def _size(text):
    return len(text.encode("utf-8", "backslashreplace"))


def _page(contents, pictures):
    """The page as a list of texts, one after another: joined, its pictures would be in memory several times."""
    parts = sections.parts(contents, pictures)
    style = ":root{{{}}}\n".format("".join("--contour-{}:{};".format(*entry) for entry in enumerate(COLOURS, 1)))
    style += _source("style.css")
    script = _source("page.js")
    task = str(contents.settings.get("task") or "Segmentation")
    before, after = (string.Template(text) for text in _source("template.html").split("$sections"))
    values = dict(
        policy=_policy(style, script),
        title=markup.safe("{}: segmentation report".format(task)),
        network="U-Net" if contents.settings.get("model") == UNET else "V-Net",
        style=style,
        task=markup.safe(task),
        facts=markup.safe(_facts(contents.groups)),
        navigation="".join('<a href="#{}">{}</a>'.format(part.anchor, markup.safe(part.title)) for part in parts),
        data=markup.script_json({"colours": COLOURS, "structures": contents.structures}),
        script=script,
    )
    middle = [text for part in parts for text in part.html]
    return [before.substitute(values)] + middle + [after.substitute(values)]


def _facts(groups):
    facts = [time.strftime("made on %d %B %Y at %H:%M")]
    for group in groups:
        facts.append("{} {} cases".format(len(group.table.rows), group.kind))
        used = group.summary.get("checkpoint")
        if isinstance(used, dict):
            facts[-1] += " by the {} checkpoint (step {})".format(used.get("which"), shown(used.get("step")))
        facts[-1] += "".join(", {} {}".format(name, shown(value)) for name, value in _made_with(group.summary))
    return "; ".join(facts)


def _made_with(summary):
    """Names and values of the settings that changed the masks, beside those that the model has."""
    settings = summary.get("made_with")
    return [entry for entry in settings.items() if entry[1] is not False] if isinstance(settings, dict) else []


def _policy(style, script):
    """A policy that allows this page's own style and script, pictures within it, and nothing from anywhere."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in (style, script)
    ]
    return (
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; "
        "form-action 'none'"
    ).format(*hashes)


def _source(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()

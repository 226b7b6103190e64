"""The parts of a report: scores, curves, settings, and the cases' tables and pictures."""

import itertools
from typing import List, NamedTuple

from utils.evaluation import predictions, tables
from utils.html_report import charts, markup
from utils.html_report.measures import MEAN, NOT_FOUND
from utils.visualization.planes import COLOURS

TITLES = {"evaluated": "Held-out cases", "predicted": "Predicted cases"}
CSV_NAMES = {"evaluated": tables.CSV_NAME, "predicted": predictions.CSV_NAME}
MOST_PROBLEMS = 10
OUTLINES = "Hausdorff 95 %: the distance between the two outlines that 95 % of their points keep within."
NOTES = {
    "hard_dice": "Dice: overlap of mask and truth on the scan's own grid, 1 at best.",
    "hausdorff_95_mm": "Hausdorff 95 %: the distance between the two surfaces that 95 % of their points keep within.",
    "surface_distance_mm": "Surface distance: the average distance between the two surfaces.",
    "hausdorff_95_pixels": OUTLINES,
    "surface_distance_pixels": "Surface distance: the average distance between the two outlines.",
    "area_difference_pixels": "Area difference: the mask's area less the true one.",
    "volume_difference_ml": "Volume difference: the mask's volume less the true one.",
    "uncertainty": "Uncertainty: how unsure the network is of the mask, from its probabilities.",
    "soft_dice": "Soft Dice: that of the probabilities, on the network's grid.",
}


class Part(NamedTuple):
    """One part of the page: where links go, what they are called, and its HTML, texts that follow one another."""

    anchor: str
    title: str
    html: List[str]


def anchor(kind, place):
    """The id of a case's pictures: its kind, and its place when the worst come first."""
    return "{}-case-{}".format(kind, place + 1)


def parts(contents, pictures):
    """Returns the Parts of the page, in their order, of the ``Contents`` and ``Pictures`` of ``html_report.build``."""
    found = [_scores(group, pictures) for group in contents.groups]
    curves = charts.curves(contents.epochs) or "<p>The log holds no epoch of a training.</p>"
    title = "Training curves" + (", the mean of {} folds".format(contents.folds) if contents.folds > 1 else "")
    found.append(_panel("curves", title, '<div class="charts">{}</div>'.format(curves)))
    if contents.settings:
        found.append(_panel("settings", "Settings", markup.settings_list(contents.settings)))
    if pictures.cards or pictures.problems:
        found.append(_cases(contents, pictures))
    return found


def _panel(name, title, content, above=""):
    html = '<div class="panel"><h2 id="{0}-title">{1}</h2>{2}</div>'.format(name, markup.safe(title), content)
    return Part(name, title, _section(name, [above, html]))


def _section(name, contents):
    return ['<section id="{0}" aria-labelledby="{0}-title">'.format(name)] + contents + ["</section>\n"]


def _scores(group, pictures):
    table = group.table
    anchors = [
        anchor(group.kind, place) if (group.kind, place) in pictures.cards else None for place in range(group.listed)
    ]
    title = TITLES[group.kind]
    dice = [
        (place, column)
        for place, column in enumerate(table.columns)
        if column.measure == "hard_dice" and column.part not in (None, MEAN)
    ]
    lines = [(column.part, [row.values[place] for row in table.rows]) for place, column in dice]
    names = [(row.name, link) for row, link in itertools.zip_longest(table.rows, anchors)]
    strips = charts.dice_strips("Dice of each case; the line is the mean", lines, names)
    content = '<div class="strips">{}</div>'.format(strips) if strips else ""
    content += markup.table(table, anchors, _caption(group)) + _notes(group)
    return _panel(group.kind, title, content, above=_tiles(group, dice))


def _caption(group):
    table, told = group.table, "{} cases".format(len(group.table.rows))
    if group.listed < len(table.rows):
        told = "{} of {} (all are in {})".format(group.listed, told, CSV_NAMES[group.kind])
    if table.ranked_by is None:
        return told
    column = table.columns[table.ranked_by]
    worst = "{} {}".format("lowest" if table.rising else "highest", column.shown.title)
    return "{}, the worst first ({}); a heading sorts by its column".format(told, worst)


def _tiles(group, dice):
    tiles = []
    for number, (place, column) in enumerate(dice):
        statistics = {title: values[place] for title, values in group.table.statistics.items()}
        if statistics.get("Mean") is None:
            continue
        more = ["mean Dice"]
        if statistics.get("95 % interval of the mean"):
            more.append("95 % interval {}".format(column.text(statistics["95 % interval of the mean"])))
        if statistics.get("Median") is not None:
            more.append("median {}".format(column.text(statistics["Median"])))
        if statistics.get("Standard deviation") is not None:
            more.append("standard deviation {}".format(column.text(statistics["Standard deviation"])))
        tiles.append(
            '<li class="tile series-{}"><span class="name">{}</span><div class="number">{}</div><p>{}</p></li>'.format(
                number % len(COLOURS) + 1,
                markup.safe(column.part),
                markup.safe(column.text(statistics["Mean"])),
                markup.safe("; ".join(more)),
            )
        )
    return '<ul class="tiles">{}</ul>'.format("".join(tiles)) if tiles else ""


def _notes(group):
    measures = [column.measure for column in group.table.columns]
    notes = [text for measure, text in NOTES.items() if measure in measures]
    if any(NOT_FOUND in row.values for row in group.table.rows):
        notes.append("Not found: in no voxel of the mask, but in the masks of most of the other cases.")
    notes += _rank_notes(group.summary.get("uncertainty_rank_correlation") or {}, len(group.table.rows))
    return '<p class="notes">{}</p>'.format(markup.safe(" ".join(notes))) if notes else ""


def _rank_notes(ranks, total):
    """Of the cases that have both, which evaluations of earlier versions did not count."""
    ranked, counts = ranks.get("case_means"), ranks.get("count")
    if not isinstance(ranked, float):
        return []
    count = counts.get("case_means") if isinstance(counts, dict) else None
    of = "" if count in (None, total) else ", of {} of {} cases".format(count, total)
    told = "Rank correlation of the cases' uncertainty with their Dice: {:+.2f} (-1 at best){}."
    return [told.format(ranked, of)]


def _cases(contents, pictures):
    told = []
    shown, total = len(pictures.cards), sum(len(group.table.rows) for group in contents.groups)
    if not pictures.complete:
        told.append(
            "Shown are {} of {} cases, the worst first: with all, the page would exceed 20 MB.".format(shown, total)
        )
    told += ["No pictures: {}".format(problem) for problem in pictures.problems[:MOST_PROBLEMS]]
    if len(pictures.problems) > MOST_PROBLEMS:
        told.append("No pictures of {} more cases".format(len(pictures.problems) - MOST_PROBLEMS))
    # Stacks of images, and volumes that three planes cut: a report of earlier runs may show both.
    pages = [card.pages for card in pictures.cards.values()]
    title = "Masks over the images" if any(pages) else "Masks over the scans"
    found = ['<h2 id="pictures-title">{}</h2>'.format(title)]
    found += ['<p class="notice">{}</p>'.format(markup.safe(text)) for text in told]
    with_truth = any(card.has_truth for card in pictures.cards.values())
    found.append(_controls(contents.structures, with_truth, with_cross=not (pages and all(pages))))
    for group in contents.groups:
        cards = [card.html for (kind, _), card in pictures.cards.items() if kind == group.kind]
        if cards and len(contents.groups) > 1:
            found.append("<h2>{}</h2>".format(markup.safe(TITLES[group.kind])))
        found += cards
    return Part("pictures", title, _section("pictures", found))


def _controls(structures, with_truth, with_cross):
    boxes = [
        '<label><input type="checkbox" value="{}" checked><span class="swatch series-{}"></span>{}</label>'.format(
            value, (value - 1) % len(COLOURS) + 1, markup.safe(name)
        )
        for value, name in enumerate(structures, 1)
    ]
    boxes.append('<label><input type="checkbox" value="mask" checked><span class="stroke"></span>mask</label>')
    if with_truth:
        boxes.append(
            '<label><input type="checkbox" value="truth" checked><span class="stroke dashed"></span>truth</label>'
        )
    if with_cross:
        boxes.append('<label><input type="checkbox" value="cross" checked>crosshair</label>')
    return '<div class="controls" role="group" aria-label="What the pictures show">{}</div>'.format("".join(boxes))

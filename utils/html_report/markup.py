"""A report's tables and cases as HTML; all text that comes from files is escaped."""

import json
from html import escape

from utils.config.flag import shown
from utils.html_report.measures import MEAN, RANKING
from utils.system.printable import printable

# What would end a script element or begin markup within it.
UNSAFE_IN_SCRIPT = {ord(character): "\\u{:04x}".format(ord(character)) for character in "<>&"}
# Name, and the axis that it cuts.
PLANES = (("Axial", 2), ("Coronal", 1), ("Sagittal", 0))
PAGES = (("Page", 2),)
TILT_TOLD = 8


def safe(text):
    """Returns text that may stand in an element or a quoted attribute; what cannot be shown as its code."""
    return escape(printable(text), quote=True)


def script_json(value):
    """Returns a value as JSON that may stand in a script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(UNSAFE_IN_SCRIPT)


def settings_list(settings):
    """Returns a dict of settings as a description list."""
    entries = ["<div><dt>{}</dt><dd>{}</dd></div>".format(safe(name), safe(shown(settings[name]))) for name in settings]
    return '<dl class="settings">{}</dl>'.format("".join(entries))


def table(tabulated, anchors, caption):
    """Returns a ``measures.Table`` as a table that the page's script sorts.

    ``anchors`` has for each row the id of the case's pictures, or None where the page has none; it has as many as the
    table is to have rows.
    """
    rows = "".join(table_row(tabulated.columns, row, anchor) for row, anchor in zip(tabulated.rows, anchors))
    foot = "".join(_statistic(tabulated.columns, *entry) for entry in tabulated.statistics.items())
    return (
        '<p class="facts">{0}</p><div class="wide tall" role="region" tabindex="0" aria-label="{0}">'
        '<table class="cases"><thead>{1}</thead><tbody>{2}</tbody><tfoot>{3}</tfoot></table></div>'
    ).format(safe(caption), _heading(tabulated), rows, foot)


def _heading(tabulated):
    groups = []
    for column in tabulated.columns:
        if groups and groups[-1][0] == column.measure:
            groups[-1][2] += 1
        else:
            groups.append([column.measure, column.shown, 1])
    upper = "".join(
        '<th colspan="{}" scope="colgroup">{}</th>'.format(count, safe(_titled(measure)))
        for _, measure, count in groups
    )
    lower = "".join(
        _sortable(_part(column), _titled(column.shown), _sorted(tabulated, place))
        for place, column in enumerate(tabulated.columns)
    )
    ranked = tabulated.ranked_by is not None
    name = _sortable("Case", "", "none" if ranked else "ascending", ' rowspan="2"')
    return "<tr>{}{}</tr><tr>{}</tr>".format(name, upper, lower)


def _sorted(tabulated, place):
    if place != tabulated.ranked_by:
        return "none"
    return "ascending" if tabulated.rising else "descending"


def _sortable(text, of, order, more=""):
    hidden = '<span class="unseen"> {}</span>'.format(safe(of)) if of else ""
    return '<th scope="col" aria-sort="{}"{}><button type="button">{}{}</button></th>'.format(
        order, more, safe(text), hidden
    )


def _titled(measure):
    return "{}, {}".format(measure.title, measure.unit) if measure.unit else measure.title


def _part(column):
    if column.part == MEAN and column.measure in dict(RANKING):
        return "mean"
    return "all" if column.part is None else column.part


def table_row(columns, row, anchor):
    """Returns a case's row of the table."""
    form = '<span class="case-name">{1}</span>' if anchor is None else '<a class="case-name" href="#{0}">{1}</a>'
    name = form.format(anchor, safe(row.name))
    cells = "".join(
        '<td data-value="{}">{}</td>'.format("" if value is None else json.dumps(value), safe(column.text(value)))
        for column, value in zip(columns, row.values)
    )
    return '<tr><th scope="row">{}</th>{}</tr>'.format(name, cells)


def _statistic(columns, title, values):
    cells = "".join(
        "<td>{}</td>".format("" if value is None else safe(column.text(value)))
        for column, value in zip(columns, values)
    )
    return '<tr><th scope="row">{}</th>{}</tr>'.format(safe(title), cells)


def card(anchor, row, columns, volume, size, modality, back, pages=False):
    """Returns a case with its planes, which the page's script draws from ``volume`` (see ``utils.html_report.volume``).

    ``size`` and spacing are told as they are in the scan's file; ``back`` is the id of the case's table. ``pages`` of a
    stack are slices without a patient's axes, and their pixels have no size in mm.
    """
    extent = [count * step for count, step in zip(volume["shape"], volume["spacing"])]
    return (
        '<article class="case" id="{0}" data-extent="{1}" aria-labelledby="{0}-name"><header><h3 id="{0}-name">{2}</h3>'
        '<p class="facts">{3}</p><a class="back" href="#{4}">back to the table</a></header>{5}'
        '<div class="planes">{6}</div><script type="application/json">{7}</script></article>'
    ).format(
        anchor,
        " ".join("{:.4g}".format(side) for side in extent),
        safe(row.name),
        safe(_facts(volume, size, modality, pages)),
        back,
        _figures(row, columns),
        "".join(_plane(anchor, name, volume, through) for name, through in (PAGES if pages else PLANES)),
        script_json(volume),
    )


def _facts(volume, size, modality, pages):
    spacing = [step / shrunk for step, shrunk in zip(volume["spacing"], volume["shrunk"])]
    told = "{} voxels of {} mm".format(
        " × ".join(map(str, size)), " × ".join("{:.3g}".format(step) for step in spacing)
    )
    if pages:
        told = "{} pixels".format(" × ".join(map(str, size[:2])))
        told += ", {} pages".format(size[2]) if size[2] > 1 else ""
    facts = ([modality] if modality else []) + [told]
    if max(volume["shrunk"]) > 1:
        factors, unit = (volume["shrunk"][:2], "pixels") if pages else (volume["shrunk"], "voxels")
        facts.append("shown with every {} {} as one".format(" × ".join(map(str, factors)), unit))
    if volume["tilt"] > TILT_TOLD:
        facts.append("planes are the scan's own, up to {}° from those of the body".format(volume["tilt"]))
    return "; ".join(facts)


def _figures(row, columns):
    """The case's own figures: a line for each structure, a column for each measure."""
    parts, measures, values = [], [], {}
    for column, value in zip(columns, row.values):
        if column.part != MEAN:
            parts.extend([column.part] if column.part not in parts else [])
            measures.extend([column] if column.measure not in [known.measure for known in measures] else [])
            values[column.part, column.measure] = column.text(value)
    if not measures:
        return ""
    head = "".join('<th scope="col">{}</th>'.format(safe(_titled(column.shown))) for column in measures)
    lines = "".join(
        '<tr><th scope="row">{}</th>{}</tr>'.format(
            safe("all" if part is None else part),
            "".join("<td>{}</td>".format(safe(values.get((part, column.measure), ""))) for column in measures),
        )
        for part in parts
    )
    return (
        '<div class="wide" role="region" tabindex="0" aria-label="figures of {}"><table class="figures"><thead><tr>'
        '<th scope="col">Structure</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(safe(row.name), head, lines)


def _plane(anchor, name, volume, through):
    place = "{}-{}".format(anchor, name.lower())
    count = volume["shape"][through]
    return (
        '<figure class="plane" data-plane="{1}"><canvas role="img" width="1" height="1"></canvas><div class="slide"{8}>'
        '<label for="{0}">{2}</label><input type="range" id="{0}" min="0" max="{3}" value="{4}" step="1"{5}>'
        '<output for="{0}">{6} / {7}</output></div></figure>'
    ).format(
        place,
        name.lower(),
        name,
        count - 1,
        volume["middle"][through],
        " disabled" if count == 1 else "",
        volume["middle"][through] + 1,
        count,
        " hidden" if count == 1 and (name, through) in PAGES else "",
    )

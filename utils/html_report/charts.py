"""Charts of a run as inline SVG: its curves by epoch, and the Dice of its cases.

Colours and fonts are those of the page's style sheet: a series has the class "series-1", "series-2", ...
"""

import math
from html import escape

from utils.system.printable import printable
from utils.visualization.planes import COLOURS
from utils.visualization.training_log import DICE_PREFIX

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 50
ROW_HEIGHT = 64
DOTS_WITH_MARKERS = 20
# More cases than these are a cloud, in which nobody finds one by its dot.
CASES_WITH_LINKS = 500
# A dot's place across its row, so that equal values stay apart.
JITTER = (0, -9, 9, -4, 5, -13, 13)


def curves(epochs):
    """Returns the figures of the loss and of the held-out soft Dice from ``training_log.read_epochs``."""
    names = sorted({name for values in epochs.values() for name in values if name.startswith(DICE_PREFIX)})
    charts = [_line_chart("Training loss", epochs, ["loss"], 0.0, None)]
    if names:
        charts.append(_line_chart("Held-out soft Dice, on the network's grid", epochs, names, 0.0, 1.0))
    return "".join(charts)


def dice_strips(title, structures, cases):
    """Returns the figure of each case's Dice, a row for each structure.

    ``structures`` is a list of (name, values with None where undefined); ``cases`` has the (name, anchor or None) of
    each value.
    """
    defined = [value for _, values in structures for value in values if value is not None]
    if not defined:
        return ""
    low = min(0.9, math.floor(min(defined) * 10.0 - 1e-9) / 10.0)
    height = TOP + BOTTOM + ROW_HEIGHT * len(structures)
    ticks = _ticks(low, 1.0)
    parts = _grid_across(ticks, low, 1.0, height, "Dice")
    for number, (name, values) in enumerate(structures):
        middle = TOP + ROW_HEIGHT * (number + 0.62)
        parts.append(_text(LEFT - 40, middle - 24, name, "row-name", "start"))
        parts.append(_dots(values, cases, number, middle, low))
    return _figure(title, "".join(parts), height, "", _strips_told(structures))


def _dots(values, cases, number, middle, low):
    parts = [_cloud(values, number, middle, low)] if len(cases) > CASES_WITH_LINKS else []
    for place, (value, (name, anchor)) in enumerate(zip(values, cases if not parts else ())):
        if value is None:
            continue
        x, y = _dot(value, place, middle, low)
        dot = '<circle class="dot series-{}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}: {:.3f}</title></circle>'.format(
            _series(number), x, y, _safe(name), value
        )
        # Not a stop of the keyboard's: the table has the same links.
        parts.append('<a href="#{}" tabindex="-1">{}</a>'.format(anchor, dot) if anchor else dot)
    defined = [value for value in values if value is not None]
    if defined:
        mean = _scaled(sum(defined) / len(defined), low, 1.0, *_across())
        parts.append('<path class="mean" d="M{0:.1f} {1:.1f}V{2:.1f}"/>'.format(mean, middle - 18, middle + 18))
    return "".join(parts)


def _dot(value, place, middle, low):
    return _scaled(value, low, 1.0, *_across()), middle + JITTER[place % len(JITTER)]


def _cloud(values, number, middle, low):
    """The dots as one path, which of those at one place has one: it stays short however many cases there are."""
    dots = [_dot(value, place, middle, low) for place, value in enumerate(values) if value is not None]
    places = sorted({(int(round(x)), round(y, 1)) for x, y in dots})
    path = "".join("M{} {:g}h0".format(*place) for place in places)
    return '<path class="cloud series-{}" d="{}"/>'.format(_series(number), path)


def _strips_told(structures):
    told = []
    for name, values in structures:
        defined = sorted(value for value in values if value is not None)
        if defined:
            mean = sum(defined) / len(defined)
            told.append("{}: {:.3f} to {:.3f}, mean {:.3f}".format(name, defined[0], defined[-1], mean))
    return "; ".join(told)


def _line_chart(title, epochs, names, low, high):
    series = [[(epoch, values[name]) for epoch, values in epochs.items() if name in values] for name in names]
    series = [[(epoch, value) for epoch, value in points if math.isfinite(value)] for points in series]
    points = [point for line in series for point in line]
    if not points:
        return ""
    low = min([low] + [value for _, value in points])
    high = max([value for _, value in points]) if high is None else high
    ticks = _ticks(low, high)
    first, last = min(epoch for epoch, _ in points), max(epoch for epoch, _ in points)
    parts = _grid_across(_whole(_ticks(first, last)), first, last, HEIGHT, "epoch") + _grid_up(ticks, low, ticks[-1])
    for number, line in enumerate(series):
        places = [
            (_scaled(epoch, first, last, *_across()), _scaled(value, low, ticks[-1], HEIGHT - BOTTOM, TOP))
            for epoch, value in line
        ]
        parts.append(_line(places, _kind(names[number], number)))
    kinds = [_kind(name, number) for number, name in enumerate(names)]
    shown = [name[len(DICE_PREFIX) :] if name.startswith(DICE_PREFIX) else name for name in names]
    return _figure(title, "".join(parts), HEIGHT, _legend(shown, series, kinds), _curves_told(shown, series))


def _line(places, kind):
    if not places:
        return ""
    path = "M" + "L".join("{:.1f} {:.1f}".format(*place) for place in places)
    dots = "".join('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"/>'.format(kind, *place) for place in places)
    return '<path class="line {}" d="{}"/>'.format(kind, path) + (dots if len(places) <= DOTS_WITH_MARKERS else "")


def _kind(name, number):
    return "series-loss" if name == "loss" else "series-{}".format(_series(number))


def _legend(shown, series, kinds):
    entries = []
    for name, line, kind in zip(shown, series, kinds):
        if line:
            entry = '<li><span class="key {}"></span>{}: {:.4f} at the end</li>'
            entries.append(entry.format(kind, _safe(name), line[-1][1]))
    return '<ul class="legend">{}</ul>'.format("".join(entries))


def _curves_told(shown, series):
    told = []
    for name, line in zip(shown, series):
        if line:
            (first, start), (last, end) = line[0], line[-1]
            told.append("{}: {:.4f} at epoch {}, {:.4f} at epoch {}".format(name, start, first, end, last))
    return "; ".join(told)


def _figure(title, content, height, below, told):
    return (
        '<figure class="chart"><figcaption>{0}</figcaption><svg viewBox="0 0 {1} {2}" role="img" aria-label="{3}">{4}'
        "</svg>{5}</figure>"
    ).format(_safe(title), WIDTH, height, _safe("{}. {}".format(title, told)), content, below)


def _grid_across(ticks, low, high, height, name):
    parts = []
    for tick in ticks:
        if low <= tick <= high:
            x = _scaled(tick, low, high, *_across())
            parts.append('<path class="grid" d="M{:.1f} {}V{}"/>'.format(x, TOP, height - BOTTOM))
            parts.append(_text(x, height - BOTTOM + 20, _plain(tick), "tick", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2.0, height - 6, name, "tick", "middle"))
    return parts


def _grid_up(ticks, low, high):
    parts = []
    for tick in ticks:
        y = _scaled(tick, low, high, HEIGHT - BOTTOM, TOP)
        if tick >= low:
            parts.append('<path class="grid" d="M{} {:.1f}H{}"/>'.format(LEFT, y, WIDTH - RIGHT))
            parts.append(_text(LEFT - 7, y + 4, _plain(tick), "tick", "end"))
    return parts


def _ticks(low, high):
    """Round numbers from at most ``low`` to at least ``high``, about five of them."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 5.0))
    step *= next(times for times in (1, 2, 5, 10) if span / (step * times) <= 6.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(int(first), int(max(last, first + 1)) + 1)]


def _whole(ticks):
    return [int(tick) for tick in ticks if tick == int(tick)]


def _across():
    return LEFT, WIDTH - RIGHT


def _scaled(value, low, high, start, end):
    return start + (end - start) * ((value - low) / float(high - low) if high > low else 0.5)


def _series(number):
    return number % len(COLOURS) + 1


def _plain(number):
    return "{:g}".format(number)


def _text(x, y, text, kind, anchor):
    return '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'.format(kind, x, y, anchor, _safe(text))


def _safe(text):
    return escape(printable(text), quote=True)

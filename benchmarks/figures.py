"""What the rounds of a run come to: medians with their spread, ratios, and fractions of the machine's limit.

A ratio is taken in each round by itself, and then the median of those: what slows the machine down for a while
slows down both of its sides.
"""

import statistics
from typing import NamedTuple

from benchmarks import network
from benchmarks.registry import BY_NAME, PRECISIONS, groups


class Spread(NamedTuple):
    """The median of some numbers, the least and the greatest."""

    median: float
    least: float
    greatest: float


def spread(values):
    """Returns the `Spread` of a list of numbers that are not None; None where there is none."""
    values = [value for value in values if value is not None]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Figures:
    """What was measured.

    Args:
        rates: dict from a `registry.Cell` to its rate in each round, None where it was not measured: images per
            second, or GFLOP per second of products, which have one for each of `registry.groups` in each round.
        shape: the `network.Network`.
    """

    def __init__(self, rates, shape):
        self.rates = rates
        self._shape = shape
        self._groups = groups(rates)

    def cells(self, kind, names=None):
        """Returns the measured cells of a kind, of all contenders or those named, in the order of measurement."""
        return [
            cell
            for cell, values in self.rates.items()
            if cell.kind == kind and spread(values) and (names is None or cell.contender in names)
        ]

    def rate(self, cell):
        """Returns the `Spread` of a cell's rates, or None."""
        return spread(self.rates.get(cell, ()))

    def best(self, kind, names):
        """Returns the cell with the highest median of a kind and some contenders, or None."""
        return max(self.cells(kind, names), key=lambda cell: self.rate(cell).median, default=None)

    def ratio(self, cell, other):
        """Returns the `Spread` of the rounds' ratios of a cell's rate to another's, or None."""
        pairs = zip(self.rates.get(cell, ()), self.rates.get(other, ()))
        return spread([own / others if own and others else None for own, others in pairs])

    def limits(self, precision):
        """Returns the machine's limit, GFLOP per second, each time it was measured: the quicker product, or None."""
        measured = [self.rates[cell] for cell in self.cells("product") if cell.variant == precision]
        return [max(filter(None, values), default=None) for values in zip(*measured)]

    def limit(self, precision):
        """Returns the `Spread` of the limit, or None."""
        return spread(self.limits(precision))

    def fraction(self, cell):
        """Returns the `Spread` of the part of the limit that a cell's arithmetic reaches, 1.0 being all; or None."""
        precision = BY_NAME[cell.contender].precision
        if precision is None:
            return None
        gflop = network.gflop(self._shape, cell.kind)
        place = next((place for place, group in enumerate(self._groups) if cell in group), 0)
        pairs = zip(self.rates.get(cell, ()), self.limits(precision)[place :: len(self._groups)])
        return spread([rate * gflop / limit if rate and limit else None for rate, limit in pairs])


def summary(figures, shape, failures):
    """Returns the figures as a JSON value.

    Args:
        figures: a `Figures`.
        shape: the `network.Network`.
        failures: dict from a contender's or cell's name to the reason why it was not measured.
    """
    return {
        "network": dict(
            shape._asdict(),
            parameters=network.parameters(shape),
            forward_gflop=network.forward_gflop(shape),
            trained_gflop=network.trained_gflop(shape),
        ),
        "limits_gflop_per_second": {name: _plain(figures.limit(name)) for name in PRECISIONS},
        "cells": [_cell(figures, cell) for cell in figures.rates if figures.rate(cell)],
        "not_measured": failures,
        "shown": [dict(_plain(value) or {}, what=what) for what, value, _ in shown(figures)],
    }


def _cell(figures, cell):
    contender = BY_NAME[cell.contender]
    described = {
        "name": cell.name,
        "contender": contender.name,
        "title": contender.title,
        "kind": cell.kind,
        "precision": contender.precision or cell.variant,
    }
    if cell.kind == "product":
        return dict(described, gflop_per_second=_plain(figures.rate(cell)), rounds=figures.rates[cell])
    return dict(
        described,
        batch_size=int(cell.variant),
        images_per_second=_plain(figures.rate(cell)),
        to_original=_plain(figures.ratio(cell, cell._replace(contender="original"))),
        to_pytorch=_plain(figures.ratio(cell, pytorch_beside(cell))),
        of_limit=_plain(figures.fraction(cell)),
        rounds=figures.rates[cell],
    )


def _plain(value):
    return None if value is None else dict(value._asdict())


def pytorch_beside(cell):
    """Returns PyTorch's cell of the same kind, batch size and precision as a cell."""
    return cell._replace(contender="pytorch-{}".format(BY_NAME[cell.contender].precision))


def shown(figures):
    """Returns what the benchmark is run for: a list of (what, `Spread` or None, whether it is a part of the limit).

    The best batch size of each side is that with the highest median.
    """
    float32, mixed = ("ours-float32", "ours-workers-float32"), ("ours-mixed", "ours-workers-mixed")
    pytorch = ("pytorch-float32", "pytorch-bfloat16")
    smallest = min((int(cell.variant) for cell in figures.cells("train")), default="smallest")
    largest = max((int(cell.variant) for cell in figures.cells("predict")), default="largest")
    rows = []
    for name in ("ours-mixed", "ours-workers-mixed", "ours-float32", "ours-workers-float32"):
        cell = _named(figures, name, "train", smallest)
        original = _named(figures, "original", "train", smallest)
        rows.append(_ratio(figures, "training, batch size {}: ".format(smallest), cell, original, name, "original"))
    best = [figures.best("train", names) for names in (mixed + float32, pytorch)]
    rows.append(_ratio(figures, "training, best: ", best[0], best[1], "ours", "PyTorch"))
    for ours, whose in ((mixed, "ours-mixed"), (float32, "ours-float32")):
        predicting = figures.best("predict", ours)
        for names, who in ((("original",), "original"), (pytorch, "PyTorch")):
            other = figures.best("predict", names)
            rows.append(_ratio(figures, "inference, best: ", predicting, other, whose, who))
    rows.append(_part(figures, "training, float32, best", figures.best("train", float32)))
    for name in ("ours-mixed", "ours-float32"):
        cell = _named(figures, name, "predict", largest)
        rows.append(_part(figures, "inference, {}, batch size {}".format(name, largest), cell))
    return rows


def _named(figures, name, kind, variant):
    return next((cell for cell in figures.cells(kind, (name,)) if cell.variant == str(variant)), None)


def _ratio(figures, prefix, cell, other, who, whom):
    value = figures.ratio(cell, other) if cell and other else None
    return "{}{} over {}".format(prefix, cell.name if cell else who, other.name if other else whom), value, False


def _part(figures, what, cell):
    value = figures.fraction(cell) if cell else None
    return "{}: part of the limit{}".format(what, " ({})".format(cell.name) if cell else ""), value, True

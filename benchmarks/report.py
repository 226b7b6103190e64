"""The figures of a run as Markdown and as a plot."""

from benchmarks.figures import pytorch_beside, shown
from benchmarks.network import forward_gflop, gflop, parameters, trained_gflop
from benchmarks.registry import BY_NAME, PRECISIONS
from utils.system import hardware
from utils.system.files import replace_on_success
from utils.visualization.plotting import Figure, FigureCanvasAgg

TITLES = {"train": "Training", "predict": "Inference"}
# Distinct for colour-blind eyes.
COLOURS = {"float32": "#0072B2", "bfloat16": "#E69F00"}
OTHERS_COLOUR = {"float32": "#9CC7DE", "bfloat16": "#F3D08A"}
DOTS_PER_INCH = 120
NOTHING = ""
REVISION_LENGTH = 10
NOT_MEASURED = "not measured"


def markdown(figures, shape, run, failures):
    """Returns the tables as Markdown; `run` says how it was measured, see `bench.circumstances`."""
    parts = [_circumstances(shape, run)]
    for kind, title in TITLES.items():
        if figures.cells(kind):
            parts.append("### {}, images per second\n\n{}".format(title, _table(figures, kind)))
    if figures.cells("product"):
        parts.append("### Matrix products, GFLOP per second\n\n" + _products(figures))
    parts.append("### Ratios\n\n" + _shown(figures))
    if failures:
        lines = ["* {}: {}".format(name, reason) for name, reason in failures.items()]
        parts.append("### Not measured\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _circumstances(shape, run):
    return (
        "Measured on {machine}, {versions}, {date}, revision {revision}, in {rounds} interleaved rounds of "
        "{seconds:g} s each ({minutes:.0f} minutes in all): median, and least to greatest. Images of {size} voxels; "
        "{parameters:.2f} million parameters; {forward:.2f} GFLOP an image forward, {trained:.2f} trained. Ratios are "
        "taken round by round. The batch size is that of each worker.".format(
            machine=hardware.in_words(run["hardware"]),
            versions=", ".join(run["versions"]),
            date=run["date"],
            revision=(run["revision"] or "unknown")[:REVISION_LENGTH],
            minutes=run["minutes"],
            rounds=run["rounds"],
            seconds=run["seconds"],
            size="x".join(map(str, shape.input_shape)),
            parameters=parameters(shape) / 1e6,
            forward=forward_gflop(shape),
            trained=trained_gflop(shape),
        )
    )


def _lines(head, rows):
    right = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| {} |".format(" | ".join(row)) for row in [head, right] + rows)


def _table(figures, kind):
    head = ["", "Batch size", "Median", "Range", "To the original's", "To PyTorch's of its precision", "Of the limit"]
    rows = []
    for cell in figures.cells(kind):
        ratios = [figures.ratio(cell, other) for other in (cell._replace(contender="original"), pytorch_beside(cell))]
        fraction = figures.fraction(cell)
        rows.append(
            [BY_NAME[cell.contender].title, cell.variant]
            + _measured(figures.rate(cell))
            + ["{:.2f}".format(ratio.median) if ratio else NOTHING for ratio in ratios]
            + ["{:.0%}".format(fraction.median) if fraction else NOTHING]
        )
    return _lines(head, rows)


def _measured(value):
    return ["{:.1f}".format(value.median), "{:.1f} to {:.1f}".format(value.least, value.greatest)]


def _products(figures):
    rows = [
        [BY_NAME[cell.contender].title, cell.variant] + _measured(figures.rate(cell))
        for cell in figures.cells("product")
    ]
    limits = [(precision, figures.limit(precision)) for precision in PRECISIONS]
    rows += [["the limit: the higher, time by time", name] + _measured(value) for name, value in limits if value]
    return _lines(["", "Precision", "Median", "Range"], rows)


def _shown(figures):
    rows = []
    for what, value, is_part in shown(figures):
        form = "{:.0%}" if is_part else "{:.2f}"
        texts = [form.format(number) for number in value] if value else []
        rows.append([what, texts[0], "{} to {}".format(*texts[1:])] if texts else [what, NOT_MEASURED, NOTHING])
    return _lines(["", "Median", "Range"], rows)


def draw(figures, shape, run, path):
    """Draws training and inference as bars into the PNG file `path`; raises UserError where it can't be written."""
    kinds = [kind for kind in TITLES if figures.cells(kind)] or list(TITLES)
    bars = max(len(figures.cells(kind)) for kind in kinds)
    figure = Figure(figsize=(6.5 * len(kinds), 1.8 + 0.3 * bars), dpi=DOTS_PER_INCH)
    for number, kind in enumerate(kinds, 1):
        _bars(figure.add_subplot(1, len(kinds), number), figures, shape, kind)
    machine = "{}; {}".format(hardware.in_words(run["hardware"]), ", ".join(run["versions"]))
    figure.text(0.5, 0.93, machine, ha="center", fontsize=7, color="#555555")
    figure.subplots_adjust(wspace=0.65)
    FigureCanvasAgg(figure)
    with replace_on_success(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _bars(axes, figures, shape, kind):
    cells = figures.cells(kind)
    for place, cell in enumerate(cells):
        value, precision = figures.rate(cell), BY_NAME[cell.contender].precision
        colours = COLOURS if cell.contender.startswith("ours") else OTHERS_COLOUR
        ends = [[value.median - value.least], [value.greatest - value.median]]
        axes.barh(place, value.median, xerr=ends, color=colours[precision], capsize=2, height=0.75)
    for precision in PRECISIONS:
        limit = figures.limit(precision)
        if limit and cells:
            label = "{} matrix products".format(precision)
            rate = limit.median / gflop(shape, kind)
            axes.axvline(rate, color=COLOURS[precision], linestyle="--", linewidth=1, label=label)
    axes.set_yticks(range(len(cells)))
    axes.set_yticklabels(
        ["{}, batch {}".format(BY_NAME[cell.contender].title, cell.variant) for cell in cells], fontsize=7
    )
    axes.invert_yaxis()
    axes.set_xlabel("images per second")
    axes.set_title(TITLES[kind], loc="left", fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, frameon=False)

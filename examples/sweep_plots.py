"""The figures of a sweep as plots."""

from examples.sweep_report import PRECISIONS, Figures
from utils.system import hardware
from utils.system.files import replace_on_success
from utils.visualization.plotting import Figure, FigureCanvasAgg

SIZE_INCHES = (8.0, 4.5)
DOTS_PER_INCH = 120
# Distinct for colour-blind eyes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GROUP_WIDTH = 0.8
TITLES = {"train": "Training", "predict": "Inference"}


def draw(summary, prefix):
    """Draws what was measured; returns the paths of the PNG files, which begin with `prefix`.

    `<prefix>_train.png` and `<prefix>_predict.png` show the throughput, `<prefix>_scaling.png` that of several workers
    over that of one in training, `<prefix>_latency.png` the step times of inference.

    Raises UserError where a file cannot be written.
    """
    figures = Figures(summary)
    machine = hardware.in_words(summary["hardware"]) if "hardware" in summary else ""
    paths = []
    for kind, plot in (
        ("train", lambda axes: _throughput(axes, figures, "train")),
        ("predict", lambda axes: _throughput(axes, figures, "predict")),
        ("scaling", lambda axes: _scaling(axes, figures)),
        ("latency", lambda axes: _latency(axes, figures)),
    ):
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH)
        axes = figure.add_subplot(1, 1, 1)
        plot(axes)
        if axes.has_data():
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, frameon=False)
            axes.text(1, 1.01, machine, transform=axes.transAxes, ha="right", fontsize=7, color="#555555")
            path = "{}_{}.png".format(prefix, kind)
            _save(figure, path)
            paths.append(path)
    return paths


def _save(figure, path):
    FigureCanvasAgg(figure)
    with replace_on_success(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _series(figures, mode):
    """(label, workers, amp) of each bar of a group."""
    for workers in figures.values(1, mode):
        for amp in figures.values(3, mode):
            label = "{} worker{}, {}".format(workers, "" if workers == 1 else "s", PRECISIONS[amp])
            yield label, workers, amp


def _bars(axes, batch_sizes, series):
    """Draws one group of bars per batch size.

    `series` is a list of (label, values, ends): a value by batch size, None for none, and likewise where the thin line
    above the bar ends (or None for no lines).
    """
    width = GROUP_WIDTH / max(1, len(series))
    for number, (label, values, ends) in enumerate(series):
        shown = [place for place, value in enumerate(values) if value is not None]
        if not shown:
            continue
        places = [place + (number - (len(series) - 1) / 2.0) * width for place in shown]
        heights = [values[place] for place in shown]
        errors = None if ends is None else [[0] * len(shown), [ends[place] - values[place] for place in shown]]
        axes.bar(places, heights, width, yerr=errors, label=label, color=COLOURS[number % len(COLOURS)], capsize=2)
    axes.set_xticks(range(len(batch_sizes)))
    axes.set_xticklabels([str(size) for size in batch_sizes])
    axes.set_xlabel("batch size per worker")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _throughput(axes, figures, mode):
    batch_sizes = figures.values(2, mode)
    series = [
        (label, [figures.throughput(mode, workers, size, amp) for size in batch_sizes], None)
        for label, workers, amp in _series(figures, mode)
    ]
    _bars(axes, batch_sizes, series)
    axes.set_ylabel("images per second, all workers")
    axes.set_title(TITLES[mode] + " throughput", loc="left", fontsize=11)


def _scaling(axes, figures):
    batch_sizes = figures.values(2, "train")
    series = [
        (label, [figures.ratio(("train", workers, size, amp), ("train", 1, size, amp)) for size in batch_sizes], None)
        for label, workers, amp in _series(figures, "train")
        if workers > 1
    ]
    _bars(axes, batch_sizes, series)
    for workers in figures.values(1, "train"):
        if series and workers > 1:
            axes.axhline(workers, color="#555555", linestyle="--", linewidth=1)
    axes.set_ylabel("throughput over that of one worker")
    axes.set_title("Weak scaling of training (dashed: ideal)", loc="left", fontsize=11)


def _latency(axes, figures):
    batch_sizes = figures.values(2, "predict")
    series = []
    for label, workers, amp in _series(figures, "predict"):
        cells = [figures.cell("predict", workers, size, amp) or {} for size in batch_sizes]
        means, ends = [[cell.get("latency_ms", {}).get(name) for cell in cells] for name in ("mean", "p99")]
        # Where one step in a hundred takes longer than all others together, the mean is above the percentile.
        series.append((label, means, [end if end is None else max(mean, end) for mean, end in zip(means, ends)]))
    _bars(axes, batch_sizes, series)
    axes.set_ylabel("ms per step")
    axes.set_title("Inference latency: mean, and up to the 99th percentile", loc="left", fontsize=11)

"""The figures of a sweep as JSON and as Markdown tables."""

from utils.system import hardware

PRECISIONS = {False: "FP32", True: "mixed precision"}
NOT_APPLICABLE = "N/A"
NOT_MEASURED = ""
# What differs from cell to cell stands in the cells.
OF_THE_CELL = ("batch_size", "workers", "amp", "threads")
LATENCIES = ("mean", "p90", "p95", "p99")


def summary(rows):
    """Returns the JSON value of a sweep.

    Args:
        rows: list of dicts with the fields of `examples.benchmarking.Cell` and either those of a benchmark's output
            file or "error" (str).

    It has "cells": a dict each with "mode", "workers", "batch_size", "amp" and either "images_per_second",
    "latency_ms" and "threads" (of each worker) or "error"; and, once a cell was measured, "hardware", "runtime" and
    "settings" (those all share).
    """
    cells = [_cell(row) for row in rows]
    measured = [row for row in rows if "error" not in row]
    if not measured:
        return {"cells": cells}
    first = measured[0]
    settings = {name: value for name, value in first["settings"].items() if name not in OF_THE_CELL}
    # Only several workers name Horovod's version.
    runtime = {name: value for row in measured for name, value in row["runtime"].items()}
    return {"hardware": first["hardware"], "runtime": runtime, "settings": settings, "cells": cells}


def _cell(row):
    cell = {name: value for name, value in row.items() if name not in ("settings", "hardware", "runtime")}
    if "settings" in row:
        cell["threads"] = row["settings"]["threads"]
    return cell


def cell_name(cell):
    """Returns what was measured, in words."""
    return "{mode}, batch size {batch_size}, workers {workers}, {precision}".format(
        precision=PRECISIONS[cell["amp"]], **cell
    )


def cell_figures(cell):
    """Returns a cell's main figures, or what went wrong."""
    if "error" in cell:
        return "failed: " + cell["error"]
    latency = "{:.2f} ms a step, 99% of them within {:.2f} ms".format(*(cell["latency_ms"][k] for k in ("mean", "p99")))
    return "{:.2f} images/s, {}".format(cell["images_per_second"], latency)


class Figures:
    """The cells of a summary by what they are."""

    def __init__(self, summary):
        self._cells = {key_of(cell): cell for cell in summary["cells"]}

    def values(self, position, mode=None):
        """Returns what there is at a position of the keys (mode, workers, batch size, amp), in one mode or all."""
        return sorted({key[position] for key in self._cells if mode in (None, key[0])})

    def cell(self, *key):
        """Returns a cell, or None."""
        return self._cells.get(key)

    def throughput(self, *key):
        """Returns the images per second of a cell, or None where there are none."""
        return (self._cells.get(key) or {}).get("images_per_second")

    def ratio(self, key, other):
        """Returns the throughput of a cell over that of another, or None where one of the two is missing."""
        own, others = self.throughput(*key), self.throughput(*other)
        return own / others if own and others else None


def key_of(cell):
    """Returns (mode, workers, batch size, amp) of a cell."""
    return cell["mode"], cell["workers"], cell["batch_size"], cell["amp"]


def markdown(summary):
    """Returns the tables of a summary as Markdown."""
    figures = Figures(summary)
    parts = [_circumstances(summary)] if "hardware" in summary else []
    if figures.values(0).count("train"):
        parts.append("### Training performance\n\n" + _training_table(figures, _worker_word(summary)))
    if figures.values(0).count("predict"):
        shape = _shape_word(summary)
        for amp in figures.values(3, "predict"):
            title = "### Inference performance: {}\n\n".format(PRECISIONS[amp])
            parts.append(title + _inference_table(figures, amp, _worker_word(summary), shape))
    return "\n\n".join(parts) + "\n"


def _worker_word(summary):
    return "GPUs" if summary.get("hardware", {}).get("gpus") else "Workers"


def _shape_word(summary):
    return "x".join(str(size) for size in summary["settings"]["input_shape"]) if "settings" in summary else NOT_MEASURED


def _circumstances(summary):
    settings, runtime = summary["settings"], summary["runtime"]
    return (
        "Measured on {machine}, runtime {tensorflow}, Python {python}: {input}, images of {shape} voxels, "
        "{warmup_steps} warm-up steps and {benchmark_steps} measured ones{xla}. Throughput in images per second over "
        "all workers, latency in ms per step.".format(
            machine=hardware.in_words(summary["hardware"]),
            input="one batch of noise" if settings["synthetic"] else "the task {}".format(settings["task"]),
            shape=_shape_word(summary),
            xla=", with XLA" if settings["xla"] else "",
            warmup_steps=settings["warmup_steps"],
            benchmark_steps=settings["benchmark_steps"],
            **runtime,
        )
    )


def _training_table(figures, workers_word):
    header = [
        workers_word,
        "Batch size / worker",
        "Throughput - FP32",
        "Throughput - mixed precision",
        "Throughput speedup (FP32 - mixed precision)",
        "Weak scaling - FP32",
        "Weak scaling - mixed precision",
    ]
    rows = []
    for workers in figures.values(1, "train"):
        for batch_size in figures.values(2, "train"):
            single, mixed = [("train", workers, batch_size, amp) for amp in (False, True)]
            alone = [("train", 1, batch_size, amp) for amp in (False, True)]
            scaling = [
                NOT_APPLICABLE if workers == 1 else _ratio(figures.ratio(key, one))
                for key, one in zip((single, mixed), alone)
            ]
            throughputs = [_throughput(figures.cell(*key)) for key in (single, mixed)]
            rows.append([workers, batch_size] + throughputs + [_ratio(figures.ratio(mixed, single))] + scaling)
    return table(header, rows)


def _inference_table(figures, amp, workers_word, shape):
    header = [workers_word, "Batch size / worker", "Image size", "Throughput Avg", "Latency Avg"]
    header += ["Latency {}%".format(percentile[1:]) for percentile in LATENCIES[1:]]
    rows = []
    for workers in figures.values(1, "predict"):
        for batch_size in figures.values(2, "predict"):
            cell = figures.cell("predict", workers, batch_size, amp)
            latencies = (cell or {}).get("latency_ms", {})
            shown = ["{:.2f}".format(latencies[name]) if name in latencies else NOT_MEASURED for name in LATENCIES]
            rows.append([workers, batch_size, shape, _throughput(cell)] + shown)
    return table(header, rows)


def _throughput(cell):
    if cell is None:
        return NOT_MEASURED
    return cell["error"] if "error" in cell else "{:.2f}".format(cell["images_per_second"])


def _ratio(value):
    return NOT_MEASURED if value is None else "{:.2f}".format(value)


def table(header, rows):
    """Returns a Markdown table; all columns to the right, as numbers are."""
    lines = [header, ["---:"] * len(header)] + rows
    return "\n".join("| " + " | ".join(str(word).replace("|", "\\|") for word in line) + " |" for line in lines)

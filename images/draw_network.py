#!/usr/bin/env python3
"""Draws the network, images/vnet.png, from the numbers that model/vnet.py documents."""

import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# name, column, row (0 is full resolution), channels, side of the grid in voxels
BLOCKS = [
    ("input", 0, 0, 16, 32),
    ("down 1", 1, 1, 32, 16),
    ("down 2", 2, 2, 64, 8),
    ("down 3", 3, 3, 128, 4),
    ("up 1", 4, 2, 128, 8),
    ("up 2", 5, 1, 64, 16),
    ("up 3", 6, 0, 16, 32),
    ("logits", 7, 0, 3, 32),
]
INSIDE = {
    "input": "conv 3x3x3",
    "down 1": "conv 2x2x2 /2\n+ 3 residual conv",
    "down 2": "conv 2x2x2 /2\n+ 3 residual conv",
    "down 3": "conv 2x2x2 /2\n+ 3 residual conv",
    "up 1": "transposed conv x2\njoin skip\n+ 3 residual conv",
    "up 2": "transposed conv x2\njoin skip\n+ 3 residual conv",
    "up 3": "transposed conv x2",
    "logits": "conv 3x3x3\nsoftmax",
}
SKIPS = [("down 1", "up 2"), ("down 2", "up 1")]
WIDTH, HEIGHT, COLUMN, ROW = 1.55, 1.0, 1.9, 1.35


def _place(block):
    _, column, row, _, _ = block
    return column * COLUMN, -row * ROW


def _draw_block(axes, block):
    name, _, _, channels, side = block
    x, y = _place(block)
    colour = "#d7e6f5" if name.startswith("down") or name == "input" else "#f8e3c4"
    axes.add_patch(FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.05", facecolor=colour, edgecolor="#444"))
    axes.text(x + WIDTH / 2, y + HEIGHT - 0.1, name, ha="center", va="center", fontsize=11, weight="bold")
    axes.text(x + WIDTH / 2, y + HEIGHT / 2 + 0.02, INSIDE[name], ha="center", va="center", fontsize=8)
    grid = "{0}x{0}x{0}, {1} channels".format(side, channels)
    axes.text(x + WIDTH / 2, y + 0.04, grid, ha="center", va="center", fontsize=8, color="#555")


def _arrow(axes, start, end, **style):
    axes.annotate("", xy=end, xytext=start, arrowprops=dict(arrowstyle="-|>", color="#444", **style))


def draw(path):
    """Write the diagram as a PNG."""
    figure = Figure(figsize=(15, 5.2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes([0.01, 0.01, 0.98, 0.98])
    by_name = {block[0]: block for block in BLOCKS}
    for block in BLOCKS:
        _draw_block(axes, block)
    for before, after in zip(BLOCKS, BLOCKS[1:]):
        (x, y), (next_x, next_y) = _place(before), _place(after)
        _arrow(axes, (x + WIDTH + 0.06, y + HEIGHT / 2), (next_x - 0.06, next_y + HEIGHT / 2), lw=1.5)
    for before, after in SKIPS:
        (x, y), (next_x, next_y) = _place(by_name[before]), _place(by_name[after])
        _arrow(axes, (x + WIDTH + 0.06, y + 0.75), (next_x - 0.06, next_y + 0.75), lw=1.2, linestyle="--")
        axes.text((x + WIDTH + next_x) / 2, y + 0.8, "skip connection", ha="center", va="bottom", fontsize=8)
    axes.set_xlim(-0.2, 7 * COLUMN + WIDTH + 0.2)
    axes.set_ylim(-3 * ROW - 0.2, HEIGHT + 0.2)
    axes.axis("off")
    unfinished = path + ".unfinished"
    figure.savefig(unfinished, format="png")
    os.replace(unfinished, path)


if __name__ == "__main__":
    draw(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vnet.png"))

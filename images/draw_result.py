#!/usr/bin/env python3
"""Draws a held-out case, images/result.png: the scan, the mask and the truth, side by side.

The task must be there, and a model that was evaluated on it, as after

    python main.py --exec_mode train_and_evaluate --recipe tuned --train_epochs 6 --threads 1 \\
        --data_dir ./data/Task04_Hippocampus --model_dir ./results/picture
    python images/draw_result.py ./data/Task04_Hippocampus ./results/picture

The case is the one in the middle by its mean hard Dice, or the one that is named.
"""

import argparse
import json
import os
import sys

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.imaging.nifti import read_channels, read_label, to_array
from utils.imaging.tasks import read_task
from utils.inference.masks import mask_path
from utils.visualization.planes import colour_of, cut, grey_window, middle_of

# The slice across x shows where the anterior part ends and the posterior one begins.
THROUGH = 0
BACKGROUND, FOREGROUND = "#16181B", "#F2F2F2"


def middle_case(evaluation):
    """The name of the case in the middle by mean hard Dice, from the content of evaluation.json."""
    ranked = sorted(evaluation["cases"], key=lambda case: np.mean(list(case["hard_dice"].values())))
    return ranked[len(ranked) // 2]["case"]


def draw(path, image, mask, truth, spacing, structures, dice):
    """Write the picture as a PNG.

    Args:
        path: the PNG to write.
        image: [X, Y, Z] float.
        mask, truth: [X, Y, Z] int, 0 for the background.
        spacing: mm from voxel to voxel along X, Y and Z.
        structures: names of the structures 1, 2, ...
        dice: the hard Dice of each structure, by its name.
    """
    place = middle_of(truth.shape, truth > 0)
    across, up = [axis for axis in range(3) if axis != THROUGH]
    low, high = grey_window(image)
    figure = Figure(figsize=(10.5, 4.0), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for axes, title, label in zip(panels, ("scan", "mask", "truth"), (None, mask, truth)):
        grey, aspect = cut(image, THROUGH, place), spacing[up] / spacing[across]
        axes.imshow(grey.T, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect, interpolation="bilinear")
        if label is not None:
            colours = np.zeros(grey.T.shape + (4,))
            for number in range(1, len(structures) + 1):
                colours[cut(label, THROUGH, place).T == number] = to_rgba(colour_of(number), 0.55)
            axes.imshow(colours, origin="lower", aspect=aspect, interpolation="nearest")
        axes.set_title(title, fontsize=14, color=FOREGROUND)
        axes.set_axis_off()
    handles = [
        Patch(color=colour_of(number), label="{}: hard Dice {:.3f}".format(name, dice[name]))
        for number, name in enumerate(structures, 1)
    ]
    legend = figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False, fontsize=11)
    for text in legend.get_texts():
        text.set_color(FOREGROUND)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.1, top=0.93, wspace=0.03)
    unfinished = path + ".unfinished"
    figure.savefig(unfinished, format="png", facecolor=BACKGROUND)
    os.replace(unfinished, path)


def main():
    parser = argparse.ArgumentParser(description="Draw a held-out case: images/result.png.")
    parser.add_argument("data_dir", help="the task's folder")
    parser.add_argument("model_dir", help="the folder of a model that was evaluated on it")
    parser.add_argument("--case", help="its name (default: the case in the middle by mean hard Dice)")
    arguments = parser.parse_args()
    with open(os.path.join(arguments.model_dir, "evaluation.json"), encoding="utf-8") as file:
        evaluation = json.load(file)
    task = read_task(arguments.data_dir)
    name = arguments.case or middle_case(evaluation)
    case = next(case for case in task.training if case.name == name)
    scores = next(row for row in evaluation["cases"] if row["case"] == name)
    image = read_channels(case.image)[0]
    paths = mask_path(arguments.model_dir, case), case.label
    labels = [to_array(read_label(path, image, len(task.labels))) for path in paths]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "result.png")
    draw(path, to_array(image), labels[0], labels[1], image.GetSpacing(), task.labels[1:], scores["hard_dice"])
    print("{}: {}".format(path, name))


if __name__ == "__main__":
    main()

"""Pictures of a run: a case with its contours, and the curves of the training."""

import functools

import numpy as np

from utils.system.errors import UserError
from utils.system.files import replace_on_success
from utils.visualization.planes import PLANES, colour_of, cut, grey_window, middle_of
from utils.visualization.plotting import Figure, FigureCanvasAgg, Line2D, MaxNLocator
from utils.visualization.training_log import DICE_PREFIX, mean_epochs

SIZE_INCHES = (12.0, 4.5)
DOTS_PER_INCH = 100
AXES = "xyz"
BACKGROUND, FOREGROUND = "#16181B", "#F2F2F2"


def case_picture(path, image, spacing, mask, truth=None, structures=(), title="", pages=False):
    """Writes a PNG of three orthogonal slices through the structures, with their contours.

    The slices meet in the centre of all that mask or truth mark (in the nearest slices that hold any of it;
    the image's middle where nothing is marked), and are drawn to one scale in mm along the image's own axes.

    Args:
        path: the PNG to write, 1200 x 450 pixels.
        image: [X, Y, Z] float.
        spacing: (x, y, z) size of a voxel in mm.
        mask: [X, Y, Z] int, the predicted structures: 0 is background. Solid contours.
        truth: [X, Y, Z] int, or None if not known. Dashed white contours.
        structures: names of the structures 1, 2, ...; background left out.
        title: text above, such as the case's name.
        pages: whether the slices along z are images of their own, of which one is drawn, y downwards.

    Raises:
        ValueError: mask or truth has another shape than the image.
        UserError: the file cannot be written.
    """
    image, labels = np.asarray(image), [np.asarray(label) for label in (mask, truth) if label is not None]
    for label in labels:
        if label.shape != image.shape:
            raise ValueError("a mask of shape {} does not fit an image of {}".format(label.shape, image.shape))
    middle = middle_of(image.shape, functools.reduce(np.logical_or, (label > 0 for label in labels)))
    window = grey_window(image)
    figure = _figure(BACKGROUND)
    planes = PLANES[:1] if pages else PLANES
    for box, (across, up, through) in zip(_panel_boxes(image.shape, spacing, planes), planes):
        axes = figure.add_axes(box)
        _draw_slice(axes, cut(image, through, middle), window, spacing[up] / spacing[across])
        _draw_contours(axes, [cut(label, through, middle) for label in labels], len(structures))
        place = "{}-{} plane, {} = {}".format(AXES[across], AXES[up], AXES[through], middle[through])
        if pages:
            axes.invert_yaxis()
            place = "page {} of {}".format(middle[2] + 1, image.shape[2])
        axes.set_title(place, fontsize=9, color=FOREGROUND)
    figure.suptitle(_literal(title), fontsize=12, y=0.98, color=FOREGROUND)
    handles = _legend_handles(structures, truth is not None)
    columns = max(1, min(len(handles), 8))
    legend = figure.legend(handles=handles, loc="lower center", ncol=columns, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(FOREGROUND)
    _save(figure, path)


def _panel_boxes(shape, spacing, planes=PLANES, left=0.02, right=0.98, bottom=0.13, top=0.86, gap=0.03):
    """Returns [left, bottom, width, height] of the panel of each plane in figure units, all to one scale in mm."""
    extent = [size * step for size, step in zip(shape, spacing)]
    widths = [extent[across] for across, _, _ in planes]
    heights = [extent[up] for _, up, _ in planes]
    gaps = gap * (len(planes) - 1)
    width_inches = (right - left - gaps) * SIZE_INCHES[0]
    height_inches = (top - bottom) * SIZE_INCHES[1]
    scale = min(width_inches / sum(widths), height_inches / max(heights))
    widths = [width * scale / SIZE_INCHES[0] for width in widths]
    heights = [height * scale / SIZE_INCHES[1] for height in heights]
    edge = (left + right - sum(widths) - gaps) / 2
    boxes = []
    for width, height in zip(widths, heights):
        boxes.append([edge, (bottom + top - height) / 2, width, height])
        edge += width + gap
    return boxes


def _draw_slice(axes, grey, window, aspect):
    grey = np.where(np.isfinite(grey), grey, window[0])
    axes.imshow(
        grey.T, cmap="gray", vmin=window[0], vmax=window[1], origin="lower", aspect=aspect, interpolation="bilinear"
    )
    axes.set_axis_off()


def _draw_contours(axes, labels, structures):
    for number in range(1, structures + 1):
        _draw_outline(axes, labels[0] == number, colors=[colour_of(number)], linewidths=1.8)
    for truth in labels[1:]:
        for number in range(1, structures + 1):
            _draw_outline(axes, truth == number, colors="white", linewidths=1.1, linestyles="dashed")


def _draw_outline(axes, inside, **style):
    if not inside.any():
        return
    # A rim of background closes the contours of what touches the image's border.
    padded = np.pad(inside.astype(np.float32), 1, mode="constant")
    across, up = (np.arange(-1, size + 1) for size in inside.shape)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.contour(across, up, padded.T, levels=[0.5], **style)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _legend_handles(structures, with_truth):
    handles = [
        Line2D([], [], color=colour_of(number), linewidth=2.5, label=_literal(name))
        for number, name in enumerate(structures, 1)
    ]
    if with_truth:
        handles.append(Line2D([], [], color="white", linewidth=1.5, linestyle="dashed", label="truth"))
    return handles


def training_curves(path, log_paths):
    """Writes a PNG of the loss and the held-out soft Dice by epoch, from the log of the training.

    Args:
        path: the PNG to write, 1200 x 450 pixels.
        log_paths: files that `utils.visualization.training_log` reads, one, or those of all folds, whose means are
            drawn.

    Raises:
        UserError: there is no epoch in any of them, one cannot be read, or the picture cannot be written.
    """
    epochs = mean_epochs(log_paths)[1]
    if not epochs:
        raise UserError("{}: holds no epoch's loss or Dice to draw; train first".format(log_paths[0]))
    names = sorted({name for data in epochs.values() for name in data if name.startswith(DICE_PREFIX)})
    figure = _figure("white")
    panels = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
    _draw_curves(panels[0], epochs, {"loss": "#404040"}, "training loss")
    if names:
        colours = {name: colour_of(number) for number, name in enumerate(names, 1)}
        _draw_curves(panels[1], epochs, colours, "held-out soft Dice")
        panels[1].set_ylim(0.0, 1.0)
        panels[1].legend(loc="lower right", frameon=False)
    figure.subplots_adjust(left=0.07, right=0.97, bottom=0.13, top=0.9, wspace=0.18)
    _save(figure, path)


def _draw_curves(axes, epochs, colours, title):
    for name, colour in colours.items():
        points = [(epoch, data[name]) for epoch, data in epochs.items() if name in data]
        marker = "o" if len(points) <= 20 else None
        label = name[len(DICE_PREFIX) :] if name.startswith(DICE_PREFIX) else name
        if points:
            label = "{}: {:.4f} at the end".format(label, points[-1][1])
            axes.plot(*zip(*points), color=colour, marker=marker, markersize=4, linewidth=1.8, label=_literal(label))
    axes.set_title(title, fontsize=12)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _figure(background):
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def _literal(text):
    """Returns the text with what matplotlib would take for formulas made plain."""
    return str(text).replace("$", r"\$")


def _save(figure, path):
    with replace_on_success(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor())

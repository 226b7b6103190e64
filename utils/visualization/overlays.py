"""A case's mask over its image as a small PNG for TensorBoard: light enough to be made at every evaluation."""

import io

import numpy as np

from utils.visualization.planes import PLANES, colour_of, cut, grey_window, middle_of
from utils.visualization.plotting import imsave, to_rgb

# Pixels of the longest side of a slice, at least.
LEAST_SIDE = 128
OPACITY = 0.45


def overlay_png(image, mask, truth, page=False):
    """Three orthogonal slices side by side, the mask's structures tinted, the truth's outlined in white.

    Of what is one voxel thick along z, that slice alone.

    Args:
        image: [X, Y, Z] float.
        mask: [X, Y, Z] int, the predicted structures: 0 is background.
        truth: [X, Y, Z] int.
        page: whether the slices along z are images of their own, of which one is drawn, y downwards.

    Returns:
        (the PNG's bytes, its height, its width), the sizes in pixels; its colours are RGBA.
    """
    pixels = overlay(image, mask, truth, page)
    file = io.BytesIO()
    imsave(file, pixels, format="png", origin="upper")
    return (file.getvalue(),) + pixels.shape[:2]


def overlay(image, mask, truth, page=False):
    """The picture of ``overlay_png`` as an array: float [rows, columns, 3] in 0 to 1."""
    image = np.asarray(image)
    middle = middle_of(image.shape, (mask > 0) | (truth > 0))
    window = grey_window(image)
    times = -(-LEAST_SIDE // max(image.shape))
    panels = []
    for _, _, through in PLANES if image.shape[2] > 1 and not page else PLANES[:1]:
        slices = (cut(volume, through, middle) for volume in (image, mask, truth))
        grey, predicted, known = (_magnified(one[:, ::-1] if page else one, times) for one in slices)
        panels.append(_panel(grey, predicted, known, window))
    rows = max(panel.shape[0] for panel in panels)
    return np.concatenate([_padded(panel, rows, times) for panel in panels], axis=1)


def _magnified(values, times):
    """[across, up] voxels to [rows, columns] pixels, the up axis upwards."""
    return np.kron(values.T[::-1], np.ones((times, times), values.dtype))


def _panel(grey, predicted, known, window):
    low, high = window
    grey = np.clip((np.where(np.isfinite(grey), grey, low) - low) / (high - low), 0.0, 1.0)
    pixels = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    for number in range(1, predicted.max() + 1):
        inside = predicted == number
        pixels[inside] = (1.0 - OPACITY) * pixels[inside] + OPACITY * np.array(to_rgb(colour_of(number)))
    pixels[_outline(known)] = 1.0
    return pixels


def _outline(labels):
    """The pixels of each structure that touch another one, the background or the border."""
    padded = np.pad(labels, 1, mode="constant")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (labels > 0) & np.logical_or.reduce([neighbour != labels for neighbour in neighbours])


def _padded(panel, rows, gap):
    return np.pad(panel, ((rows - panel.shape[0], 0), (0, gap), (0, 0)), mode="constant")

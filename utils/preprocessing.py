"""From a case's files to the arrays the network is fed with."""

import numpy as np

from utils.errors import UserError
from utils.fitting import fit_image, fit_label
from utils.volumes import read_channels, read_label

SETTINGS = ("input_shape", "fit", "spacing", "resize_interpolator", "data_normalization", "classes", "channels")


def zscore(volume):
    """Return np.float32 of mean 0 and standard deviation 1; a constant volume, rounding aside, becomes zeros."""
    values = volume.astype(np.float64)
    deviation = values.std()
    if deviation <= np.abs(values).max() * np.finfo(np.float32).eps:
        return np.zeros(volume.shape, np.float32)
    return ((values - values.mean()) / deviation).astype(np.float32)


NORMALIZATIONS = {"zscore": zscore}


def prepare_image(channels, settings):
    """Return a scan's channels, 3-D SimpleITK images, as C-contiguous np.float32 [X, Y, Z, C].

    Each is brought to settings["input_shape"] as settings["fit"] says, and normalised by itself with
    settings["data_normalization"].
    """
    normalize = NORMALIZATIONS[settings["data_normalization"]]
    return np.stack([fit_image(channel, settings, normalize) for channel in channels], axis=-1)


def prepare_case(case, settings):
    """Read a case; return its image, np.float32 [X, Y, Z, C], and its label, np.uint8 [X, Y, Z] or None.

    Raises UserError where a file cannot be used, or has not settings["channels"] channels.
    """
    channels = read_channels(case.image)
    if len(channels) != settings["channels"]:
        raise UserError(
            "%s: has %d channel%s where %d are expected: check the modalities of the task"
            % (case.image, len(channels), "" if len(channels) == 1 else "s", settings["channels"])
        )
    image = prepare_image(channels, settings)
    if case.label is None:
        return image, None
    label = read_label(case.label, channels[0], settings["classes"])
    return image, fit_label(label, settings)

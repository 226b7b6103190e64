"""From a case's files to the arrays the network is fed with."""

import numpy as np

from utils.errors import UserError
from utils.geometry import resample_image, resample_label
from utils.volumes import read_channels, read_label, to_array

SETTINGS = ("input_shape", "resize_interpolator", "data_normalization", "classes", "channels")


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

    Each is resampled to settings["input_shape"] over its field of view with
    settings["resize_interpolator"], then normalised by itself with settings["data_normalization"].
    """
    shape, interpolator = settings["input_shape"], settings["resize_interpolator"]
    normalize = NORMALIZATIONS[settings["data_normalization"]]
    volumes = [normalize(to_array(resample_image(channel, shape, interpolator))) for channel in channels]
    return np.stack(volumes, axis=-1)


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
    return image, resample_label(label, settings["input_shape"], settings["classes"])

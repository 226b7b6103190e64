"""Intensities as the network gets them: each channel by itself, or by what is known of CT.

Volumes are [X, Y, Z]. What is known of a channel is [low, high, mean, deviation], of
``utils.preprocessing.ct_intensities``; None where it is normalised by itself.
"""

import numpy as np

MODALITY = "ct"


def clipped_channels(data_normalization, modalities):
    """Which channels are normalised as CT: a list of booleans.

    ``data_normalization`` is that flag: "zscore" for none, "ct" for all, "auto" for those whose modality is CT.
    """
    if data_normalization == "auto":
        return [name.strip().lower() == MODALITY for name in modalities]
    return [data_normalization == "ct"] * len(modalities)


def normalized(volume, channel=None):
    """A channel, float32 [X, Y, Z], as the network gets it: float32 of the same shape, by what is known of it."""
    return zscore(volume) if channel is None else clipped(volume, channel)


def filling(channel=None):
    """The value around a scan, once it is normalised: its mean, or as dark as CT gets, since there is air."""
    return 0.0 if channel is None else float(clipped(np.array([channel[0]], np.float32), channel)[0])


def zscore(volume):
    """Return np.float32 of mean 0 and standard deviation 1; a constant volume, rounding aside, becomes zeros."""
    values = volume.astype(np.float64)
    largest = max(values.max(), -values.min())
    # In place, as far as it goes: whole scans are large.
    values -= values.mean()
    deviation = np.sqrt(np.square(values).mean())
    if deviation <= largest * np.finfo(np.float32).eps:
        return np.zeros(volume.shape, np.float32)
    values /= deviation
    return values.astype(np.float32)


def clipped(volume, channel):
    """A volume, float32 [X, Y, Z], clipped and brought to the mean and deviation of its channel: a new array."""
    low, high, mean, deviation = channel
    result = np.clip(volume, np.float32(low), np.float32(high))
    result -= np.float32(mean)
    # One value alone has no deviation.
    result /= np.float32(deviation or 1.0)
    return result

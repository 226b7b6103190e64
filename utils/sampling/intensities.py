"""Changes of one channel's intensities."""

import math

import numpy as np

# Of the Gaussian curve, on either side of its middle, in standard deviations.
BLUR_REACH = 3


def changed(channel, intensity, seed):
    """A channel, float32 [X, Y, Z], after an ``Intensity`` of ``utils.sampling.augmentation``: noise, blur, contrast,
    gamma.

    ``seed`` (whole numbers) is what the noise follows from. The channel is left alone.
    """
    if intensity.noise:
        channel = channel + _noise(channel.shape, intensity.noise, seed)
    if intensity.blur:
        channel = blurred(channel, intensity.blur)
    if intensity.contrast != 1 or intensity.brightness:
        mean = channel.mean()
        channel = (channel - mean) * np.float32(intensity.contrast) + (mean + np.float32(intensity.brightness))
    if intensity.gamma != 1:
        channel = with_gamma(channel, intensity.gamma)
    return channel


def _noise(shape, deviation, seed):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32) * np.float32(deviation)


def blurred(channel, deviation):
    """A channel, float32 [X, Y, Z], smoothed by a Gaussian of that standard deviation (voxels); its edges go on."""
    reach = int(math.ceil(BLUR_REACH * deviation))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / deviation) ** 2)
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    for axis, size in enumerate(channel.shape):
        padding = [(reach, reach) if other == axis else (0, 0) for other in range(3)]
        padded = np.moveaxis(np.pad(channel, padding, "edge"), axis, 0)
        smooth = weights[0] * padded[reach : reach + size]
        for distance in range(1, reach + 1):
            before, after = reach - distance, reach + distance
            smooth += weights[distance] * (padded[before : before + size] + padded[after : after + size])
        channel = np.moveaxis(smooth, 0, axis)
    return channel


def with_gamma(channel, exponent):
    """A channel, float32 [X, Y, Z], whose place in its range of values is raised to a power; mean and spread stay."""
    low, high = channel.min(), channel.max()
    if low == high:
        return channel
    curved = ((channel - low) / (high - low)) ** np.float32(exponent)
    return (curved - curved.mean()) * (channel.std() / curved.std()) + channel.mean()

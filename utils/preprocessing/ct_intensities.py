"""The intensities of a CT task: what they are clipped to and measured by, found once and kept with the model.

CT numbers mean the same in every scan, so that what the structures of the training cases have in common says more than
each scan by itself: they are clipped to the percentiles 0.5 and 99.5 of the structures' voxels, and brought to a mean
of 0 and a standard deviation of 1 by theirs (Isensee et al. 2021, nnU-Net). C: the channels of a scan.
"""

import numpy as np
import SimpleITK as sitk

from utils.imaging import case_files
from utils.preprocessing.foreground import some_voxels
from utils.preprocessing.pipeline import check_scan
from utils.system import memory
from utils.system.errors import UserError, attempted
from utils.system.thread_pool import overlapped

PERCENTILES = (0.5, 99.5)
# Voxels of structures that are looked at, of all cases and of one; of so many cases that the first is too few for,
# the last.
MOST_VOXELS = 10**6
MOST_OF_A_CASE = 10**4
FEWEST_OF_A_CASE = 10**2
SEED = 0
DIGITS = 9


def voxels_per_case(cases):
    """How many voxels of each of so many cases are looked at."""
    return min(MOST_OF_A_CASE, max(FEWEST_OF_A_CASE, MOST_VOXELS // max(1, cases)))


def of_structures(cases, settings, most, threads):
    """Yields for each case the intensities of some voxels of its structures, float32 [n, C], or its UserError.

    Args:
        cases: labelled ones.
        settings: a dict with ``classes`` and ``channels``.
        most: voxels of a case.
        threads: cases read at a time, beside large ones.
    """
    return overlapped(lambda case: attempted(_of_structures, case, settings, most), cases, threads)


def _of_structures(case, settings, most):
    with case_files.turn_of(case), memory.trouble_over(case.image):
        check_scan(case, settings)
        channels = case_files.read_channels(case)
        return sampled(channels, case_files.read_label(case, channels[0], settings["classes"]), most)


def sampled(channels, label, most):
    """The intensities of some voxels of a case's structures, ``most`` at most: float32 [n, C].

    ``channels`` and ``label`` are SimpleITK images.
    """
    # [Z, Y, X], as they lie in memory: copies of whole scans would not be small.
    marked = sitk.GetArrayViewFromImage(label)
    counts = np.array([np.count_nonzero(plane) for plane in marked])
    places = some_voxels(lambda z: marked[z] > 0, counts, most, np.random.RandomState(SEED))
    return np.stack([sitk.GetArrayViewFromImage(channel)[tuple(places.T)] for channel in channels], axis=-1)


def figures(intensities, chosen):
    """What the channels are normalised by: for each [low, high, mean, deviation], or None where it is not ``chosen``.

    ``intensities`` are those of the voxels of all cases, [N, C], in any order; ``chosen`` are C booleans.

    Raises:
        UserError: there are none, or a channel is the same almost all over.
    """
    if not len(intensities):
        raise UserError(
            "--data_normalization: the training labels mark no voxel to learn the intensities of CT from: correct "
            "them, or use zscore"
        )
    # In order, so that sums do not depend on who read which case.
    columns = np.sort(np.asarray(intensities, np.float64), axis=0).T
    found = [_of_channel(values) if is_chosen else None for values, is_chosen in zip(columns, chosen)]
    for number, channel in enumerate(found):
        if channel is not None and channel[0] == channel[1]:
            raise UserError(
                "--data_normalization: channel {} is {:g} in almost all of the structures of the training cases, which "
                "tells nothing of CT: correct them, or use zscore".format(number, channel[0])
            )
    return found


def _of_channel(values):
    found = list(np.percentile(values, PERCENTILES)) + [values.mean(), values.std()]
    return [float("{:.{}g}".format(value, DIGITS)) for value in found]


def in_words(channels, modalities):
    """What the channels are normalised by, a line for each that is not normalised by itself."""
    told = "intensities of {}: clipped to {:g} up to {:g}; mean {:g}, standard deviation {:g}"
    return [told.format(name, *channel) for name, channel in zip(modalities, channels) if channel is not None]


def common(models):
    """Figures of channels that no model's lose anything by: what the input of several models is normalised by.

    ``models`` are the figures of each, all of the same channels or None.
    """
    if models[0] is None:
        return None
    return [None if channels[0] is None else _common_of_channel(np.array(channels)) for channels in zip(*models)]


def _common_of_channel(figures):
    low, high, mean, deviation = figures.T
    return [float(value) for value in (low.min(), high.max(), mean.mean(), deviation.mean() or 1.0)]


def changes(given, own):
    """What makes of intensities that were normalised by ``given`` those by ``own``: float32 [4, C], or None.

    The lowest and the highest that are left, then the factor, and what is added then.
    """
    if given is None or given == own:
        return None
    rows = [_change(*channels) for channels in zip(given, own)]
    return np.array(rows, np.float32).T


def _change(given, own):
    if given is None:
        return -np.inf, np.inf, 1.0, 0.0
    (_, _, mean, deviation), (low, high, own_mean, own_deviation) = given, own
    own_deviation = own_deviation or 1.0
    within = [(value - mean) / deviation for value in (low, high)]
    return within[0], within[1], deviation / own_deviation, (mean - own_mean) / own_deviation

"""From a case's files to the arrays the network is fed with."""

import functools

import numpy as np
import SimpleITK as sitk

from utils.config.network_rules import PATCH
from utils.imaging import case_files
from utils.imaging.image_facts import facts_of
from utils.preprocessing import fitting
from utils.preprocessing.normalization import filling, normalized
from utils.sampling.tiling import fit_of
from utils.system import memory
from utils.system.errors import UnusableFile

SETTINGS = ("input_shape", "fit", "spacing", "resize_interpolator", "intensities", "classes", "channels")


def settings_of(params, feeding):
    """How the cases of a task are prepared: the settings of this module, a dict.

    ``params`` with what the job's description adds; ``feeding`` is the ``utils.sampling.tiling`` that cuts items out of
    them. "intensities" are those of no channel, "patch" is what a sliding window sees at a time, or None.
    """
    return {
        "input_shape": list(feeding.case_shape),
        "fit": fit_of(params),
        "spacing": params["spacing"],
        "resize_interpolator": params["resize_interpolator"],
        "intensities": None,
        "patch": params["input_shape"] if params["sampling"] == PATCH else None,
        "classes": len(params["labels"]),
        "channels": len(params["modalities"]),
    }


def by_page(normalize):
    """Return the function that normalises each slice [X, Y, 1] of np.float32 [X, Y, Z] by itself."""

    def paged(volume):
        slices = [np.ascontiguousarray(volume[:, :, at : at + 1]) for at in range(volume.shape[2])]
        return np.concatenate([normalize(one) for one in slices], axis=2)

    return paged


def prepare_image(channels, settings, pages=False):
    """Return a scan's channels, 3-D SimpleITK images, as C-contiguous np.float32 [X, Y, Z, C].

    Each is brought to settings["input_shape"], whose None are the scan's own sizes, as settings["fit"] says, and
    normalised by what settings["intensities"] has on it, as `utils.preprocessing.normalization` does; by itself where
    that is None, or, where they are the pages of a stack, page by page.
    """
    known = settings["intensities"] or [None] * len(channels)
    fitted = []
    for channel, own in zip(channels, known):
        normalize = functools.partial(normalized, channel=own)
        fitted.append(fitting.fit_image(channel, settings, by_page(normalize) if pages else normalize, filling(own)))
    # A whole scan need not be copied to have an axis more.
    return np.stack(fitted, axis=-1) if len(fitted) > 1 else fitted[0][..., None]


def check_scan(case, settings):
    """Raises UserError where the header of a case's image alone tells that it cannot be used."""
    found, expected = case_files.channels_of(case), settings["channels"]
    if found != expected:
        raise UnusableFile(
            "{}: has {} channel{} where {} are expected: check the modalities of the task".format(
                case.image, found, "" if found == 1 else "s", expected
            )
        )


def read_scan(case, settings):
    """Return the channels of a case as `case_files.read_channels` does, once it is known that they can be used."""
    check_scan(case, settings)
    channels = case_files.read_channels(case)
    check_memory(case.image, channels[0].GetSize(), channels[0].GetSpacing(), settings)
    return channels


def check_memory(path, size, spacing, settings):
    """Raises UserError where a scan of that size (voxels) and spacing (mm) is too large once it is resampled."""
    shape = fitting.shape_before_padding(size, spacing, settings)
    numbers = memory.voxels(shape) * settings["channels"]
    if settings.get("patch"):
        # What a sliding window has open, however small the image itself is.
        open_slices = min(shape[2], settings["patch"][2])
        numbers = max(numbers, memory.voxels(shape[:2] + (open_slices, settings["classes"])))
    flag, advice = ("spacing", "larger") if settings["fit"] != "resize" else ("input_shape", "smaller")
    memory.refuse_beyond(
        numbers * memory.FLOAT,
        "--{} {}: {} would have {} voxels, which take".format(
            flag, " ".join("{:g}".format(value or 1) for value in settings[flag]), path, memory.by_axis(shape)
        ),
        "use a {} one".format(advice),
        UnusableFile,
    )


def cropped_share(case, settings):
    """Return the share of the voxels of a case's structures that cropping takes away, from 0 to 1.

    The label is read only where the header says that the scan is cropped. Raises UserError as `prepare_case` does.
    """
    grid = case_files.read_grid(case)
    seen = fitting.seen(grid.size, grid.spacing, settings)
    if all(len(part) == size for part, size in zip(seen, grid.size)):
        return 0.0
    with memory.trouble_over(case.image):
        label = case_files.read_label(case, grid, settings["classes"])
        # [Z, Y, X]
        values = sitk.GetArrayViewFromImage(label)
        marked = np.count_nonzero(values)
        left = np.count_nonzero(values[tuple(slice(part.start, part.stop) for part in reversed(seen))])
    return (marked - left) / marked if marked else 0.0


def prepare_case(case, settings):
    """Read a case; return its image, np.float32 [X, Y, Z, C], its label, np.uint8 [X, Y, Z] or None, and its Facts.

    The `utils.imaging.image_facts.Facts` are those of the voxels in its files. Raises UserError where a file cannot be
    used, or has not settings["channels"] channels.
    """
    with memory.trouble_over(case.image):
        channels = read_scan(case, settings)
        image = prepare_image(channels, settings, pages=case_files.is_stack(case))
        if case.label is None:
            return image, None, facts_of(channels, None, settings["classes"])
        label = case_files.read_label(case, channels[0], settings["classes"])
        # The same grid within a tolerance by now, which a number of voxels after resampling might not be.
        label.CopyInformation(channels[0])
        return image, fitting.fit_label(label, settings), facts_of(channels, label, settings["classes"])

"""The preprocessed cases of a run, or all that is wrong with them, known before the run goes on."""

import numpy as np

from utils import data_loader
from utils.config.modes import uses_held_out
from utils.config.network_flags import UNET
from utils.config.network_rules import PATCH
from utils.preprocessing import border_weights, ct_intensities
from utils.preprocessing.cache import keep
from utils.preprocessing.normalization import clipped_channels, filling
from utils.preprocessing.pipeline import settings_of
from utils.sampling.samples import Items, PatchItems, SliceItems
from utils.sampling.tiling import MEASURED_PATCHES, Patches, feeding_of
from utils.system.environment import threads
from utils.system.errors import UserError, unusable


class Preparation:
    """Prepares one worker's share of the cases.

    Args:
        params: the params dict, with what the job's description adds.
        workers: the ``utils.running.workers.Workers``.
        progress: ``utils.system.progress.Progress``, or what stands in for it.

    Attributes:
        settings: those of ``utils.preprocessing.pipeline``.
        feeding: how the cases come to the network.
    """

    def __init__(self, params, workers, progress):
        self.feeding = feeding_of(params)
        self.settings = settings_of(params, self.feeding)
        self._params, self._workers, self._progress = params, workers, progress
        self.use_intensities(params["intensities"])

    def use_intensities(self, channels):
        """Normalise images from now on by what ``preprocessing.ct_intensities`` found of their channels, or None."""
        self.settings["intensities"] = channels
        if channels is not None:
            self.feeding.filling = np.array([filling(channel) for channel in channels], np.float32)

    def volumes(self, cases, description, trained_on=False):
        """The ``utils.data_loader.Volumes`` of cases that are this worker's; with all that ``items`` of them needs.

        Raises:
            UserError: some cannot be used, be they this worker's or another's.
        """
        return data_loader.Volumes(self._kept_by_all(cases, description, beside=self._beside() if trained_on else None))

    def training_volumes(self, job):
        """The Volumes of this worker's training cases, and of its held-out ones where they are to be used.

        All that this run is going to read is read here, if only the headers of what it will predict: what came to
        light in the morning would have cost the night. Raises UserError as ``volumes`` does.
        """
        training, held_out, predicted = map(self._workers.share, (job.training, job.held_out, job.predicted))
        used = training + (held_out if uses_held_out(self._params) else ())
        kept = self._kept_by_all(used, "preparing cases", predicted, self._beside(), len(training))
        return data_loader.Volumes(kept[: len(training)]), data_loader.Volumes(kept[len(training) :])

    def items(self, volumes):
        """The ``utils.sampling.samples.Items`` that are trained on, of the Volumes of this worker's training cases."""
        weights = self._class_weights(volumes) if self._weighs_voxels() else None
        if self._params["model"] == UNET:
            return SliceItems(volumes, self.feeding, weights, self._params["empty_slices"])
        if self._samples_patches():
            share, each = self._params["foreground_share"], self._params["patches_per_case"]
            return PatchItems(volumes, self.feeding, weights, share, each)
        return Items(volumes, self.feeding, weights)

    def measured(self, held_out):
        """What of the held-out cases is measured while a model is trained: Volumes, and how they come to the network.

        Where patches are trained on, that is a part of each case, as large as two patches side by side along each axis.
        """
        if not self._samples_patches():
            return held_out, self.feeding
        feeding = Patches(self.feeding.item_shape, 0.0, self._params["cache_dir"])
        feeding.filling = self.feeding.filling
        shape = [MEASURED_PATCHES * size for size in feeding.item_shape]
        return data_loader.Parts(held_out.kept, shape), feeding

    def _samples_patches(self):
        return self._params["sampling"] == PATCH

    def _beside(self):
        """What training needs beside images and labels, settings of ``utils.preprocessing.cache``."""
        return {"borders": self._weighs_voxels(), "positions": self._samples_patches()}

    def _weighs_voxels(self):
        return self._params["loss"] == "weighted_ce"

    def _class_weights(self, volumes):
        labels = (volumes.label(number) for number in range(len(volumes)))
        counts = border_weights.class_counts(labels, self.settings["classes"])
        everyones = self._workers.gather([counts.tolist()])
        return border_weights.class_weights(np.sum(everyones, axis=0)).astype(np.float32)

    def learn_intensities(self, job):
        """What the channels of images are normalised by from now on, or None: all by themselves.

        It follows from the training cases, of which each worker reads its share; where the settings have it, it is
        known already. Raises UserError as ``volumes`` does, or where no structure is there to learn from.
        """
        chosen = clipped_channels(self._params["data_normalization"], self._params["modalities"])
        if any(chosen) and self.settings["intensities"] is None:
            everyones = self._workers.gather(self._intensities(job))
            self.use_intensities(ct_intensities.figures(everyones, chosen))
        return self.settings["intensities"]

    def _intensities(self, job):
        own, found, errors = self._workers.share(job.training), [], []
        most = ct_intensities.voxels_per_case(len(job.training))
        with self._progress(len(own), "reading intensities", "cases") as progress:
            for one in ct_intensities.of_structures(own, self.settings, most, threads(self._params)):
                (errors if isinstance(one, UserError) else found).append(one)
                progress.update()
        if self._workers.gather([[len(errors)]]).any():
            # Tells of all that is wrong with all cases.
            self.training_volumes(job)
        self._go_on_together(unusable(errors, len(own)) if errors else None)
        return np.concatenate([np.zeros((0, self.settings["channels"]))] + found)

    def _kept_by_all(self, cases, description, later=(), beside=None, trained_on=None):
        with self._progress(len(cases) + len(later), description, "cases") as progress:
            kept, error = self._kept(cases, progress, later, beside or {}, trained_on)
        self._go_on_together(error)
        return kept

    def _go_on_together(self, error):
        """Raise this worker's error, if it has one, or that another has one."""
        # All workers learn of it before one waits for another that stopped.
        if self._workers.gather([[error is not None]]).any():
            raise error or UserError("worker {}: stopped, since another one cannot go on".format(self._workers.rank))

    def _kept(self, cases, progress, later, beside, trained_on):
        folder, settings = self._params["cache_dir"], dict(self.settings, **beside)
        try:
            return keep(cases, settings, folder, lambda done, total: progress.update(), later, trained_on), None
        except UserError as error:
            return None, error

"""Probabilities on the network's grid -> masks on the scans' own grids, and the scores read back from them.

Dimensions: X, Y, Z voxels of the network's grid; X', Y', Z' of the image's own; K classes.
"""

import os
import threading

import numpy as np

from utils import fitting, scores, volumes
from utils.components import largest_components
from utils.predictions import CasePrediction
from utils.progress import say
from utils.report import CaseScores
from utils.surface_scores import SurfaceScores, surface_scores

FOLDER = "eval"


def mask_path(model_dir, case):
    """Where the mask of a case goes."""
    return os.path.join(model_dir, FOLDER, case.name + ".nii.gz")


class MaskWriter:
    """Writes one mask per case to ``<model_dir>/eval``, and a picture where ``pictures`` is asked for.

    Several threads may write at a time.

    Args:
        params: the params dict, with ``model_dir``, ``labels``, ``input_shape``, ``fit``, ``spacing``, ``pictures`` and
            ``largest_component``.
        structures: names of the structures, background left out.
    """

    def __init__(self, params, structures):
        self.model_dir = params["model_dir"]
        self.fit = {name: params[name] for name in ("input_shape", "fit", "spacing")}
        self.classes = len(params["labels"])
        self.pictures = params["pictures"]
        self.largest_component = params["largest_component"]
        self.structures = structures
        self.folder = os.path.join(self.model_dir, FOLDER)
        # matplotlib is not made for threads.
        self._drawing = threading.Lock()

    def write(self, case, probabilities):
        """Write the mask of a case from its probabilities float32 [X, Y, Z, K]; return its ``CasePrediction``."""
        image = volumes.read_channels(case.image)[0]
        mask, uncertainty = self._write(case, image, probabilities, None)
        volume = scores.volumes_ml(mask, self.classes, image.GetSpacing())
        return CasePrediction(case.name, volume_ml=volume[1:], uncertainty=uncertainty[1:])

    def _write(self, case, image, probabilities, truth):
        """Write a mask and draw its picture; return it, and the uncertainty of each class."""
        # Brought back to the image's grid before the most probable class is taken.
        restored = fitting.restore_probabilities(probabilities, image, self.fit)
        mask = np.argmax(restored, axis=-1).astype(np.uint8)
        if self.largest_component:
            mask = largest_components(mask, self.classes)
        volumes.write_mask(mask, image, mask_path(self.model_dir, case))
        if self.pictures:
            self._draw(case, image, mask, truth)
        return mask, scores.uncertainty(mask, restored)

    def tell(self):
        """Say where the masks are, and the pictures."""
        say("masks{}: {}".format(" and pictures" if self.pictures else "", self.folder))

    def evaluate(self, case, probabilities, network_label):
        """Write the mask of a labelled case and score it: a ``CaseScores``, background left out.

        ``network_label`` is the label on the network's grid, uint8 [X, Y, Z]. All scores but the soft Dice are
        those of the mask as it is read back from its file.
        """
        image = volumes.read_channels(case.image)[0]
        truth = volumes.to_array(volumes.read_label(case.label, image, self.classes))
        _, uncertainty = self._write(case, image, probabilities, truth)
        written = volumes.to_array(volumes.read_label(mask_path(self.model_dir, case), image, self.classes))
        distances = self._surface_scores(written, truth, image.GetSpacing())
        volume, true_volume = (
            scores.volumes_ml(voxels, self.classes, image.GetSpacing())[1:] for voxels in (written, truth)
        )
        return CaseScores(
            case.name,
            soft_dice=scores.soft_dice(probabilities, network_label)[1:],
            hard_dice=scores.hard_dice(written, truth, self.classes)[1:],
            hausdorff_95_mm=distances.hausdorff_95,
            surface_distance_mm=distances.average,
            volume_ml=volume,
            true_volume_ml=true_volume,
            volume_difference_ml=volume - true_volume,
            uncertainty=uncertainty[1:],
        )

    def _surface_scores(self, mask, truth, spacing):
        """The ``SurfaceScores`` of all structures in one: a tuple of numbers for each."""
        found = [surface_scores(mask == value, truth == value, spacing) for value in range(1, self.classes)]
        return SurfaceScores(*zip(*found))

    def _draw(self, case, image, mask, truth):
        from utils.pictures import case_picture

        path = os.path.join(self.folder, case.name + ".png")
        array, spacing = volumes.to_array(image), image.GetSpacing()
        with self._drawing:
            case_picture(path, array, spacing, mask, truth, structures=self.structures, title=case.name)

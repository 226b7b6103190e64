"""Probabilities on the network's grid -> masks on the scans' own grids, and the scores read back from them.

Dimensions: X, Y, Z voxels of the network's grid; X', Y', Z' of the image's own; K classes.
"""

import os
import threading

import numpy as np
import SimpleITK as sitk

from utils.evaluation import predictions, scores, tables
from utils.evaluation.surface_scores import SurfaceScores, surface_scores
from utils.evaluation.uncertainty import Uncertainty
from utils.imaging import case_files
from utils.imaging.large_scan_turns import in_turn
from utils.imaging.nifti import to_array
from utils.inference.components import clear_smaller_parts
from utils.preprocessing import fitting
from utils.system.progress import say

FOLDER = "eval"


def mask_path(model_dir, case):
    """Where the mask of a case goes."""
    return os.path.join(model_dir, FOLDER, case_files.mask_name(case))


class MaskWriter:
    """Writes one mask per case to ``<model_dir>/eval``, and a picture where ``pictures`` is asked for.

    Several threads may write at a time.

    Args:
        params: the params dict, with ``model_dir``, ``pictures`` and ``largest_component``.
        preparation: the settings of ``utils.preprocessing.pipeline`` that the cases were prepared with.
        structures: names of the structures, background left out.
    """

    def __init__(self, params, preparation, structures):
        self.model_dir = params["model_dir"]
        self.preparation = preparation
        self.classes = preparation["classes"]
        self.pictures = params["pictures"]
        self.largest_component = params["largest_component"]
        self.structures = structures
        self.folder = os.path.join(self.model_dir, FOLDER)
        # matplotlib is not made for threads.
        self._drawing = threading.Lock()

    def write(self, case, probabilities):
        """Write the mask of a case from its probabilities float32 [X, Y, Z, K]; return what is known of it.

        A ``predictions.CasePrediction``, of a stack a ``predictions.StackPrediction``.
        """
        grid = case_files.read_grid(case)
        with in_turn(grid.size):
            mask, uncertainty = self._write(case, grid, probabilities, None)
            size = self._sizes(case, mask, grid)
        return predictions.kind_of([case])(case.name, size, uncertainty[1:])

    def _write(self, case, grid, probabilities, truth):
        """Write a mask and draw its picture; return it, and the uncertainty of each class."""
        mask, uncertainty = self._mask(
            fitting.Restored(probabilities, grid, self.preparation), case_files.is_stack(case)
        )
        case_files.write_mask(case, mask, grid, self.classes, mask_path(self.model_dir, case))
        if self.pictures:
            self._draw(case, grid, mask, truth)
        return mask, uncertainty

    def _mask(self, restored, pages):
        """The mask uint8 [X', Y', Z'] of a ``fitting.Restored``, and the uncertainty of each class.

        The slices of ``pages`` are images of their own.
        """
        # Slices lie one after another, as they come and as the file has them.
        mask = np.empty(restored.shape, np.uint8, order="F")
        uncertainty = Uncertainty(restored.shape[2], self.classes)
        for slices in restored.slabs:
            part, probabilities = mask[:, :, slices.start : slices.stop], restored.slab(slices)
            # On the image's grid, where the probabilities have been brought, the most probable class is taken.
            part.T[...] = np.argmax(probabilities.transpose(2, 1, 0, 3), axis=-1)
            uncertainty.put(slices.start, part, probabilities)
        if self.largest_component:
            self._clear(mask, restored, uncertainty, pages)
        return mask, uncertainty.result()

    def _clear(self, mask, restored, uncertainty, pages):
        """Leave the largest part of each structure in a mask, or in each of its slices."""
        parts = [mask[:, :, at : at + 1] for at in range(mask.shape[2])] if pages else [mask]
        changed = np.concatenate([clear_smaller_parts(part, self.classes) for part in parts])
        for slices in restored.slabs:
            if changed[slices.start : slices.stop].any():
                uncertainty.put(slices.start, mask[:, :, slices.start : slices.stop], restored.slab(slices))

    def tell(self):
        """Say where the masks are, and the pictures."""
        say("masks{}: {}".format(" and pictures" if self.pictures else "", self.folder))

    def evaluate(self, case, probabilities, network_label):
        """Write the mask of a labelled case and score it: a ``report.CaseScores`` or ``PageScores``.

        Background is left out. ``network_label`` is the label on the network's grid, uint8 [X, Y, Z]. All scores but
        the soft Dice are those of the mask as it is read back from its file.
        """
        grid = case_files.read_grid(case)
        with in_turn(grid.size):
            return self._evaluate(case, grid, probabilities, network_label)

    def _evaluate(self, case, grid, probabilities, network_label):
        truth = to_array(case_files.read_label(case, grid, self.classes))
        uncertainty = self._write(case, grid, probabilities, truth)[1]
        written = to_array(case_files.read_mask(case, mask_path(self.model_dir, case), grid, self.classes))
        distances = self._surface_scores(written, truth, grid.spacing)
        size, true_size = (self._sizes(case, voxels, grid) for voxels in (written, truth))
        # Pages have the same scores in the same order, in pixels.
        return tables.kind_of([case])(
            case.name,
            scores.soft_dice(probabilities, network_label)[1:],
            scores.hard_dice(written, truth, self.classes)[1:],
            distances.hausdorff_95,
            distances.average,
            size,
            true_size,
            size - true_size,
            uncertainty[1:],
        )

    def _sizes(self, case, mask, grid):
        """The volume (ml) of each structure of a mask, of the mask of a stack the area (pixels)."""
        if case_files.is_stack(case):
            return scores.voxel_counts(mask, self.classes)[1:]
        return scores.volumes_ml(mask, self.classes, grid.spacing)[1:]

    def _surface_scores(self, mask, truth, spacing):
        """The ``SurfaceScores`` of all structures in one: a tuple of numbers for each."""
        found = [surface_scores(mask == value, truth == value, spacing) for value in range(1, self.classes)]
        return SurfaceScores(*zip(*found))

    def _draw(self, case, grid, mask, truth):
        from utils.visualization.pictures import case_picture

        path = os.path.join(self.folder, case.name + ".png")
        with self._drawing:
            image = case_files.read_channels(case)[0]
            # A view, which the image outlives.
            voxels = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
            pages = case_files.is_stack(case)
            case_picture(path, voxels, grid.spacing, mask, truth, self.structures, case.name, pages)

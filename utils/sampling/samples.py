"""What training draws from: cases, or slices or patches of them, each changed at random.

Dimensions: U, V, W voxels of an item, or of the part of it that is trained on; C input channels.
"""

from typing import Any, NamedTuple, Optional

import numpy as np

from utils.sampling import patches
from utils.sampling.augmentation import augmented

# Sets the random numbers of a patch's place apart from those of its changes.
PLACE = 1


class Example(NamedTuple):
    """What the network learns from: image float32 [U, V, W, C], label uint8 [U, V, W] and, where the loss weighs
    voxels, their weights float32 [U, V, W]."""

    image: Any
    label: Any
    weights: Optional[Any] = None


class Items:
    """Every case is an item.

    Args:
        volumes: the ``utils.data_loader.Volumes`` of this worker's training cases.
        feeding: the ``utils.sampling.tiling`` that cuts items out of them.
        class_weights: what a voxel of each class counts, where the loss weighs voxels by class and border.
    """

    def __init__(self, volumes, feeding, class_weights=None):
        self.volumes = volumes
        self.feeding = feeding
        self._class_weights = class_weights
        self._parts = [(case, corner) for case in range(len(volumes)) for corner in self._corners(case)]

    def _corners(self, case):
        """Where the items of a case begin."""
        return [(0, 0, 0)]

    def __len__(self):
        """How many there are in an epoch."""
        return len(self._parts)

    def order(self, random):
        """Those of an epoch in a random order: int [len(self)]."""
        return random.permutation(len(self))

    def case_name(self, number):
        """Of which case an item is."""
        return self.volumes.kept[self._parts[number][0]].case.name

    def example(self, number, draw):
        """The ``Example`` of an item after the changes of a ``utils.sampling.augmentation.Draw``."""
        case, corner = self._parts[number]
        image, label = (
            self.feeding.cut(array, corner) for array in (self.volumes.image(case), self.volumes.label(case))
        )
        if self._class_weights is None:
            return Example(*augmented(image, label, draw))
        # As a channel more, the weights of borders move as the image does.
        borders = self.feeding.cut(self.volumes.borders(case), corner)
        image, label = augmented(np.concatenate([image, borders[..., np.newaxis]], axis=-1), label, draw)
        return Example(image[..., :-1], label, self._class_weights[label] + image[..., -1])


class SliceItems(Items):
    """Every slice with a structure is an item, and in each epoch so large a share of the others, drawn anew."""

    def __init__(self, volumes, feeding, class_weights=None, empty_share=1.0):
        super().__init__(volumes, feeding, class_weights)
        others = tuple(axis for axis in range(3) if axis != feeding.axis)
        filled = [volumes.label(case).any(axis=others) for case in range(len(volumes))]
        filled = np.concatenate(filled) if filled else np.zeros(0, bool)
        self._filled, self._empty = np.flatnonzero(filled), np.flatnonzero(~filled)
        # An epoch without anything to learn from would have no step.
        share = empty_share if len(self._filled) else 1.0
        self._empty_drawn = int(round(share * len(self._empty)))

    def _corners(self, case):
        return self.feeding.corners(self.volumes.label(case).shape)

    def __len__(self):
        return len(self._filled) + self._empty_drawn

    def order(self, random):
        drawn = random.permutation(self._empty)[: self._empty_drawn]
        return random.permutation(np.concatenate([self._filled, drawn]))


class PatchItems(Items):
    """Of every case some patches are items, at other places in each epoch: as large as a Draw's crop, or its whole.

    Args:
        foreground_share: the share of the patches that are centred on a voxel of a structure, as far as the cases that
            have any suffice.
        patches_per_case: how many patches of a case there are in an epoch.
    """

    def __init__(self, volumes, feeding, class_weights=None, foreground_share=0.0, patches_per_case=1):
        super().__init__(volumes, feeding, class_weights)
        self._each = patches_per_case
        self._filled = np.array([len(volumes.positions(case)) > 0 for case in range(len(volumes))], bool)
        # Of patches of those cases alone.
        self._share = min(1.0, foreground_share * len(volumes) / max(1, self._filled.sum()))

    def __len__(self):
        return len(self.volumes) * self._each

    def order(self, random):
        cases = random.permutation(np.repeat(np.arange(len(self.volumes)), self._each))
        centred = np.zeros(len(cases), bool)
        filled = self._filled[cases]
        centred[filled] = patches.on_structures(filled.sum(), self._share, random)
        # A number tells of a case, and whether the patch is to be centred on one of its structures.
        return 2 * cases + centred

    def case_name(self, number):
        return self.volumes.kept[number // 2].case.name

    def example(self, number, draw):
        case, on_structure = divmod(int(number), 2)
        image, label = self.volumes.image(case), self.volumes.label(case)
        positions = self.volumes.positions(case) if on_structure else ()
        random = np.random.RandomState([draw.seed, PLACE])
        window = self.feeding.item_shape
        patch = draw.crop or window
        first = patches.corner(label.shape, patch, window, positions, random)
        return self._changed(case, image, label, patches.Place(first, patch, window), draw)

    def _changed(self, case, image, label, place, draw):
        filling = self.feeding.filling
        if self._class_weights is None:
            return Example(*patches.changed_patch(image, label, place, filling, draw))
        borders = [self.volumes.borders(case)]
        image, label = patches.changed_patch(image, label, place, filling, draw, borders)
        return Example(image[..., :-1], label, self._class_weights[label] + image[..., -1])

"""The settings that a plan proposes for a task, each with its reason.

They start from the recipe that segments best in minutes. What the user has given stands, and the rest goes by it.
"""

from typing import Any, NamedTuple

import numpy as np

from utils.config import recipes
from utils.config.network_flags import MOST_LEVELS, UNET, VNET
from utils.config.network_rules import PATCH, SHAPES
from utils.imaging import split
from utils.planning import network_cost
from utils.planning.facts import AXES
from utils.preprocessing import auto_shape, shape_choice
from utils.preprocessing.normalization import clipped_channels
from utils.system.memory import by_axis

RECIPE = "tuned"
RESIZE = "resize"
# V-Net halves all axes, so that fewer slices leave it too little to go by.
FEWEST_SLICES = 12
# Of voxels so much longer than wide, neighbours across slices show something else.
MOST_ANISOTROPIC = 8.0
# Cases are seen whole where none is much larger than the room that there is for them.
ROOM = 1.25
WHOLE, PART, SLICE = "whole", "patch", "slice"
# Voxels of an item, without a GPU and with one: more take too long to train on.
MOST_VOXELS = {WHOLE: (2**20, 2**22), PART: (auto_shape.PATCH_VOXELS, 2**21), SLICE: (2**16, 2**18)}
# Of the memory that there is.
MEMORY_SHARE = 0.5
# Those that the recipe was tuned with: of 176 cases, two at a time, 40 times. Of patches, as many make an epoch.
STEPS = 3520
STEPS_OF_PATCHES = 100
# Of an epoch: where there are few items, fewer at a time, not each at every step.
FEWEST_STEPS = 4
EVALUATIONS = 4
CHECKPOINTS = 40


class Choice(NamedTuple):
    """A flag, its value, and the reason for it."""

    flag: str
    value: Any
    reason: str


class Proposal:
    """Settings, chosen one by one.

    Args:
        facts: the ``utils.planning.facts.Facts``.
        given: the flags that the user has given: a dict, whose values are not chosen again.
        memory: bytes that there are.
        gpu: whether there is a GPU.

    Attributes:
        choices: a list of ``Choice``.
        settings: a dict of the values of all flags, with those given and chosen, "modalities" and "labels".
    """

    def __init__(self, facts, given, memory, gpu):
        self.facts, self.given, self.choices = facts, given, []
        self._memory, self._gpu = memory, gpu
        self.settings = {}
        self._start_from(recipes.defaults(given.get("recipe", RECIPE)))
        self.choose("recipe", RECIPE, "what segments best in minutes")

    def _start_from(self, defaults):
        self.settings = dict(defaults, **self.given)
        self.settings.update(modalities=self.facts.modalities, labels=self.facts.labels)

    def choose(self, flag, value, reason):
        """Take a value for a flag, unless the user has given one; return the one that holds."""
        if flag not in self.given:
            self.settings[flag] = value
            self.choices.append(Choice(flag, value, reason))
        return self.settings[flag]

    def choose_model(self, model, reason):
        """The same for --model, whose recipe all other settings start from."""
        self._start_from(recipes.defaults(self.settings["recipe"], self.given.get("model", model)))
        return self.choose("model", model, reason)

    def most_voxels(self, kind):
        """Of an item of that kind, a key of MOST_VOXELS."""
        return MOST_VOXELS[kind][self._gpu]

    def fits(self, kind, shape):
        """Whether items of that kind and ``shape`` can be trained on in bearable time and memory."""
        if np.prod(shape) > self.most_voxels(kind):
            return False
        needed = network_cost.needed(self.settings, "training", shape, self.settings["batch_size"])
        # What a GPU has is not known before TensorFlow is loaded.
        return self._gpu or needed <= MEMORY_SHARE * self._memory


def propose(facts, given, memory, gpu):
    """The ``Proposal`` for a task; arguments as there."""
    proposal = Proposal(facts, given, memory, gpu)
    if proposal.choose_model(*_model(facts)) == UNET:
        _choose_slices(proposal)
    else:
        _choose_volumes(proposal)
    _choose_normalization(proposal)
    _choose_length(proposal)
    return proposal


def _model(facts):
    if facts.stacks:
        return UNET, "images, one by one"
    fewest = int(np.argmin(facts.median_size))
    slices, axis = facts.median_size[fewest], AXES[fewest]
    if slices < FEWEST_SLICES:
        return UNET, "{:.0f} voxel{} along {}: too few to halve in 3D".format(slices, "" if slices == 1 else "s", axis)
    if facts.anisotropy > MOST_ANISOTROPIC:
        axis = AXES[facts.coarse_axis]
        return UNET, "voxels are {:.1f} times as long along {} as across it".format(facts.anisotropy, axis)
    return VNET, "{:.0f} voxels and more along each axis: enough for 3D".format(slices)


def _choose_volumes(proposal):
    levels = _given_levels(proposal.given)
    if levels:
        proposal.settings.update(dict(_blocks(proposal, levels), **proposal.given))
    spacing = np.array(proposal.given.get("spacing", _median_spacing(proposal.facts)))
    sizes = proposal.facts.sizes * proposal.facts.spacings / spacing
    whole = shape_choice.whole(sizes, levels)
    if proposal.choose("sampling", *_sampling(proposal, sizes, whole)) == PATCH:
        proposal.choose("spacing", spacing.tolist(), "mm: the median of the scans")
        patch = shape_choice.patch(sizes, spacing, lambda shape: proposal.fits(PART, shape), levels)
        if isinstance(proposal.given.get("crop_shape"), list):
            patch = [max(sides) for sides in zip(patch, proposal.given["crop_shape"])]
        extent = by_axis("{:.0f}".format(mm) for mm in patch * spacing)
        shape = proposal.choose("input_shape", patch, "voxels: patches of {} mm".format(extent))
        shape = patch if shape == "auto" else shape
        share = proposal.settings["foreground_share"]
        reason = "of the patches lie on structures: {:.2g} % of the voxels do".format(100 * proposal.facts.shares.sum())
        proposal.choose("foreground_share", share, reason)
    else:
        if proposal.choose("fit", "pad", "every scan keeps its proportions") == "pad":
            proposal.choose("spacing", spacing.tolist(), "mm: the median of the scans")
        shape = proposal.choose("input_shape", whole, "voxels: room for three in four scans")
        shape = whole if shape == "auto" else shape
    levels = levels or shape_choice.levels_within(shape)
    reason = "convolutions: {} at the last level".format(by_axis(size // 2**levels for size in shape))
    blocks = _blocks(proposal, levels)
    proposal.choose("downscale_blocks", blocks["downscale_blocks"], reason)
    reason = "convolutions: {} at the last level, as in the recipe".format(blocks["upscale_blocks"][-1])
    proposal.choose("upscale_blocks", blocks["upscale_blocks"], reason)


def _blocks(proposal, levels):
    """The convolutions of so many levels as the recipe has them."""
    down, up = (proposal.settings[name] for name in ("downscale_blocks", "upscale_blocks"))
    return {"downscale_blocks": down[:1] * levels, "upscale_blocks": up[:1] * (levels - 2) + up[-1:]}


def _given_levels(given):
    """How often volumes are to be halved as far as flags that are given say so, or None."""
    if "downscale_blocks" in given:
        return len(given["downscale_blocks"])
    sizes = [size for name in SHAPES if isinstance(given.get(name), list) for size in given[name]]
    if "upscale_blocks" in given:
        entries = len(given["upscale_blocks"])
        # Without the finest skip connection, as the recipes have it, where that can be.
        can_be = entries < MOST_LEVELS and not any(size % 2 ** (entries + 1) for size in sizes)
        return entries + 1 if can_be else entries
    return shape_choice.levels_within(sizes) if sizes else None


def _sampling(proposal, sizes, whole):
    """What V-Net is to see of a scan, and why."""
    for name in ("fit", "input_shape"):
        if proposal.given.get(name, "auto") != "auto":
            return RESIZE, "--{} is given".format(name)
    largest = by_axis("{:.0f}".format(size) for size in sizes.max(axis=0))
    if not proposal.fits(WHOLE, whole):
        return PATCH, "{} voxels are too many at a time".format(by_axis(whole))
    if (sizes.max(axis=0) > ROOM * np.array(whole)).any():
        return PATCH, "scans of up to {} voxels have no room in {}".format(largest, by_axis(whole))
    return RESIZE, "every scan is seen whole: they have up to {} voxels".format(largest)


def _median_spacing(facts, coarser=1.0, axes=()):
    """In mm, with as many digits as one would type; ``coarser`` along some axes."""
    return [
        float("{:.4g}".format(mm * (coarser if axis in axes else 1))) for axis, mm in enumerate(facts.median_spacing)
    ]


def _choose_slices(proposal):
    facts = proposal.facts
    few = facts.median_size.min() < FEWEST_SLICES
    axis = int(np.argmin(facts.median_size)) if few else facts.coarse_axis
    reason = "the axis of fewest voxels" if few else "the axis of longest voxels"
    if facts.stacks:
        axis, reason = AXES.index("z"), "the pages of a stack"
    axis = AXES.index(proposal.choose("slice_axis", AXES[axis], reason))
    in_plane = [number for number in range(3) if number != axis]
    spacing = _choose_spacing_of_slices(proposal, in_plane)
    sizes = (facts.sizes * facts.spacings / spacing)[:, in_plane]
    levels = proposal.given.get("levels", shape_choice.levels_for(np.median(sizes, axis=0)))
    shape = proposal.choose("input_shape", shape_choice.whole(sizes, levels), "pixels: room for three in four slices")
    reason = "each of them halves a slice"
    if shape != "auto":
        bottom = [size // 2**levels for number, size in enumerate(shape) if len(shape) == 2 or number != axis]
        reason = "{} pixels at the bottom".format(by_axis(bottom))
    proposal.choose("levels", levels, reason)


def _choose_spacing_of_slices(proposal, in_plane):
    """The spacing that holds, in mm [3]: the median's, or a coarser one in the plane of large slices."""
    facts = proposal.facts
    if proposal.choose("fit", "pad", "every scan keeps its proportions") != "pad":
        return facts.median_spacing
    room = shape_choice.whole(facts.sizes * facts.spacings / facts.median_spacing, 1)
    coarser = max(1.0, np.sqrt(room[in_plane[0]] * room[in_plane[1]] / float(proposal.most_voxels(SLICE))))
    if facts.stacks and coarser == 1:
        # A pixel is a pixel.
        return facts.median_spacing
    reason = "pixels: 1" if facts.stacks else "mm: the median of the scans"
    if coarser > 1:
        reason += ", {:.2g} times as coarse in the slices, which take too long else".format(coarser)
    return np.array(proposal.choose("spacing", _median_spacing(facts, coarser, in_plane), reason))


def _choose_normalization(proposal):
    chosen = clipped_channels("auto", proposal.facts.modalities)
    if all(chosen):
        proposal.choose("data_normalization", "ct", "Hounsfield units mean the same in all scans")
    elif any(chosen):
        proposal.choose("data_normalization", "auto", "Hounsfield units mean the same in all scans; others do not")
    else:
        proposal.choose("data_normalization", "zscore", "the units of the intensities differ from scan to scan")


def training_cases(settings, facts):
    """How many cases are trained on, where one model holds out its share of them."""
    if settings["folds"]:
        return max(1, facts.training - -(-facts.training // settings["folds"]))
    return split.cases_trained_on(facts.training, settings["train_split"])


def items_of(settings, facts):
    """How many items an epoch has: the cases that are trained on, or their slices, or patches of them."""
    cases = training_cases(settings, facts)
    if settings["model"] != UNET:
        return cases * (settings["patches_per_case"] if settings["sampling"] == PATCH else 1)
    axis = AXES.index(settings["slice_axis"])
    total, filled = facts.sizes[: facts.training, axis].sum(), facts.filled[:, axis].sum()
    drawn = filled + settings["empty_slices"] * (total - filled)
    return max(1, int(drawn * cases / facts.training))


def _choose_length(proposal):
    """The split, batches and epochs."""
    settings, labelled = proposal.settings, proposal.facts.training
    if not settings["folds"] and labelled == 1:
        proposal.choose("train_split", 1.0, "there is one labelled case")
    elif not settings["folds"] and training_cases(settings, proposal.facts) == labelled:
        # With two digits, rounded down: the product is rounded to a whole number of cases.
        share = (100 * (labelled - 1) // labelled) / 100.0
        proposal.choose("train_split", share, "one of the {} labelled cases is held out".format(labelled))
    cases = training_cases(settings, proposal.facts)
    kind = "slices" if settings["model"] == UNET else "cases"
    if settings["model"] == VNET and settings["sampling"] == PATCH:
        kind, each = "patches", -(-STEPS_OF_PATCHES * settings["batch_size"] // cases)
        proposal.choose("patches_per_case", each, "an epoch of {} cases would be short".format(cases))
    items = items_of(settings, proposal.facts)
    batch_size = min(settings["batch_size"], max(1, items // FEWEST_STEPS))
    batch_size = proposal.choose("batch_size", batch_size, "of the {} {} of an epoch".format(items, kind))
    steps = -(-items // batch_size)
    # In whole quarters, so that what is measured last is the model.
    epochs = EVALUATIONS * -(-max(settings["train_epochs"], -(-STEPS // steps)) // EVALUATIONS)
    epochs = proposal.choose("train_epochs", epochs, "{} steps".format(epochs * steps))
    every = max(1, epochs // EVALUATIONS)
    proposal.choose("evaluate_every", every, "epochs between measurements of the held-out Dice")
    if epochs > CHECKPOINTS:
        proposal.choose("checkpoint_every", epochs // CHECKPOINTS, "epochs of {} steps are short".format(steps))

"""Recipes: named sets of defaults for the flags. A flag that is given wins over the recipe's value."""

import copy

from utils.config.flags import FLAGS
from utils.config.network_flags import UNET, VNET

# The published recipes: V-Net's are the defaults of the flags themselves.
REFERENCE = "reference"

# Accuracy in minutes, for both networks.
TUNED = {
    "fit": "pad",
    "input_shape": "auto",
    "data_normalization": "auto",
    "augment_rotation": 15.0,
    "augment_scaling": 0.2,
    "augment_shift": 3.0,
    "loss": "dice_ce",
    "optimizer": "adam",
    "base_lr": 0.001,
    "lr_schedule": "cosine",
    "lr_warmup_steps": 200,
}

RECIPES = {
    (REFERENCE, VNET): {},
    # The last blocks are the costly ones: of as much time, more epochs with fewer convolutions there make more.
    ("tuned", VNET): dict(TUNED, crop_shape="auto", upscale_blocks=[1, 1], train_epochs=40, evaluate_every=10),
    # Ronneberger, Fischer and Brox 2015, sections 2 and 3.
    (REFERENCE, UNET): {
        "input_shape": "auto",
        "normalization_layer": "none",
        "loss": "weighted_ce",
        "optimizer": "sgd",
        "momentum": 0.99,
        "base_lr": 0.001,
        "batch_size": 1,
        "augment_elastic": 10.0,
        "augment_elastic_knots": 3,
    },
    ("tuned", UNET): dict(
        TUNED,
        filters=16,
        padding="same",
        dropout=0.0,
        empty_slices=0.3,
        batch_size=16,
        train_epochs=8,
        evaluate_every=2,
    ),
}


def named():
    """The sets that differ from the flags' own defaults: (name, values) pairs, such as ("tuned unet", {...})."""
    parts = [
        ([recipe] * (recipe != REFERENCE) + [model] * (model != VNET), RECIPES[recipe, model])
        for recipe, model in RECIPES
    ]
    return [(" ".join(words), values) for words, values in parts if words]


def defaults(recipe=REFERENCE, model=VNET):
    """The value of every flag where none is given: a dict of copies, so that nobody changes the table."""
    values = {name: flag.default for name, flag in FLAGS.items()}
    return copy.deepcopy(dict(values, model=model, **RECIPES[recipe, model]))

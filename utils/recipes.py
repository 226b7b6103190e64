"""Recipes: named sets of defaults for the flags. A flag that is given wins over the recipe's value."""

import copy

from utils.flags import FLAGS

# The published recipe: the defaults of the flags themselves.
REFERENCE = "reference"

RECIPES = {
    REFERENCE: {},
    # Accuracy in minutes.
    "tuned": {
        "fit": "pad",
        "input_shape": "auto",
        "crop_shape": "auto",
        "upscale_blocks": [3, 1],
        "augment_rotation": 15.0,
        "augment_scaling": 0.2,
        "augment_shift": 3.0,
        "loss": "dice_ce",
        "optimizer": "adam",
        "base_lr": 0.001,
        "lr_schedule": "cosine",
        "lr_warmup_steps": 200,
        "train_epochs": 28,
        "evaluate_every": 7,
    },
}


def defaults(recipe):
    """The value of every flag where none is given: a dict of copies, so that nobody changes the table."""
    values = {name: flag.default for name, flag in FLAGS.items()}
    return copy.deepcopy(dict(values, **RECIPES[recipe]))

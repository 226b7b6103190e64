"""Where a model's checkpoints lie in its folder, and whether there are any."""

import glob
import os

from utils.model_dir import settings as model_settings

BEST_FOLDER = "best"


def trained_settings(model_dir):
    """Returns what `load` finds in a folder, or None where no training has left a checkpoint of it there yet."""
    stored = model_settings.load(model_dir)
    trained = stored is not None and any(map(has_checkpoint, model_folders(model_dir, stored["folds"])))
    return stored if trained else None


def model_folders(model_dir, folds):
    """Returns the folders of the models in `model_dir`: itself, or one for each fold of a cross-validation."""
    return [os.path.join(model_dir, "fold_{}".format(fold)) for fold in range(folds)] if folds else [model_dir]


def checkpoint_folders(params):
    """Returns the folders of the checkpoints that evaluation and prediction use: the last ones, or the best."""
    folders = model_folders(params["model_dir"], params["folds"])
    return [os.path.join(folder, BEST_FOLDER) for folder in folders] if params["checkpoint"] == "best" else folders


def has_checkpoint(folder):
    """Tells whether there are checkpoints in a folder, be it that they can be used or not."""
    # The list that TensorFlow makes of them tells of those whose index was lost, too.
    listed = os.path.exists(os.path.join(folder, "checkpoint"))
    return listed or bool(glob.glob(os.path.join(glob.escape(folder), "*.index")))

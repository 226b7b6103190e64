#!/usr/bin/env python3
"""Trains and evaluates the original's graph as main.py does this recipe's: the same flags, cases, files and scores.

Flags that the graph would not follow are refused.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import main
from utils.config.flags import FLAGS
from utils.system import interruption, launch
from utils.system.errors import UserError

PROGRAM = "original_run.py"
# The hook that evaluates during training has this recipe's network.
REQUIRED = {"exec_mode": "train_and_evaluate", "evaluate_every": 0}
FOLLOWED = ("data_dir", "model_dir", "input_shape", "downscale_blocks", "upscale_blocks", "train_split", "split_seed")
FOLLOWED += ("seed", "threads", "batch_size", "train_epochs", "base_lr", "augment", "checkpoint_every")
# They follow from --model_dir where they are not given.
FOLLOWED += ("log_dir", "cache_dir")


def run(settings, cases):
    """Trains and evaluates; raises UserError as the runner does, and for flags that the graph would not follow."""
    if launch.size() > 1:
        raise UserError("several workers: the original's graph does not average their gradients")
    for name, flag in FLAGS.items():
        required = REQUIRED.get(name, flag.default)
        if name not in FOLLOWED and settings[name] != required:
            raise UserError("--{} {}: the original's run has {}".format(name, settings[name], required))
    from benchmarks.original import model_fn
    from utils.runner import run as run_with

    run_with(settings, cases, model_fn)


if __name__ == "__main__":
    interruption.leave(main.main(program=PROGRAM, run=run))

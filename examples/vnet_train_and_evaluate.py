#!/usr/bin/env python3
"""Trains V-Net on 9/10 of the labelled cases of a task, with flips, and scores the other 1/10, on one GPU or many."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

with startup.loading("vnet_train_and_evaluate.py"):
    from examples import launching

if __name__ == "__main__":
    preset = [("--train_split", "0.9"), ("--augment",)]
    sys.exit(launching.main("vnet_train_and_evaluate.py", __doc__, "train_and_evaluate", preset))

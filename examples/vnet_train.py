#!/usr/bin/env python3
"""Trains V-Net on all labelled cases of a task, with flips, on one GPU or many."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

with startup.loading("vnet_train.py"):
    from examples import launching

if __name__ == "__main__":
    sys.exit(launching.main("vnet_train.py", __doc__, "train", [("--train_split", "1.0"), ("--augment",)]))

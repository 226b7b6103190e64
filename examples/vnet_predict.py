#!/usr/bin/env python3
"""Writes masks of the test images of a task, or of --images, with a trained V-Net."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

with startup.loading("vnet_predict.py"):
    from examples import launching

if __name__ == "__main__":
    sys.exit(launching.main("vnet_predict.py", __doc__, "predict"))

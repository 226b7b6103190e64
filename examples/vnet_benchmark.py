#!/usr/bin/env python3
"""Measures images per second and step times of training or prediction, on one GPU or many."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils.system import startup

with startup.loading("vnet_benchmark.py"):
    from examples import benchmarking

if __name__ == "__main__":
    sys.exit(benchmarking.main("vnet_benchmark.py", __doc__))

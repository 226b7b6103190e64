"""The parts of a run on TensorFlow: workers, sessions, prepared cases, training, cross-validation and the benchmark.

`utils/runner.py` puts them together.
What follows a training step by step is in `utils/hooks`, the path from a case to its mask in `utils/inference`.
"""

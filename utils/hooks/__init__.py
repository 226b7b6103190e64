"""What follows a training in its session: progress, checkpoints, held-out scores, profiling, and the stop by a signal.

Each module is one hook of the Estimator.
What the hooks write to the model's folder is laid out in `utils/model_dir`.
"""

"""The flags of main.py: what each one means, how a command line is read, and what contradicts what.

The recipes, which are sets of defaults, and the values of `--exec_mode` live here too.
What needs the task or the model's folder lies above: `utils/params.py`, `utils/job.py` and `utils/model_dir`.
"""

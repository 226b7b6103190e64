"""A look at a task and its scans before anything is trained: `--exec_mode check`, and warnings about single scans.

The facts of each case, read one scan at a time, live here.
What follows from them for the settings is in `utils/planning`.
"""

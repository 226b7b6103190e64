"""``--exec_mode plan``: what a task is, settings to begin with, and what they will take on this machine.

The plan is proposed from the facts of the cases, estimated, and tried for a few steps in a process of its own.
The facts come from `utils/inspection`; nothing else in `utils/` uses this package.
"""

"""``--exec_mode plan``: what a task is, settings to begin with, and what they will take on this machine."""

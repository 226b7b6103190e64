"""The machine, the process and its files: memory, cores, signals, errors, progress, and files that appear whole.

Every other package may use what lives here.
Nothing here knows of scans, networks or flags.
"""

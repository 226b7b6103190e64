"""The files in a model's folder: settings, checkpoints, lock, log, and the record of each run.

Whether a run may use the folder, and what it goes on from, is decided here.
Masks and tables are written by `utils/inference` and `utils/evaluation`, the report by `utils/html_report`.
"""

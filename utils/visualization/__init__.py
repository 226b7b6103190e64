"""Pictures of a run: a case with its mask in three planes, overlays for TensorBoard, and the curves of the training.

The reading of the log that the curves are drawn from lives here too.
The report for a browser is in `utils/html_report`.
"""

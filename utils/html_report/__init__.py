"""The report: one HTML file that shows a run's settings, curves and scores, and its masks over the scans.

Its template, style and script lie beside the modules that fill them.
Nothing is computed here but what is shown: scores are those of `utils/evaluation`.
"""

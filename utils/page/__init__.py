"""The report page: one file that shows a run's settings, curves and scores, and its masks over the scans."""

"""Scores of masks, their statistics, and the tables of them: evaluation.json, predictions.json, and their CSV files.

How certain the network is, and which structures its masks lack, are told here too.
Making masks is in `utils/inference`, showing scores in a browser in `utils/html_report`.
"""

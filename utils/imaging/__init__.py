"""Tasks, their cases, and the files of these: which there are, how they are read and written, where voxels lie.

Resampling between two grids and the split into training and held-out cases live here too.
What is done to intensities and shapes before the network sees them is in `utils/preprocessing`.
"""

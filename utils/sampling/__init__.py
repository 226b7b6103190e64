"""What the network gets of a prepared case: all of it, a slice or a patch, and how training changes it at random.

The windows of prediction live here, and how their answers are put together.
The batches of these samples are made in `utils/data_loader.py`.
"""

"""What `download_dataset.py` does: downloads that resume, archives that are not trusted, and the made-up tasks.

The phantom of volumes and the phantom of image stacks live here.
Nothing here is used by a run.
"""

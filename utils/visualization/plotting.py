"""The only module that imports matplotlib: what draws is taken from here.

Pictures are made by its Agg canvas alone, and never depend on the backend that the user's environment asks for: Jupyter
and Colab set MPLBACKEND to one that matplotlib finds in their own environment only.
"""

import contextlib
import os

BACKEND = "MPLBACKEND"


@contextlib.contextmanager
def _without(name):
    """Leave a variable out of the environment within."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


# matplotlib reads the variable while it loads.
with _without(BACKEND):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.image import imsave
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyBboxPatch
    from matplotlib.ticker import MaxNLocator

__all__ = ["FancyBboxPatch", "Figure", "FigureCanvasAgg", "Line2D", "MaxNLocator", "imsave", "to_rgb"]

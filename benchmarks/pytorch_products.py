"""What the machine can do at most: matrix products in PyTorch, GFLOP per second."""

import torch

from benchmarks.contender import Built
from utils.system.environment import available_cores


def build(given, contender):
    """Returns the `Built` of the cells."""
    torch.set_num_threads(available_cores())
    side = given.product_side
    steps = {name: (_product(name.split(":")[1], side), 2e-9 * side**3) for name in given.cells}
    return Built("PyTorch {}".format(torch.__version__), None, steps)


def _product(precision, side):
    """A function that multiplies two square matrices of that side."""
    left, right = (torch.randn(side, side).to(getattr(torch, precision)) for _ in range(2))
    result = torch.empty_like(left)

    def step():
        torch.mm(left, right, out=result)
        return 0.0

    return step

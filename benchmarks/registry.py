"""Who is measured: the contenders, and the cells of the table that each of them fills."""

import fnmatch
import os
from typing import NamedTuple, Optional, Tuple

from utils.system.environment import available_cores
from utils.system.errors import UserError

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORCH_PYTHON = os.path.join(PROJECT, ".venv-torch", "bin", "python")
KINDS = ("train", "predict", "product")
PRECISIONS = ("float32", "bfloat16")


class Contender(NamedTuple):
    """One long-lived process, or one group of workers, that is measured.

    Attributes:
        name: what it is called in flags and files.
        title: what it is called in the table.
        module: module of `benchmarks` that builds it.
        precision: "float32" or "bfloat16", the products its arithmetic consists of; None for both.
        kinds: what it does: "train", "predict", "product".
        per_core: whether a worker for each core is started rather than one for all.
        torch: whether it runs in PyTorch's environment.
        biases: whether its convolutions have biases that batch norm undoes; None where it has no network.
    """

    name: str
    title: str
    module: str
    precision: Optional[str]
    kinds: Tuple[str, ...] = ("train", "predict")
    per_core: bool = False
    torch: bool = False
    biases: Optional[bool] = False


class Cell(NamedTuple):
    """One figure of the table: a contender's name, a kind, and the batch size per worker, or a product's precision."""

    contender: str
    kind: str
    variant: str

    @property
    def name(self):
        """As --only and the JSON file name it."""
        return ":".join(self)


CONTENDERS = (
    Contender("original", "the original's graph", "original", "float32", biases=True),
    Contender("ours-float32", "ours", "ours", "float32"),
    Contender("ours-mixed", "ours, mixed precision", "ours", "bfloat16"),
    Contender("ours-workers-float32", "ours, a worker per core", "ours", "float32", per_core=True),
    Contender("ours-workers-mixed", "ours, mixed precision, a worker per core", "ours", "bfloat16", per_core=True),
    Contender("pytorch-float32", "PyTorch", "pytorch", "float32", torch=True),
    Contender("pytorch-bfloat16", "PyTorch, bfloat16 autocast", "pytorch", "bfloat16", torch=True),
    Contender("products", "matrix products, TensorFlow", "products", None, ("product",), biases=None),
    Contender(
        "pytorch-products", "matrix products, PyTorch", "pytorch_products", None, ("product",), torch=True, biases=None
    ),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}


def cells(train_batch_sizes, predict_batch_sizes, only=()):
    """Returns the tuple of `Cell`s to measure, those that are compared next to each other.

    Args:
        train_batch_sizes, predict_batch_sizes: images per step of each worker.
        only: shell patterns; where there are any, a cell is measured when one of them matches its name
            "contender:kind:variant" or the beginning of it.

    Raises UserError for a pattern that matches nothing.
    """
    variants = {"train": train_batch_sizes, "predict": predict_batch_sizes, "product": PRECISIONS}
    found = tuple(
        Cell(contender.name, kind, str(variant))
        for kind in KINDS
        for variant in variants[kind]
        for contender in CONTENDERS
        if kind in contender.kinds
    )
    for pattern in only:
        if not any(_matches(cell, pattern) for cell in found):
            raise UserError(
                "--only {}: matches no cell, which are named like {}".format(
                    pattern, " or ".join(cell.name for cell in (found[0], found[-1]))
                )
            )
    return tuple(cell for cell in found if not only or any(_matches(cell, pattern) for pattern in only))


def groups(cells):
    """Returns the cells in the order of a round: those of a kind and batch size, followed by all products, and so on.

    So the machine's limit is measured beside what is compared with it. A list of lists of `Cell`s.
    """
    products = [cell for cell in cells if cell.kind == "product"]
    networks = [cell for cell in cells if cell.kind != "product"]
    names = list(dict.fromkeys((cell.kind, cell.variant) for cell in networks))
    return [[cell for cell in networks if (cell.kind, cell.variant) == name] + products for name in names] or [products]


def _matches(cell, pattern):
    return fnmatch.fnmatchcase(cell.name, pattern) or fnmatch.fnmatchcase(cell.name, pattern + ":*")


def workers(contender):
    """Returns how many workers a contender is started in."""
    return available_cores() if contender.per_core else 1

"""Which labelled cases are trained on and which are held out."""

import os
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from utils.system.errors import UserError
from utils.system.files import RESTORE, read_json, write_json_atomically

FILE_NAME = "split.json"
NAMES_IN_A_MESSAGE = 3


def split_cases(names, train_split, split_seed):
    """Returns the names to train on and the names held out, two sorted lists that share nothing and miss nothing.

    The sorted names are shuffled with `split_seed`, so the split depends on the set of names and on the two
    numbers alone. The number trained on is len(names) * train_split, rounded half up.

    Raises UserError where nothing is left to train on, or nothing is held out although train_split is below 1.
    """
    names = sorted(names)
    count = cases_trained_on(len(names), train_split)
    whose = "--train_split {} of {} labelled case{}".format(train_split, len(names), "" if len(names) == 1 else "s")
    if count == 0:
        remedy = "use a larger value" if names else 'list some as "training" in its dataset.json'
        raise UserError("{} leaves none to train on: {}".format(whose, remedy))
    if count == len(names) and train_split < 1:
        remedy = "use a smaller value, or 1.0 to train on all" if count > 1 else "use 1.0 to train on it, or add cases"
        raise UserError("{} leaves none to evaluate: {}".format(whose, remedy))
    order = np.random.RandomState(split_seed).permutation(len(names))
    training = sorted(names[index] for index in order[:count])
    held_out = sorted(names[index] for index in order[count:])
    return training, held_out


def cases_trained_on(cases, train_split):
    """Returns how many of so many cases are trained on."""
    # In decimal, as the user wrote it: as binary floats, 45 cases at 0.7 come to a little under 31.5.
    return int((Decimal(str(train_split)) * cases).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def fold_cases(names, folds, split_seed):
    """Returns for each fold the names to train on and the names held out, sorted: every name is held out once.

    The sorted names are shuffled with `split_seed` and dealt out in turn, so that folds differ by one case at most.

    Raises UserError where there are fewer names than folds.
    """
    names = sorted(names)
    if len(names) < folds:
        remedy = "use fewer folds" if len(names) > 1 else "add cases, which each model needs to train on"
        whose = "{} labelled case{}".format(len(names), "" if len(names) == 1 else "s")
        raise UserError("--folds {}: the task has {}: {}".format(folds, whose, remedy))
    order = np.random.RandomState(split_seed).permutation(len(names))
    held_out = [sorted(names[index] for index in order[fold::folds]) for fold in range(folds)]
    return [(sorted(set(names) - set(own)), own) for own in held_out]


def write_split(model_dir, train_split, split_seed, training, held_out):
    """Writes the split to `<model_dir>/split.json`, atomically; what is known there of the cases' contents stays."""
    names = list(training) + list(held_out)
    before = (read_split(model_dir) or {}).get("contents", {})
    known = {name: before[name] for name in names if name in before}
    split = {
        "split_seed": split_seed,
        "train_split": train_split,
        "training": list(training),
        "held_out": list(held_out),
    }
    write_json_atomically(os.path.join(model_dir, FILE_NAME), dict(split, **({"contents": known} if known else {})))


def write_contents(model_dir, contents):
    """Adds the contents of cases, a dict of name to hash, to `<model_dir>/split.json`, which must be there."""
    split = read_split(model_dir)
    known = dict(split.get("contents", {}), **contents)
    write_json_atomically(os.path.join(model_dir, FILE_NAME), dict(split, contents=known))


def changed_contents(model_dir, contents, former):
    """Returns in words which of the cases are not what they were; None where none is known.

    Args:
        model_dir: the model's folder.
        contents: dict of name to hash.
        former: the same as earlier releases told it, which stands in `split.json` where they wrote it.
    """
    known = (read_split(model_dir) or {}).get("contents", {})
    changed = [name for name, found in contents.items() if known.get(name, found) not in (found, former.get(name))]
    return "{} of {}: {}".format(len(changed), len(contents), _few(changed)) if changed else None


def read_split(model_dir):
    """Returns what write_split wrote there, as a dict, or None where there is no such file.

    Raises UserError where the file is damaged.
    """
    path = os.path.join(model_dir, FILE_NAME)
    if not os.path.exists(path):
        return None
    split = read_json(path)
    if not isinstance(split, dict) or not all(_is_list_of_names(split.get(side)) for side in ("training", "held_out")):
        raise UserError('{}: is damaged, it lacks the lists "training" and "held_out": {}'.format(path, RESTORE))
    if not isinstance(split.get("contents", {}), dict):
        raise UserError('{}: is damaged, "contents" holds no hashes: delete that entry'.format(path))
    return split


def check_stored_split(model_dir, training, held_out):
    """Raises UserError if `<model_dir>/split.json` exists and holds another split than this one."""
    stored = read_split(model_dir)
    if stored is None or (stored["training"] == list(training) and stored["held_out"] == list(held_out)):
        return
    before = set(stored["training"] + stored["held_out"])
    now = set(training) | set(held_out)
    moved = (set(stored["training"]) & set(held_out)) | (set(stored["held_out"]) & set(training))
    # Cases that come or go shift others from one side to the other: those are no news then.
    changes = [("new", now - before), ("gone", before - now)] if now != before else [("on the other side", moved)]
    told = "; ".join("{}: {}".format(what, _few(names)) for what, names in changes if names)
    raise UserError(
        "{}: the labelled cases are not those of this split any more ({}): use another --model_dir, or the task "
        "as it was".format(os.path.join(model_dir, FILE_NAME), told or "repeated or in another order")
    )


def _is_list_of_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _few(names):
    names = sorted(names)
    more = len(names) - NAMES_IN_A_MESSAGE
    return ", ".join(names[:NAMES_IN_A_MESSAGE]) + (" and {} more".format(more) if more > 0 else "")

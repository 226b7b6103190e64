"""Which structures masks lack, though most of the other cases' masks have them: what no uncertainty tells."""

# What the size of a structure in a mask is called, and in the truth.
SIZES = (("volume_ml", "true_volume_ml"), ("area_pixels", "true_area_pixels"))
MOST_TOLD = 5


def not_found(cases):
    """Returns for each case a list of the structures that were not found in it.

    Those are in no voxel of its mask, but in the masks of more than half of the other cases. One that is often absent,
    such as a tumour, is none of them, nor is one of which the truth says that it is absent.

    Args:
        cases: the "cases" of an evaluation.json or a predictions.json.
    """
    has = [_in_mask(case) for case in cases]
    counts = {}
    for structures in has:
        for structure, is_there in structures.items():
            counts[structure] = counts.get(structure, 0) + is_there
    return [
        [name for name, is_there in structures.items() if not is_there and 2 * counts[name] > len(cases) - 1]
        for structures in has
    ]


def _in_mask(case):
    """Whether the mask has each structure; without those that are not there to be found."""
    for size, true_size in SIZES:
        if isinstance(case.get(size), dict):
            true = case.get(true_size)
            true = true if isinstance(true, dict) else {}
            return {name: value != 0 for name, value in case[size].items() if value != 0 or true.get(name) != 0}
    return {}


def lines(cases):
    """Returns a list of one line that names them, an empty one where all were found; ``cases`` as above."""
    pairs = zip(cases, not_found(cases))
    told = ["{} in {}".format(structure, case["case"]) for case, structures in pairs for structure in structures]
    if not told:
        return []
    more = len(told) - MOST_TOLD
    return ["not found: " + ", ".join(told[:MOST_TOLD]) + (" and {} more".format(more) if more > 0 else "")]

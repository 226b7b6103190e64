"""What many cases say together: the certainty of a mean, and whether one figure ranks cases as another does."""

import numpy as np

RESAMPLES = 10000
SEED = 0
# Numbers drawn at a time, so that memory stays small however many cases there are.
DRAWN = 1 << 22


def bootstrap_interval(values):
    """Returns the 95 % interval of the mean, float64 [2], lower end first; NaN for fewer than two values.

    The percentile bootstrap over the cases (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter
    13): 10,000 resamples of a fixed seed, so that the same values always have the same interval.

    Args:
        values: [N] float, one per case, none of them NaN.
    """
    values = np.asarray(values, np.float64)
    if values.size < 2:
        return np.full(2, np.nan)
    random = np.random.RandomState(SEED)
    means, at_a_time = [], max(1, DRAWN // values.size)
    for start in range(0, RESAMPLES, at_a_time):
        count = min(at_a_time, RESAMPLES - start)
        means.append(values[random.randint(values.size, size=(count, values.size))].mean(axis=1))
    return np.percentile(np.concatenate(means), [2.5, 97.5])


def rank_correlation(first, second):
    """Returns Spearman's rank correlation of two [N] arrays, -1 to 1; equal values share the mean of their ranks.

    Pairs with a NaN are left out. NaN where fewer than three are left, or all values of one are equal.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    defined = ~(np.isnan(first) | np.isnan(second))
    if np.count_nonzero(defined) < 3:
        return np.nan
    first, second = (_centred_ranks(values[defined]) for values in (first, second))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return (first * second).sum() / size if size else np.nan


def _centred_ranks(values):
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return ranks[place] - (len(values) + 1) / 2.0

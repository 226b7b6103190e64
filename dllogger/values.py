"""Any value a program may log -> what JSON can hold."""

import math


def plain(value):
    """Returns `value` made of dict, list, str, bool, int, finite float and None alone.

    NumPy scalars and arrays become Python numbers and lists. NaN and the infinities, which JSON does not
    have, become None. Whatever else there is (a path, a dtype) becomes its text.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)

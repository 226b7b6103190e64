"""Files that appear finished or not at all, and JSON in them."""

import contextlib
import json
import os
import uuid

from utils.errors import UserError


@contextlib.contextmanager
def replace_on_success(path, extension=None):
    """Gives the path of a temporary file to write; on success it becomes `path`, on failure it is removed.

    The temporary file lies in the folder of `path` (made where missing). Its name ends like that of `path`, or
    with `extension` where one is given, for writers that choose a format by it. A file that was at `path` stays as
    it was until the new one is complete.

    Raises UserError naming `path` where the system refuses to write; any other error passes through.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, ".{}{}".format(uuid.uuid4().hex, extension or "." + name))
    try:
        os.makedirs(folder, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError("{}: cannot be written: {}".format(path, error)) from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_json_atomically(path, value):
    """Writes `value` as indented UTF-8 JSON to `path`.

    Raises UserError where the system refuses, ValueError for NaN or infinity (use None) and TypeError for what
    JSON cannot hold; in each case a file that was there is untouched.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replace_on_success(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)


def read_json(path):
    """Returns the value in the JSON file `path`; raises UserError where it cannot be read or is no JSON."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except OSError as error:
        raise UserError("{}: cannot be read: {}".format(path, error.strerror)) from error
    except (ValueError, RecursionError) as error:
        raise UserError("{}: is damaged, no valid JSON: {}".format(path, error)) from error

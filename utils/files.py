"""Files that are either complete or not there, and JSON in them."""

import contextlib
import json
import os
import uuid

from utils.errors import UserError


@contextlib.contextmanager
def complete_file(path, extension=""):
    """Give the path of a temporary file beside `path`; rename it to `path` once the block has finished.

    The temporary name ends with `extension`, for writers that choose the format by it. If the block
    raises, the temporary file is removed and whatever was at `path` stays as it was.
    """
    temporary = os.path.join(os.path.dirname(path), ".unfinished-" + uuid.uuid4().hex + extension)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


@contextlib.contextmanager
def replace_on_success(path):
    """Like complete_file, with the extension of `path` and its folder made where it is missing.

    Raises UserError naming `path` where the system refuses to write; any other error passes through.
    """
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder or ".", exist_ok=True)
        with complete_file(path, "." + name) as temporary:
            yield temporary
    except OSError as error:
        raise UserError("{}: cannot be written: {}".format(path, error)) from error


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

"""Files that appear finished or not at all, and JSON in them."""

import codecs
import contextlib
import errno
import json
import os
import re
import stat

from utils.system.errors import CannotWrite, UserError
from utils.system.temporary_files import temporary_name

# Characters of a file's name that its temporary one ends with: its extensions, and no more than names may be long.
ENDING = 20
# What to do about a damaged file of a model's folder.
RESTORE = "put back a whole copy, or train in another --model_dir"
# How editors on Windows begin a text.
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What file systems say that have no fsync.
NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def replace_on_success(path, extension=None, durable=True):
    """Gives the path of a temporary file to write; on success it becomes `path`, on failure it is removed.

    The temporary file lies in the folder of `path` (made where missing). Its name ends like that of `path`, or
    with `extension` where one is given, for writers that choose a format by it. A file that was at `path` stays as
    it was until the new one is complete. With `durable` the new one is on the disk before it gets its name, so that
    no power cut leaves an empty file there; what can be made anew at any time does without.

    Raises CannotWrite, a UserError, naming `path` where the system refuses to write; any other error passes through.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, temporary_name(extension or "." + name[-ENDING:]))
    try:
        os.makedirs(folder, exist_ok=True)
        yield temporary
        if durable:
            _bring_to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise CannotWrite("{}: cannot be written: {}".format(path, error.strerror or error)) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _bring_to_disk(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


def write_json_atomically(path, value):
    """Writes `value` as indented UTF-8 JSON to `path`. Bytes of file names that are no UTF-8 go into it as escapes.

    Raises CannotWrite where the system refuses, ValueError for NaN or infinity (use None) and TypeError for what
    JSON cannot hold; in each case a file that was there is untouched.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Python has them as lone surrogates, which UTF-8 cannot hold; read back, they are the same again.
    text = re.sub("[\ud800-\udfff]", lambda found: "\\u{:04x}".format(ord(found.group())), text)
    with replace_on_success(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)


def read_json(path):
    """Returns the value in the JSON file `path`; raises UserError where it cannot be read or is no JSON."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # A pipe would be waited for.
            raise UserError("{}: cannot be read: is no file".format(path))
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise UserError("{}: cannot be read: {}".format(path, error.strerror)) from error
    if content.startswith(MARKS):
        raise UserError("{}: begins with a byte order mark: save it anew, as UTF-8 without one".format(path))
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_without_repeated_keys)
    except UnicodeDecodeError as error:
        raise UserError("{}: is damaged, no valid JSON, as it is not in UTF-8: save it anew".format(path)) from error
    except (ValueError, RecursionError) as error:
        raise UserError("{}: is damaged, no valid JSON: {}: correct it, or get it again".format(path, error)) from error


def _without_repeated_keys(pairs):
    """What an object holds; of a key that is there twice, readers would silently take the last."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError("the key {} comes twice in an object".format(ascii(key)))
        found[key] = value
    return found

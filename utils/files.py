"""Files that are either complete or not there."""

import contextlib
import os
import uuid


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

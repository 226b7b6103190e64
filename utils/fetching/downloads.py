"""Bring an archive here: downloads that resume, and are checked before anybody uses them."""

import contextlib
import fcntl
import hashlib
import os
import posixpath
import sys
import time

import requests

from utils.fetching.transfer import CHUNK_BYTES, MEGABYTE, byte_progress, check_room, one_line
from utils.system.errors import UserError
from utils.system.printable import printable

# When a connection breaks, what of a chunk has arrived is lost: small ones bring slow lines forward.
RECEIVED_CHUNK_BYTES = 1 << 14
CONNECT_SECONDS, READ_SECONDS = 15, 60
# The largest task of the Medical Segmentation Decathlon has 29 GB.
LARGEST_ARCHIVE = 64 * 10**9
# Answers that the same request may well not get the next time.
PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)


class SourceUnavailable(UserError):
    """The archive cannot be had from this address; it may be had from another."""


class _BrokenConnection(Exception):
    """What there was to receive ended early; asking again may bring the rest."""


def download(url, path, md5, attempts=5, pause=1.0):
    """Download `url` to `path`, which appears once it is complete and its MD5 (hexadecimal digits) is right.

    What has arrived is kept in `path`.part, and a later call goes on from there where the server supports range
    requests. After `attempts` connections in a row that bring nothing new, SourceUnavailable is raised; the wait
    between connections begins at `pause` seconds and doubles. Raises SourceUnavailable also for an address that cannot
    be asked or that answers with a refusal, with a web page, with nothing or with more than an archive can be, and
    UserError where the checksum is wrong (what has arrived is removed then), the disk is too full or another process is
    downloading the same file.
    """
    partial = path + ".part"
    with _open_locked(partial) as stream:
        try:
            _receive_all(url, stream, attempts, pause)
        finally:
            stream.flush()
            if os.path.getsize(partial) == 0:
                os.remove(partial)
        _accept(partial, path, md5, url)


def download_from_google_drive(url, path, md5):
    """Download `url`, a Google Drive address, to `path` as `download` does, by way of the package gdown.

    gdown keeps its own partial files beside `path` and goes on from them in a later call. Raises SourceUnavailable
    where gdown is not installed or does not get the file, UserError where the checksum is wrong.
    """
    try:
        import gdown
    except ImportError as error:
        raise SourceUnavailable(
            "--source google_drive: needs the package gdown, which is not installed; run: pip install gdown"
        ) from error
    received = path + ".gdown"
    try:
        answer = gdown.download(url=url, output=received, quiet=not sys.stderr.isatty(), use_cookies=False, resume=True)
    except Exception as error:  # gdown's releases differ in what they raise, and share no base class.
        raise SourceUnavailable("{}: gdown: {}".format(url, one_line(error))) from error
    if answer is None:
        raise SourceUnavailable("{}: gdown could not get the file; try --source mirror".format(url))
    _accept(received, path, md5, url)


def md5_of(path):
    """Return the MD5 of the file at `path` as hexadecimal digits."""
    digest = hashlib.md5()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _open_locked(partial):
    """Open `partial` to append, for this process alone."""
    with open(partial, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError("{}: another process is downloading it; wait until it is done".format(partial)) from error
        yield stream


def _accept(received, path, md5, url):
    """Give the file `received` its final name `path` if its checksum is right, remove it if not."""
    found = md5_of(received)
    if found != md5:
        os.remove(received)
        raise UserError(
            "{}: what arrived has MD5 {} instead of {} and was removed; run the command again, or choose another "
            "--source or --url".format(url, found, md5)
        )
    os.replace(received, path)


def _receive_all(url, stream, attempts, pause):
    """Append to `stream` what it lacks of `url`, over as many connections as bring something new."""
    furthest = stream.seek(0, os.SEEK_END)
    fruitless = 0
    while True:
        try:
            return _receive(url, stream)
        except _BrokenConnection as error:
            size = stream.seek(0, os.SEEK_END)
            fruitless = 0 if size > furthest else fruitless + 1
            furthest = max(furthest, size)
            if fruitless >= attempts:
                raise SourceUnavailable(
                    "{}: {}, {} times in a row; run the command again to go on from {:.1f} MB, or choose another "
                    "--source or --url".format(url, error, attempts, size / MEGABYTE)
                ) from error
            wait = pause * 2 ** max(fruitless - 1, 0)
            line = printable("{}: {}; trying again in {:.0f} s".format(url, error, wait))
            print(line, file=sys.stderr, flush=True)
            time.sleep(wait)


def _receive(url, stream):
    """Append to `stream` what it lacks of `url`, over one connection; raises _BrokenConnection if that did not do."""
    present = stream.seek(0, os.SEEK_END)
    # Content encodings would make byte offsets meaningless.
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = "bytes={}-".format(present)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
            if response.status_code == 416 and present:
                return  # Nothing lies beyond what is here; the checksum tells whether it is the right thing.
            _check_status(url, response)
            _copy_body(response, stream, present if _continues(response, present) else 0)
    except (requests.TooManyRedirects, ValueError) as error:  # All that is wrong with an address is a ValueError.
        raise SourceUnavailable("{}: cannot be asked: {}".format(url, one_line(error))) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _BrokenConnection("the connection ended early") from error
    except requests.RequestException as error:
        raise _BrokenConnection("the connection broke ({})".format(one_line(error))) from error


def _check_status(url, response):
    answer = "the server answered {} {}".format(response.status_code, response.reason)
    if response.status_code in PASSING_STATUSES:
        raise _BrokenConnection(answer)
    if response.status_code not in (200, 206):
        raise SourceUnavailable("{}: {}; choose another --source or --url".format(url, answer))
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind.startswith("text/"):
        raise SourceUnavailable(
            "{}: the server sent a page ({}) instead of an archive; choose another --source or --url".format(url, kind)
        )


def _continues(response, present):
    """Tell whether the body begins at byte `present`; a server without range requests sends all of it again."""
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith("bytes {}-".format(present))


def _copy_body(response, stream, present):
    if response.status_code == 206 and not _continues(response, present):
        stream.truncate(0)  # The next time all of it is asked for.
        raise _BrokenConnection("the server sent another part than was asked for")
    total = _total_size(response, present)
    if total is not None:
        _check_size(total, response.url)
        check_room(os.path.dirname(stream.name), total - present)
    with byte_progress("downloading " + printable(posixpath.basename(response.url)), total, present) as count:
        size = present
        for chunk in response.iter_content(RECEIVED_CHUNK_BYTES):
            if size == 0:
                # No sooner, as an answer without content must not cost what came before.
                stream.truncate(0)
                stream.seek(0)
            stream.write(chunk)
            count(len(chunk))
            size += len(chunk)
            _check_size(size, response.url)
    # Not every release of the HTTP library notices a body that ends early.
    if total is not None and size < total:
        raise _BrokenConnection("the connection ended early")
    if size == 0:
        raise SourceUnavailable("{}: the server sent nothing; choose another --source or --url".format(response.url))


def _total_size(response, present):
    """Return the bytes of the whole archive as the server tells them, or None."""
    told = response.headers.get("Content-Range", "").rpartition("/")[2]
    if response.status_code == 206 and told.isdigit():
        return int(told)
    length = response.headers.get("Content-Length")
    return None if length is None else present + int(length)


def _check_size(size, url):
    if size > LARGEST_ARCHIVE:
        raise SourceUnavailable(
            "{}: the server sends more than {} MB, which no archive of a task has; choose another --source or "
            "--url".format(url, LARGEST_ARCHIVE // MEGABYTE)
        )

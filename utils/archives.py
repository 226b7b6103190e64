"""Bring an archive here and unpack it: resumed downloads, checksums, and extraction that trusts nothing.

Archives are plain tar files that hold one folder of plain files, as those of the Medical Segmentation Decathlon do.
"""

import contextlib
import fcntl
import hashlib
import os
import posixpath
import shutil
import sys
import tarfile
import tempfile
import time

import requests

from utils.errors import UserError
from utils.progress import Progress

CHUNK_BYTES = 1 << 20
# When a connection breaks, what of a chunk has arrived is lost: small ones bring slow lines forward.
RECEIVED_CHUNK_BYTES = 1 << 14
MEGABYTE = 10**6
CONNECT_SECONDS, READ_SECONDS = 15, 60
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
    be asked or that answers with a refusal, and UserError where the checksum is wrong (what has arrived is removed
    then), the disk is too full or another process is downloading the same file.
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
        raise SourceUnavailable("{}: gdown: {}".format(url, _one_line(error))) from error
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


def unpack(archive, folder, directory):
    """Unpack the folder named `folder` from the tar file `archive` into `directory`; return the new folder's path.

    The folder appears by rename when all of it is unpacked. Nothing is written when any member of the archive is not a
    plain file or folder inside it, or when one would unpack to more than the archive holds. The `._` files that macOS
    adds are left out. Raises UserError for such an archive, a damaged one, one without `folder`, and a full disk.
    """
    target = os.path.join(directory, folder)
    workshop = tempfile.mkdtemp(prefix="." + folder + ".", dir=directory)
    try:
        with _reporting_damage(archive), tarfile.open(archive, "r:") as tar:
            members = _checked_members(tar, archive)
            _check_room(directory, sum(member.size for member in members))
            _write_members(tar, members, workshop, "unpacking " + folder)
        unpacked = os.path.join(workshop, folder)
        if not os.path.isdir(unpacked):
            raise UserError("{}: holds no folder {}; is it the right archive?".format(archive, folder))
        os.replace(unpacked, target)
    finally:
        shutil.rmtree(workshop)
    return target


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
            print("{}: {}; trying again in {:.0f} s".format(url, error, wait), file=sys.stderr, flush=True)
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
            if not _continues(response, present):
                stream.truncate(0)
                present = 0
            _copy_body(response, stream, present)
    except (requests.TooManyRedirects, ValueError) as error:  # All that is wrong with an address is a ValueError.
        raise SourceUnavailable("{}: cannot be asked: {}".format(url, _one_line(error))) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _BrokenConnection("the connection ended early") from error
    except requests.RequestException as error:
        raise _BrokenConnection("the connection broke ({})".format(_one_line(error))) from error


def _check_status(url, response):
    answer = "the server answered {} {}".format(response.status_code, response.reason)
    if response.status_code in PASSING_STATUSES:
        raise _BrokenConnection(answer)
    if response.status_code not in (200, 206):
        raise SourceUnavailable("{}: {}; choose another --source or --url".format(url, answer))


def _continues(response, present):
    """Tell whether the body begins at byte `present`; a server without range requests sends all of it again."""
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith("bytes {}-".format(present))


def _copy_body(response, stream, present):
    if response.status_code == 206 and not _continues(response, present):
        raise _BrokenConnection("the server sent another part than was asked for")
    length = response.headers.get("Content-Length")
    total = None if length is None else present + int(length)
    if total is not None:
        _check_room(os.path.dirname(stream.name), int(length))
    with _byte_progress("downloading " + posixpath.basename(response.url), total, present) as count:
        for chunk in response.iter_content(RECEIVED_CHUNK_BYTES):
            stream.write(chunk)
            count(len(chunk))
    # Not every release of the HTTP library notices a body that ends early.
    if total is not None and stream.tell() < total:
        raise _BrokenConnection("the connection ended early")


@contextlib.contextmanager
def _byte_progress(description, total, done=0):
    """Show progress in megabytes; gives the function to tell how many more bytes are done. `total` may be None."""
    with Progress((total or 0) // MEGABYTE, description, "MB", initial=done // MEGABYTE) as progress:

        def count(size):
            nonlocal done
            progress.update((done + size) // MEGABYTE - done // MEGABYTE)
            done += size

        yield count


def _check_room(directory, needed):
    free = shutil.disk_usage(directory or ".").free
    if needed > free:
        raise UserError(
            "{}: needs {:.1f} MB more and has {:.1f} MB free; make room or choose another --data_dir".format(
                directory or ".", needed / MEGABYTE, free / MEGABYTE
            )
        )


@contextlib.contextmanager
def _reporting_damage(archive):
    """Turn what reading a damaged tar file raises, here or while its members are read, into a UserError."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise UserError("{}: is not an intact tar file: {}".format(archive, _one_line(error))) from error


def _checked_members(tar, archive):
    """Return the members to unpack, all of them plain files and folders inside; raises UserError for anything else."""
    members = []
    for member in tar:
        fault = _fault_of(member)
        if fault:
            raise UserError("{}: {!r} {}; nothing was unpacked".format(archive, member.name, fault))
        if not any(part.startswith("._") for part in member.name.split("/")):
            members.append(member)
    return members


def _fault_of(member):
    """Return what is wrong with a tar member, in words, or None."""
    if member.name.startswith("/"):
        return "has an absolute name"
    if ".." in member.name.split("/"):
        return "leads out of the folder"
    if member.issym() or member.islnk():
        return "is a link, to {!r}".format(member.linkname)
    # Without such members, an archive that is not compressed cannot unpack to more than its own size.
    if member.issparse() or member.size < 0:
        return "has a size other than the archive holds"
    if not (member.isreg() or member.isdir()):
        return "is neither a file nor a folder"
    return None


def _write_members(tar, members, directory, description):
    """Write checked members below the new folder `directory`, with the permissions that new files get."""
    with _byte_progress(description, sum(member.size for member in members)) as count:
        for member in members:
            path = os.path.join(directory, *member.name.split("/"))
            try:
                _write_member(tar, member, path, count)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise UserError("{}: {!r} comes twice; nothing was unpacked".format(tar.name, member.name)) from error


def _write_member(tar, member, path, count):
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tar.extractfile(member) as source, open(path, "xb") as destination:
        for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
            destination.write(chunk)
            count(len(chunk))
    if os.path.getsize(path) != member.size:
        raise tarfile.ReadError("{} ends early".format(member.name))


def _one_line(error):
    return " ".join(str(error).split())

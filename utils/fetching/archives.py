"""Unpack an archive, trusting nothing in it.

Archives are plain tar files that hold one folder of plain files, as those of the Medical Segmentation Decathlon do.
"""

import contextlib
import io
import os
import shutil
import tarfile
import tempfile

from utils.fetching.transfer import CHUNK_BYTES, byte_progress, check_room, one_line
from utils.system.errors import UserError
from utils.system.printable import is_printable

# None of the Medical Segmentation Decathlon's tasks has more than some thousand files.
MOST_MEMBERS = 100000
LONGEST_NAME, LONGEST_PART = 1000, 255


def unpack(archive, folder, directory):
    """Unpack the folder named `folder` from the tar file `archive` into `directory`; return the new folder's path.

    The folder appears by rename when all of it is unpacked. Nothing is written when any member of the archive is not a
    plain file or folder inside it, or when one would unpack to more than the archive holds: all of them together never
    take more than the archive itself. The `._` files that macOS adds are left out. Raises UserError for such an
    archive, a damaged one, one without `folder`, and a full disk.
    """
    target = os.path.join(directory, folder)
    workshop = tempfile.mkdtemp(prefix="." + folder + ".", dir=directory)
    try:
        with _reporting_damage(archive), _BoundedReader(io.FileIO(archive)) as file:
            with tarfile.open(archive, "r:", file) as tar:
                members = _checked_members(tar, archive)
                check_room(directory, sum(member.size for member in members))
                _write_members(tar, members, workshop, "unpacking " + folder)
        unpacked = os.path.join(workshop, folder)
        if not os.path.isdir(unpacked):
            raise UserError("{}: holds no folder {}; is it the right archive?".format(archive, folder))
        os.replace(unpacked, target)
    finally:
        shutil.rmtree(workshop)
    return target


class _BoundedReader(io.BufferedReader):
    """A file of which nobody can ask for much at a time: what a tar header says of its own length may be a lie."""

    def read(self, size=-1):
        if not 0 <= size <= CHUNK_BYTES:
            raise tarfile.ReadError("a header says that it has {} bytes".format(size))
        return super().read(size)


@contextlib.contextmanager
def _reporting_damage(archive):
    """Turn what reading a damaged tar file raises, here or while its members are read, into a UserError."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise UserError("{}: is not an intact tar file: {}".format(archive, one_line(error))) from error


def _checked_members(tar, archive):
    """Return the members to unpack, all of them plain files and folders inside; raises UserError for anything else."""
    members = []
    for member in tar:
        fault = _fault_of(member)
        if fault:
            raise UserError("{}: {} {}; nothing was unpacked".format(archive, _shown(member.name), fault))
        if len(tar.members) > MOST_MEMBERS:
            raise UserError(
                "{}: holds more than {} files and folders; nothing was unpacked".format(archive, MOST_MEMBERS)
            )
        if not any(part.startswith("._") for part in member.name.split("/")):
            members.append(member)
    return members


def _fault_of(member):
    """Return what is wrong with a tar member, in words, or None."""
    if member.name.startswith("/"):
        return "has an absolute name"
    if ".." in member.name.split("/"):
        return "leads out of the folder"
    if not is_printable(member.name):
        return "has characters that cannot be shown in its name"
    name = os.fsencode(member.name)
    if len(name) > LONGEST_NAME or max(map(len, name.split(b"/"))) > LONGEST_PART:
        return "has too long a name"
    if member.issym() or member.islnk():
        return "is a link, to {}".format(_shown(member.linkname))
    # Without such members, an archive that is not compressed cannot unpack to more than its own size.
    if member.issparse() or member.size < 0:
        return "has a size other than the archive holds"
    if not (member.isreg() or member.isdir()):
        return "is neither a file nor a folder"
    return None


def _write_members(tar, members, directory, description):
    """Write checked members below the new folder `directory`, with the permissions that new files get."""
    with byte_progress(description, sum(member.size for member in members)) as count:
        for member in members:
            path = os.path.join(directory, *member.name.split("/"))
            try:
                _write_member(tar, member, path, count)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise UserError(
                    "{}: {} comes twice; nothing was unpacked".format(tar.name, _shown(member.name))
                ) from error


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


def _shown(name):
    """Return a name from an archive, in quotes, without what could disturb a terminal, and not too long for it."""
    return repr(name if len(name) <= LONGEST_PART else name[:LONGEST_PART] + "...")

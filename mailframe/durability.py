"""Whether a folder can keep what the server promises to keep: mail that survives a power cut.

A ``250`` means that the message is on a disk. That rests on things that the server can't bring
about by itself: that the folder isn't in memory, that a sync reaches the disk, that a file can be
moved in one step. `doubts_about` looks at all of them and says what is wrong and how to mend it.

An ``error`` is a promise that can't be kept; a ``warn`` is one that is weaker there, or kept by
somebody else. What can't be found out is no doubt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Literal

import attrs

from mailframe.files import DIRECTORY, Files, sync_folder
from mailframe.mounts import Mount, mount_at, mounts_below

_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "rootfs")
_OVER_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "glusterfs", "afs")
_OF_A_HOST = ("9p", "virtiofs", "vboxsf", "vmhgfs")
_WITHOUT_JOURNAL = ("vfat", "msdos", "exfat")
# The kernel does not ask the disk to empty its cache, or ignores a program that asks for it.
_NO_SYNC = ("nobarrier", "barrier=0", "barrier=none", "fsync_mode=nobarrier", "volatile")
_NO_SYNC_LIBRARY = re.compile(
    r"(?<!\S)/\S*(?:eatmydata|nofsync|nosync|fsyncoff)[^/\s]*\.so[^/\s]*", re.IGNORECASE
)
_MAILDIR = ("tmp", "new", "cur")  # between which files are moved


@attrs.frozen(kw_only=True)
class Durability:
    """What of ``[queue]`` concerns the disk.

    :ivar require_durable: whether the server refuses to start where it can't keep its promise
    """

    require_durable: bool = True


@attrs.frozen
class Doubt:
    """Why a folder may not keep what is put into it.

    :ivar level: ``error``: it can't; ``warn``: not in every case
    :ivar subject: the folder, or what else it is about
    :ivar problem: how it is
    :ivar mend: what to do about it
    """

    level: Literal["warn", "error"]
    subject: str
    problem: str
    mend: str


@attrs.frozen(kw_only=True)
class Folder:
    """A folder that mail is kept in.

    :ivar path: absolute; need not be there yet
    :ivar moves: the folders in it between which files are moved, as far as they are there; files
        are moved within the folder itself when there are none
    :ivar ours: the server writes into the folder itself, not only into what lies below
    """

    path: str
    moves: tuple[str, ...] = ()
    ours: bool = True


def doubts_about(
    folders: Iterable[Folder], *, mounts: Iterable[Mount], maps: str, files: Files | None = None
) -> list[Doubt]:
    """Everything there is to doubt about some folders.

    What is tried on them is taken back at once.

    :param mounts: of ``/proc/self/mountinfo``
    :param maps: what ``/proc/self/maps`` holds
    """
    mounts = tuple(mounts)
    doubts = list(of_process(maps))
    for folder in folders:
        doubts += of_mounts(folder.path, mounts)
        if os.path.isdir(folder.path):
            doubts += of_trial(folder, files or Files())
    return doubts


def of_process(maps: str) -> Iterator[Doubt]:
    """Whether a library in this process keeps syncs from the disk.

    :param maps: what ``/proc/self/maps`` holds
    """
    found = _NO_SYNC_LIBRARY.search(maps)
    if found is not None:
        yield Doubt(
            "error",
            "fsync",
            f"is disabled by the library {found[0]}",
            "start the server without it: see LD_PRELOAD and /etc/ld.so.preload",
        )


def of_mounts(path: str, mounts: Iterable[Mount]) -> Iterator[Doubt]:
    """What there is to doubt about the file systems of a folder and of what lies below it.

    :param path: absolute
    """
    mounts = tuple(mounts)
    real = os.path.realpath(path)
    mount = mount_at(mounts, real)
    if mount is not None:
        yield from _of_mount(path, mount)
    for below in mounts_below(mounts, real):
        if mount_at(mounts, below.point) != below:
            continue  # something else is mounted over it
        above, name = os.path.split(below.point)
        if name in _MAILDIR and all(os.path.isdir(os.path.join(above, each)) for each in _MAILDIR):
            yield Doubt(
                "error",
                below.point,
                "is a file system of its own: files can't be moved into it in one step",
                f"mount {above} instead",
            )
            continue
        # It may be a mailbox, or something else that happens to lie there.
        for doubt in _of_mount(below.point, below):
            yield attrs.evolve(doubt, level="warn")


def _of_mount(path: str, mount: Mount) -> Iterator[Doubt]:
    kind, options, place = mount.kind, mount.options, f"({mount.kind} at {mount.point})"
    if kind in _IN_MEMORY:
        yield Doubt(
            "error",
            path,
            f"lies in memory {place}: a restart of the machine loses what is in it",
            "put it on a disk",
        )
    unsynced = sorted(options.intersection(_NO_SYNC))
    if unsynced:
        yield Doubt(
            "error",
            path,
            f"is mounted with {unsynced[0]} {place}: a sync does not reach the disk",
            "mount it without this option",
        )
    if "ro" in options:
        yield Doubt("error", path, f"is mounted read-only {place}", "mount it with rw")
    if "data=writeback" in options:
        yield Doubt(
            "warn",
            path,
            f"is mounted with data=writeback {place}: after a power cut files may hold the octets "
            "of others",
            "mount it with data=ordered",
        )
    if kind in _OVER_NETWORK:
        yield Doubt(
            "warn",
            path,
            f"is reached over a network {place}: a message may come twice after a fault there, and "
            "how well it is kept is up to the other side",
            "put it on a disk of this machine",
        )
    elif kind in _OF_A_HOST or kind.startswith("fuse"):
        yield Doubt(
            "warn",
            path,
            f"is provided by another program or machine {place}: whether a sync reaches the disk "
            "is up to that",
            "put it on a disk of this machine",
        )
    elif kind in _WITHOUT_JOURNAL:
        yield Doubt(
            "warn",
            path,
            f"has no journal {place}: a power cut may damage it",
            "put it on ext4, xfs or btrfs",
        )
    elif kind == "overlay":
        yield Doubt(
            "warn",
            path,
            f"is a layer of a container {place}, and gone with it",
            "put it on a volume",
        )


def of_trial(folder: Folder, files: Files) -> Iterator[Doubt]:
    """Whether what keeps a message works there: write, sync, move in one step, sync the folders.

    :param folder: is there
    """
    places = [os.path.join(folder.path, name) for name in folder.moves]
    places = [place for place in places if os.path.isdir(place)] or [folder.path]
    doing = "written to"
    source, name = places[0], f".check-{os.getpid()}"
    try:
        if folder.ours or os.access(source, os.W_OK | os.X_OK):
            _write(files, os.path.join(source, name))
            doing = "used: a file can't be moved to it in one step"
            for target in places[1:]:
                _move(files, source, target, name)
                source = target
        doing = "synced"
        for place in places:
            sync_folder(files, place)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield Doubt(
            "error",
            folder.path,
            f"can't be {doing} ({reason})",
            "see to its owner and its disk, or choose another folder",
        )
    finally:
        for place in places:
            with suppress(OSError):
                os.unlink(os.path.join(place, name))


def _write(files: Files, path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = files.open(path, flags, 0o600)
    try:
        files.write(descriptor, (b"mailframe sees whether this folder keeps what is written\n",))
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def _move(files: Files, source: str, target: str, name: str) -> None:
    with ExitStack() as stack:
        folders = []
        for place in (source, target):
            folders.append(files.open(place, DIRECTORY))
            stack.callback(files.close, folders[-1])
        files.rename(name, folders[0], name, folders[1])

"""The index of a Maildir: what an earlier session found in it, so that the next opens at once.

A cache and nothing more. It is a file beside the folders, written whole and put in its place by a
rename, and checked when it is read: what is missing, damaged, or of another version or Maildir
counts as not there. As long as both folders carry the very times that they had when they were
listed, nothing was added to, removed from or renamed in them, and they need not be listed again.

A time may not change twice within one tick of the kernel's clock. So it is trusted only when the
folder had been left alone for some seconds before it was listed.

The file, all numbers little-endian: `_MAGIC`; CRC-32 of what follows; device, inode, mtime and
ctime in ns of new and of cur, or zeros; number of messages; octets of names; then 8 octets of size
for each message, one octet that is 1 for those in cur, and the names, each ended by NUL.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from contextlib import suppress
from typing import TypeAlias

import attrs
from twisted.logger import Logger

from mailframe.delivery.maildir_files import (
    ForeignMaildir,
    OpenMaildir,
    close_all,
    create_file,
    open_regular,
    write_all,
)
from mailframe.delivery.maildir_listing import Listing
from mailframe.files import Files

log = Logger()

QUIET = 3.0  # seconds; also longer than the ticks of file systems that count time in seconds
MOST = 1 << 29  # octets of an index that is read
_NAME = "mailframe-pop3.index"
_DRAFT = "mailframe-pop3.index.new"
_MAGIC = b"mailframe index 1\n"
_CRC = struct.Struct("<I")
_HEAD = struct.Struct("<8Q2Q")

Stamps: TypeAlias = tuple[int, ...]  # device, inode, mtime and ctime in ns, of new and of cur
UNSETTLED: Stamps = (0,) * 8


@attrs.frozen(eq=False)
class Index:
    """What is kept.

    :ivar stamps: the folders as they were when they were listed; `UNSETTLED` when they may have
        changed since without a trace
    """

    stamps: Stamps
    listing: Listing


def stamps_of(files: Files, maildir: OpenMaildir) -> Stamps:
    """The folders' identities and times. To be taken before they are listed."""
    stamps: list[int] = []
    for folder in (maildir.new, maildir.cur):
        found = files.fstat(folder)
        stamps += (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    return tuple(stamps)


def settled(stamps: Stamps, now: float) -> bool:
    """Whether any later change would show in other stamps.

    :param now: POSIX seconds, from before the folders were listed
    """
    return max(stamps[2], stamps[3], stamps[6], stamps[7]) < (now - QUIET) * 1e9


class _Useless(Exception):
    """The file is no index that can be used. The message is for the log."""


def load(files: Files, maildir: OpenMaildir) -> Index | None:
    """Read the index; ``None`` when there is none that can be used."""
    try:
        descriptor, size = open_regular(files, _NAME, maildir.root)
        try:
            return _decode(_read_all(files, descriptor, size))
        finally:
            close_all(files, (descriptor,))
    except FileNotFoundError:
        return None
    except (OSError, ForeignMaildir, _Useless) as error:
        log.warn(
            "the index of a Maildir can't be used and is made anew: {reason}", reason=str(error)
        )
        return None


def _read_all(files: Files, descriptor: int, size: int) -> bytes:
    if size > MOST:
        raise _Useless(f"it has {size} octets")
    pieces: list[bytes] = []
    while size > 0 and (piece := files.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _decode(octets: bytes) -> Index:
    start = len(_MAGIC) + _CRC.size + _HEAD.size
    if len(octets) < start or not octets.startswith(_MAGIC):
        raise _Useless("it is of another version, or cut off")
    (crc,) = _CRC.unpack_from(octets, len(_MAGIC))
    view = memoryview(octets)
    if zlib.crc32(view[len(_MAGIC) + _CRC.size :]) != crc:
        raise _Useless("it is damaged")
    *stamps, count, length = _HEAD.unpack_from(octets, len(_MAGIC) + _CRC.size)
    flags = start + 8 * count
    if len(octets) != flags + count + length:
        raise _Useless("its parts don't fit together")
    sizes = array("Q")
    sizes.frombytes(view[start:flags])
    if sys.byteorder == "big":
        sizes.byteswap()
    text = os.fsdecode(octets[flags + count :])
    names = text.split("\0")[:-1]
    # A name from here is opened in a folder of the Maildir, and must not lead out of it.
    if len(names) != count or "/" in text or text.startswith(".") or "\0." in text or "" in names:
        raise _Useless("it holds what are no names of messages")
    return Index(tuple(stamps), Listing(names, bytearray(octets[flags : flags + count]), sizes))


def save(files: Files, maildir: OpenMaildir, index: Index) -> None:
    """Keep the index. The Maildir must be locked. A fault is logged: one can do without."""
    try:
        _discard(files, _DRAFT, maildir)  # left by a session that was cut off
        descriptor = create_file(files, _DRAFT, maildir.root)
        try:
            write_all(files, descriptor, _encode(index))
        finally:
            files.close(descriptor)
        # Without a sync: what a power cut makes of it does not pass for an index.
        files.rename(_DRAFT, maildir.root, _NAME, maildir.root)
    except OSError as error:
        log.warn("could not write the index of a Maildir: {reason}", reason=str(error))
        _discard(files, _DRAFT, maildir)


def _encode(index: Index) -> list[bytes]:
    listing = index.listing
    names = os.fsencode("\0".join([*listing.names, ""]))
    sizes = listing.sizes
    if sys.byteorder == "big":
        sizes = array("Q", sizes)
        sizes.byteswap()
    parts = [
        _HEAD.pack(*index.stamps, len(listing), len(names)),
        sizes.tobytes(),
        bytes(listing.in_cur),
        names,
    ]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return [_MAGIC, _CRC.pack(crc), *parts]


def remove(files: Files, maildir: OpenMaildir) -> None:
    """Keep no index."""
    _discard(files, _NAME, maildir)


def _discard(files: Files, name: str, maildir: OpenMaildir) -> None:
    with suppress(OSError):
        files.unlink(name, maildir.root)

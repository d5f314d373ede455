"""The size of a message in a Maildir: octets as they are sent, stuffed dots not counted.

Every line ends in CRLF there, and so does a last one that has no end in the file (RFC 1939 §11).
"""

from __future__ import annotations

import os
import stat

from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.files import Files

BLOCK = 65536  # octets; a file smaller than this is read as it is opened, a larger one in pieces


def read_size(files: Files, name: str, folder: int) -> int:
    """Find out a message's size by reading it.

    :raises FileNotFoundError: it is not there
    :raises OSError: it can't be read, or is a link or a folder
    :raises ForeignMaildir: it is something else than a file
    """
    octets, descriptor = files.read_small(name, folder, BLOCK)
    if descriptor is None:
        return size_of(octets)
    try:
        found = files.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ForeignMaildir(f"{name!r} is not a regular file")
        os.lseek(descriptor, 0, os.SEEK_SET)
        return _size_of_large(files, descriptor, found.st_size)
    finally:
        files.close(descriptor)


def size_of(octets: bytes) -> int:
    """The size of a whole message, with any line ends."""
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # In Python this is much faster than to count the lines.
    size = len(octets.replace(b"\n", b"\r\n"))
    return size if not octets or octets.endswith(b"\n") else size + 2


def _size_of_large(files: Files, descriptor: int, left: int) -> int:
    size = left
    last = 10
    buffer = bytearray(BLOCK)
    while left > 0 and (count := files.read_into(descriptor, buffer)):
        left -= count
        # Each lone CR or LF becomes two octets; a CRLF across two pieces counts once.
        size += buffer.count(b"\n", 0, count)
        if last == 13 or buffer.find(b"\r", 0, count) >= 0:
            size += buffer.count(b"\r", 0, count) - 2 * buffer.count(b"\r\n", 0, count)
            size -= 2 if last == 13 and buffer[0] == 10 else 0
        last = buffer[count - 1]
    return size - max(left, 0) + (0 if last in (10, 13) else 2)

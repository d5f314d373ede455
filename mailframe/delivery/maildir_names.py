"""What the name of a message in a Maildir tells: when it arrived, how large it is, who it is.

Names are text as `os.fsdecode` gives it, so that whatever octets another program put into one come
back as they were. What follows the colon are a reader's flags; what stands before it is the base,
which stays. Of the base, all up to the first comma is unique in a mailbox by Maildir's own rules,
and the rest are sizes, which some servers write, mend or take away.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

MAX_UIDL = 70  # octets, RFC 1939 §7
_TIME = re.compile(r"([0-9]{1,15})\.")
_WIRE_SIZE = re.compile(r",W=([0-9]{1,15})(?=,|\Z)")
_ODD = re.compile(r"[^\x21-\x7e]")


def base_name(name: str) -> str:
    """A name without its flags: what stays when a reader moves the message from new to cur."""
    return name.partition(":")[0]


def arrival(base: str) -> int | None:
    """The time with which a name begins, POSIX seconds; ``None`` when it doesn't."""
    match = _TIME.match(base)
    return int(match[1]) if match else None


def wire_size(base: str) -> int | None:
    """The octets with CRLF line ends that a name tells, or ``None``."""
    size = base.rpartition(",W=")[2]
    if len(size) <= 15 and size.isdecimal() and size.isascii() and len(size) < len(base):
        return int(size)
    match = _WIRE_SIZE.search(base)
    return int(match[1]) if match else None


def uidls(names: Sequence[str]) -> list[bytes]:
    """The unique ids of RFC 1939 §7: the unique part of each name where it has the form.

    Else, and where two names have the same unique part, the hash of the base stands in for it.
    """
    unique = [name.partition(":")[0].partition(",")[0] for name in names]
    joined = "".join(unique)
    if (
        len(set(unique)) == len(unique)
        and all(unique)
        and max(map(len, unique), default=0) <= MAX_UIDL
        and not _ODD.search(joined)
    ):
        return [text.encode("ascii") for text in unique]
    found: dict[bytes, None] = {}
    for name, text in zip(names, unique, strict=True):
        uidl = text.encode("ascii", "replace")
        if not 0 < len(text) <= MAX_UIDL or _ODD.search(text) or uidl in found:
            uidl = hashlib.sha256(os.fsencode(base_name(name))).hexdigest().encode("ascii")
        found[uidl] = None
    return list(found)

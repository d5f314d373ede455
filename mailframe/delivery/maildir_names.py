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
from collections import Counter
from collections.abc import Sequence

MAX_UIDL = 70  # octets, RFC 1939 §7
_TIME = re.compile(r"([0-9]{1,15})\.")
_WIRE_SIZE = re.compile(r",W=([0-9]{1,15})(?=,|\Z)")


def base_name(name: str) -> str:
    """A name without its flags: what stays when a reader moves the message from new to cur."""
    return name.partition(":")[0]


def arrival(base: str) -> int | None:
    """The time with which a name begins, POSIX seconds; ``None`` when it doesn't."""
    match = _TIME.match(base)
    return int(match[1]) if match else None


def wire_size(base: str) -> int | None:
    """The octets with CRLF line ends that a name tells, or ``None``."""
    if ",W=" not in base:
        return None
    size = base.rpartition(",W=")[2]
    if len(size) <= 15 and size.isdecimal() and size.isascii():
        return int(size)
    match = _WIRE_SIZE.search(base)
    return int(match[1]) if match else None


def uidls(names: Sequence[str]) -> list[bytes]:
    """The unique ids of RFC 1939 §7: the unique part of each name where it has the form.

    Else its hash stands in for it. Where two names have the same unique part, it is the hash of the
    base for both: none of them may get the id of the other once that one is removed.
    """
    unique = [unique_part(name) for name in names]
    joined = "".join(unique)
    different = len(set(unique)) == len(unique)
    if different and all(unique) and max(map(len, unique), default=0) <= MAX_UIDL and _fits(joined):
        return "\0".join(unique).encode("ascii").split(b"\0") if unique else []
    times = Counter(unique)
    found = []
    for name, text in zip(names, unique, strict=True):
        if times[text] > 1:
            found.append(_hash(base_name(name)))
        elif 0 < len(text) <= MAX_UIDL and _fits(text):
            found.append(text.encode("ascii"))
        else:
            found.append(_hash(text))
    return found


def unique_part(name: str) -> str:
    """What tells a message from all others in a mailbox, and stays whatever happens to it."""
    return name.partition(":")[0].partition(",")[0]


def _fits(text: str) -> bool:
    """Whether all characters are printable ASCII and none is a space."""
    return text.isascii() and text.isprintable() and " " not in text


def _hash(text: str) -> bytes:
    return hashlib.sha256(os.fsencode(text)).hexdigest().encode("ascii")

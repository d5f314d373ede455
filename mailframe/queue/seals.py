"""Checksums by which a kept message is known to be as it was written.

Disks and memory flip bits. What is kept of a message is sealed: its texts begin with a checksum,
which the message's number and the kind of text are part of, so that a text that stands in another's
place is found as well. Columns of their own stand once more in the texts: in that of the envelope
the size, and the checksum of the content; in that of the recipients when the next attempt is, and
the marks.

Who has a lease and when it runs out are in no seal, for these change with every claim. Whoever that
seems to be, the lease runs out; then the message is claimed by anybody. What whoever has it records
until then is refused, as after any lease that was lost. A time that is not the one of the next
attempt is found when there is no lease.

CRC-32 finds every single flipped bit and every run of up to 32; it is no protection against people.
"""

from __future__ import annotations

from typing import TypeAlias
from zlib import crc32

import attrs

from mailframe.queue.codec import DamagedEntry

_DIGITS = 8
_UNKNOWN = "-" * _DIGITS
_RECIPIENTS, _EVENTS = 1 << 30, 1 << 31  # tell kinds of texts from each other
_SAME = 0.01  # seconds by which two times may differ that are the same

COLUMNS = "key, envelope, size, recipients, next_attempt, held, warned"
Row: TypeAlias = tuple[int, str, int, str, float, int, int]


@attrs.frozen
class Kept:
    """What a sealed envelope says.

    :ivar checksum: of the content, see `checksum`; ``None`` when it is not known
    :ivar size: octets of the content
    :ivar envelope: its text, see `mailframe.queue.codec`
    """

    checksum: int | None
    size: int
    envelope: str

    def is_content(self, size: int, checksum: int) -> bool:
        """Whether a content of that size and checksum is the one that was written."""
        return size == self.size and self.checksum in (checksum, None)


def seal_events(key: int, events: str) -> str:
    """Seal a part of a message's history.

    :param key: the message's number
    """
    return _seal(key ^ _EVENTS, events)


def unseal_events(key: int, sealed: str) -> str:
    """The text of the events. :raises DamagedEntry: it is not as it was written"""
    return _unseal(key ^ _EVENTS, sealed)


def seal_envelope(key: int, envelope: str, size: int, checksum: int | None) -> str:
    """Seal an envelope, with what is to be known of the content."""
    return _seal(key, f"{_UNKNOWN if checksum is None else f'{checksum:08x}'} {size} {envelope}")


def unseal_envelope(key: int, sealed: str) -> Kept:
    """What `seal_envelope` was given. :raises DamagedEntry: it is not as it was written"""
    checksum, size, envelope = _unseal(key, sealed).split(" ", 2)
    return Kept(None if checksum == _UNKNOWN else int(checksum, 16), int(size), envelope)


def seal_recipients(
    key: int, recipients: str, next_attempt: float, held: int = 0, warned: int = 0
) -> str:
    """Seal how the recipients stand, with the time of the next attempt and the marks."""
    return _seal(key ^ _RECIPIENTS, f"{next_attempt:.3f} {held:d} {warned:d} {recipients}")


def unseal_recipients(key: int, sealed: str, next_attempt: float, held: int, warned: int) -> str:
    """The text of the recipients.

    :raises DamagedEntry: that, or one of the others, is not as it was written
    """
    text = _unseal(key ^ _RECIPIENTS, sealed)
    written, was_held, was_warned, recipients = text.split(" ", 3)
    if not isinstance(next_attempt, float) or not abs(float(written) - next_attempt) < _SAME:
        raise DamagedEntry("the time of the next attempt is not as it was written")
    if (was_held, was_warned) != (str(held), str(warned)):
        raise DamagedEntry("a mark is not as it was written")
    return recipients


def unseal_row(row: Row) -> tuple[str, str]:
    """The texts of the envelope and of the recipients.

    :param row: the `COLUMNS` of a message
    :raises DamagedEntry: something is not as it was written
    """
    key, envelope, size, recipients, next_attempt, held, warned = row
    kept = unseal_envelope(key, envelope)
    if kept.size != size:
        raise DamagedEntry("its size is not as it was written")
    return kept.envelope, unseal_recipients(key, recipients, next_attempt, held, warned)


def checksum(octets: bytes | memoryview, before: int = 0) -> int:
    """The checksum of a content, piece by piece.

    :param before: that of the pieces before this one
    """
    return crc32(octets, before)


def _seal(key: int, text: str) -> str:
    # Each message is sealed twice when it arrives: to call one function less is worth the line.
    return f"{crc32(text.encode(), (key ^ key >> 32) & 0xFFFFFFFF):08x}{text}"


def _unseal(key: int, sealed: str) -> str:
    if not isinstance(sealed, str):
        raise DamagedEntry("a text is of the wrong kind")
    text = sealed[_DIGITS:]
    if _seal(key, text) != sealed:
        raise DamagedEntry("the checksum is not that of the text")
    return text

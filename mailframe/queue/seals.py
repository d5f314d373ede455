"""Checksums by which a kept message is known to be as it was written.

Disks and memory flip bits. What is kept of a message is sealed: its texts begin with a checksum,
which the message's number is part of, so that a text that stands in another's place is found as
well. The checksum and the size of the content stand in the sealed envelope.

CRC-32 finds every single flipped bit and every run of up to 32; it is no protection against people.
"""

from __future__ import annotations

from zlib import crc32

import attrs

from mailframe.queue.codec import DamagedEntry

_DIGITS = 8
_SAME = 0.01  # seconds by which two times may differ that are the same


@attrs.frozen
class Kept:
    """What a sealed envelope says.

    :ivar checksum: of the content, see `checksum`
    :ivar size: octets of the content
    :ivar envelope: its text, see `mailframe.queue.codec`
    """

    checksum: int
    size: int
    envelope: str


def seal(key: int, text: str) -> str:
    """Seal a text of a message.

    :param key: the message's number
    """
    return f"{_sum(key, text):08x}{text}"


def unseal(key: int, sealed: str) -> str:
    """The text. :raises DamagedEntry: it is not as it was written"""
    text = sealed[_DIGITS:]
    if sealed[:_DIGITS] != f"{_sum(key, text):08x}":
        raise DamagedEntry("the checksum is not that of the text")
    return text


def seal_envelope(key: int, envelope: str, size: int, checksum: int) -> str:
    """Seal an envelope, with what is to be known of the content."""
    return seal(key, f"{checksum:08x} {size} {envelope}")


def unseal_envelope(key: int, sealed: str) -> Kept:
    """What `seal_envelope` was given. :raises DamagedEntry: it is not as it was written"""
    checksum, size, envelope = unseal(key, sealed).split(" ", 2)
    return Kept(int(checksum, 16), int(size), envelope)


def seal_recipients(key: int, recipients: str, next_attempt: float) -> str:
    """Seal how the recipients stand, with the time of the next attempt, POSIX seconds."""
    return seal(key, f"{next_attempt:.3f} {recipients}")


def unseal_recipients(key: int, sealed: str, next_attempt: object) -> str:
    """The text. :raises DamagedEntry: that or the time is not as it was written"""
    written, recipients = unseal(key, sealed).split(" ", 1)
    if not isinstance(next_attempt, float) or not abs(float(written) - next_attempt) < _SAME:
        raise DamagedEntry("the time of the next attempt is not as it was written")
    return recipients


def checksum(octets: bytes | memoryview, before: int = 0) -> int:
    """The checksum of a content, piece by piece.

    :param before: that of the pieces before this one
    """
    return crc32(octets, before)


def _sum(key: int, text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), (key ^ key >> 32) & 0xFFFFFFFF)

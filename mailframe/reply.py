"""SMTP replies as values: the three-digit code, the enhanced status code and the text.

A `Reply` travels whole from where it was made (a remote server, a policy, our own wire layer) to
everyone who shows it: client, log, queue, trace and bounce.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import attrs

MAX_LINE = 512  # octets of a reply line with CRLF, RFC 5321 §4.5.3.1.5
_SHORT = MAX_LINE - 2 - 4 - 10  # octets of text that fit whatever the status is
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def _printable_lines(text: str | Iterable[str]) -> tuple[str, ...]:
    lines = (text,) if isinstance(text, str) else tuple(text)
    together = "".join(lines)
    if together.isascii() and together.isprintable():
        return lines or ("",)
    return tuple(_UNPRINTABLE.sub("?", line) for line in lines)


@attrs.frozen
class Reply:
    """One reply of RFC 5321 §4.2, with the enhanced status code of RFC 3463.

    :ivar code: 200 to 599
    :ivar status: the enhanced status code, such as ``"5.1.1"``, or ``None`` where none belongs
        (greeting, EHLO, 354) or the remote server gave none
    :ivar text: the lines of text without code and status; never empty, printable ASCII. Other
        characters are replaced by ``?`` when the reply is made, so that a reply can't break a line
    :ivar is_remote: the words are another server's and not our own; replies of the same words are
        equal whoever says them
    """

    code: int = attrs.field()
    status: str | None = attrs.field()
    text: tuple[str, ...] = attrs.field(converter=_printable_lines)
    is_remote: bool = attrs.field(default=False, eq=False, kw_only=True)

    @code.validator
    def _code_in_range(self, _attribute: object, value: int) -> None:
        if not 200 <= value <= 599:
            raise ValueError(f"{value} is not an SMTP reply code")

    @status.validator
    def _status_fits(self, _attribute: object, value: str | None) -> None:
        if value is not None and not _STATUS.fullmatch(value):
            raise ValueError(f"{value!r} is not an enhanced status code")

    @property
    def is_positive(self) -> bool:
        """The command was accepted, or may go on (2yz, 3yz)."""
        return self.code < 400

    @property
    def is_temporary(self) -> bool:
        """The same may succeed later (4yz)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Trying the same again is of no use (5yz)."""
        return self.code >= 500

    def encode(self) -> bytes:
        """The reply as it goes over the wire, each line within 512 octets, with its CRLF."""
        text = self.text
        if len(text) == 1 and len(text[0]) <= _SHORT:
            words = f"{self.code} {self.status} " if self.status else f"{self.code} "
            return f"{words}{text[0]}\r\n".encode("ascii")
        return _encode(self)

    def __str__(self) -> str:
        """The reply on one line: ``550 5.1.1 no such mailbox``."""
        words = [str(self.code), *([self.status] if self.status else []), " ".join(self.text)]
        return " ".join(words).rstrip()


@lru_cache(maxsize=256)
def _encode(reply: Reply) -> bytes:
    status = f"{reply.status} " if reply.status else ""
    room = MAX_LINE - 2 - 4 - len(status)
    pieces = [
        line[start : start + room]
        for line in reply.text
        for start in range(0, max(len(line), 1), room)
    ]
    lines = [f"{reply.code}-{status}{piece}" for piece in pieces[:-1]]
    lines.append(f"{reply.code} {status}{pieces[-1]}")
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def temporary_fault(text: str = "temporary fault here, please try again later") -> Reply:
    """What a peer is told of a fault of ours: always 451, never more of the inside than this."""
    return Reply(451, "4.3.0", text)

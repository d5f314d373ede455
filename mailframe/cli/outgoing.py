"""A message from standard input on its way into the queue.

Whatever line ends it comes with, it leaves with CRLF (RFC 5321 §2.3.8). It is kept in a temporary
file while it arrives, so that memory stays bounded and nothing reaches the queue unless all of it
could be read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import attrs

from mailframe.address import Address
from mailframe.cli.headers import MAX_HEADER, Field, split_header
from mailframe.envelope import Body
from mailframe.wire.data import MAX_LINE, measure

_CHUNK = 65_536  # octets read or written at once
_IN_MEMORY = 1024 * 1024  # octets kept in memory before a file is used
_LINE_END = re.compile(rb"\r\n|\r|\n")
_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*(?::|\Z)")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")

# RFC 5322 §3.6.3: whom a blind copy goes to is not for the other recipients to see.
_NOT_SENT = frozenset({"bcc", "resent-bcc"})


class TooLarge(Exception):
    """The message is larger than the server takes."""


class BadHeader(Exception):
    """The message's header can't be used; ``str(error)`` says why."""


@attrs.frozen(kw_only=True)
class Outgoing:
    """A whole message, read.

    :ivar fields: of its header
    :ivar header_size: octets of the header section, without the empty line after it
    :ivar size: octets of all of it
    :ivar body: whether it holds octets beyond ASCII, or what no line can hold
    :ivar file: its octets, from the start
    """

    fields: tuple[Field, ...]
    header_size: int
    size: int
    body: Body
    file: IO[bytes]

    def has(self, name: str) -> bool:
        """Whether the header has such a field."""
        return any(field.name == name for field in self.fields)

    def pieces(self, before: bytes, added: bytes) -> Iterator[bytes]:
        """The message as it is to be queued.

        :param before: fields to stand before all others
        :param added: fields to stand after all others
        """
        kept = (field.octets for field in self.fields if field.name not in _NOT_SENT)
        yield before + b"".join(kept) + added
        self.file.seek(self.header_size)
        piece = self.file.read(_CHUNK)
        if not piece.startswith(b"\r\n"):
            yield b"\r\n"  # RFC 5322 §2.1: the empty line that ends the header section
        while piece:
            yield piece
            piece = self.file.read(_CHUNK)


def read_message(lines: Callable[[int], bytes], *, limit: int, dot_ends: bool = False) -> Outgoing:
    """Read a message to its end.

    :param lines: ``lines(n)`` gives up to a line, or ``n`` octets of it, and ``b""`` at the end
    :param limit: octets it may have
    :param dot_ends: whether a line with a single dot ends it, as when a person types it
    :raises TooLarge: it has more
    :raises BadHeader: its header section is too long
    """
    # Closed with the process: the command that reads a message does nothing after it.
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    size = 0
    body: Body = "7BIT"
    line: int | None = 0  # octets of the line that is not finished; None: one is too long
    pending = b""  # a CR at the end of a piece, whose LF may be the beginning of the next
    at_start = True
    while piece := lines(_CHUNK):
        if dot_ends and at_start and piece in (b".\n", b".\r\n"):
            break
        at_start = piece.endswith(b"\n")
        if not size and piece.startswith(b"From "):
            continue  # the line that precedes each message in an mbox file
        piece = pending + piece
        pending = b"\r" if piece.endswith(b"\r") else b""
        piece = _LINE_END.sub(b"\r\n", piece.removesuffix(b"\r"))
        size += len(piece)
        if size > limit:
            raise TooLarge
        line = None if line is None else measure(piece, line, MAX_LINE)
        if line is None or b"\0" in piece:
            body = "BINARYMIME"  # what is no lines can only be handed on so
        elif body == "7BIT" and _EIGHT_BIT.search(piece):
            body = "8BITMIME"
        file.write(piece)
    if pending:
        size += file.write(b"\r\n")
    size = _end_last_line(file, size)
    return _examine(file, size, body)


def _end_last_line(file: IO[bytes], size: int) -> int:
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            size += file.write(b"\r\n")
    return size


def _examine(file: IO[bytes], size: int, body: Body) -> Outgoing:
    file.seek(0)
    start = file.read(MAX_HEADER)
    fields, header_size = split_header(start)
    if size > MAX_HEADER and (header_size == MAX_HEADER or _NAME.match(start, header_size)):
        raise BadHeader(f"the header section is longer than {MAX_HEADER} octets")
    return Outgoing(fields=fields, header_size=header_size, size=size, body=body, file=file)


def missing_fields(
    message: Outgoing, *, sender: Address, full_name: str, date: str, message_id: str
) -> bytes:
    """The fields that every message must have and this one lacks (RFC 5322 §3.6).

    :param sender: whom ``From`` names
    :param full_name: how it calls them, ``""`` for not at all
    :param date: as RFC 5322 §3.3 writes it
    :param message_id: with its angle brackets
    """
    # The standard library quotes and encodes (RFC 2047) a display name as is needed.
    from email.utils import formataddr

    # It takes only ASCII for the address; with another the header section is UTF-8 (RFC 6532).
    named = formataddr((full_name, "x@x")).removesuffix("<x@x>") + f"<{sender}>"
    wanted: Sequence[tuple[str, str]] = (
        ("From", named if full_name else str(sender)),
        ("Date", date),
        ("Message-ID", message_id),
    )
    lines = [f"{name}: {value}\r\n" for name, value in wanted if not message.has(name.lower())]
    return "".join(lines).encode()

"""Finds the entities of a MIME message (RFC 2046) in octets that come piece by piece.

Nothing is kept for longer than it takes to see whether a line is a delimiter, and the time it takes
is proportional to the octets, whatever they are. What is beyond the bounds (`MAX_HEADER`,
`MAX_DEPTH`, `MAX_ENTITIES`) is `TooComplex`.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from mailframe.wire.mime_header import Entity, read_entity

MAX_HEADER = 262_144  # octets of one header section
MAX_DEPTH = 50  # multiparts within each other
MAX_ENTITIES = 2_000
_MAX_DELIMITER = 1_000  # octets of a line that may be one
_BEGINNINGS = (b"\r\n-", b"\r\n", b"\r")  # of a CRLF and two hyphens

_Mode: TypeAlias = Literal["header", "body", "between"]


class TooComplex(ValueError):
    """The structure is beyond the bounds. ``str(error)`` is one clause."""


class Visitor(Protocol):
    """Is told what is found, in order."""

    def entity(self, entity: Entity, header: bytes, *, whole: bool, in_signed: bool) -> None:
        """An entity begins.

        :param header: its header section, without the empty line
        :param whole: it is a message rather than a part of one
        :param in_signed: it belongs to a multipart/signed
        """

    def body(self, octets: bytes) -> None:
        """Some of the body of the leaf that was begun last."""

    def body_ended(self, *, last: bool) -> None:
        """That body is over.

        :param last: with the end of the message, rather than at a delimiter
        """

    def between(self, octets: bytes, *, in_signed: bool) -> None:
        """Some of what stands before the first and behind the last part of a multipart."""

    def partless(self) -> None:
        """The multipart that was begun last has no part: it may not be what we take it for."""

    def structure(self, octets: bytes) -> None:
        """A delimiter with its line ends, or the empty line between header and body."""


class Walker:
    """Walks through one message."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._mode: _Mode = "header"
        self._buffer = b""
        self._at_line_start = True
        self._header: list[bytes] = []
        self._header_size = 0
        self._whole = True  # the header belongs to a message
        self._stack: list[Entity] = []  # the multiparts that are open
        self._parted: list[bool] = []  # whether each of them has had a part
        self._boundaries: dict[bytes, int] = {}  # their places in the stack
        self._in_signed = False
        self._entities = 0

    def feed(self, octets: bytes) -> None:
        """Take the next octets.

        :raises TooComplex: the message is beyond the bounds
        """
        self._walk(octets, final=False)

    def finish(self) -> None:
        """The message is over.

        :raises TooComplex: the message is beyond the bounds
        """
        self._walk(b"", final=True)
        if self._mode == "header":
            self._header_ended(b"")
        if self._mode == "body":
            self._visitor.body_ended(last=True)
        self._close(0)

    # --- inside -------------------------------------------------------------------------------

    def _walk(self, octets: bytes, *, final: bool) -> None:
        buffer = self._buffer + octets
        at, more = 0, True
        while more:
            step = self._step_header if self._mode == "header" else self._step_text
            at, more = step(buffer, at, final)
        self._buffer = buffer[at:]

    def _step_header(self, buffer: bytes, at: int, final: bool) -> tuple[int, bool]:
        """Take header lines from a place on.

        :returns: from where to go on, and whether anything can be done there
        """
        while (end := buffer.find(b"\r\n", at)) >= 0:
            if end == at:
                self._header_ended(b"\r\n")
                return end + 2, True
            line = buffer[at:end]
            if line.startswith(b"--") and self._delimiter(line) is not None:
                self._header_ended(b"")
                return at, True
            self._add_line(line)
            at = end + 2
        rest = len(buffer) - at
        if rest > MAX_HEADER:
            raise TooComplex("a header section is too long")
        if final and rest:
            line = buffer[at:]
            if line.startswith(b"--") and self._delimiter(line) is not None:
                self._header_ended(b"")
                return at, True
            self._add_line(line)
            at = len(buffer)
        return at, False

    def _add_line(self, line: bytes) -> None:
        self._header.append(line)
        self._header_size += len(line) + 2
        if self._header_size > MAX_HEADER:
            raise TooComplex("a header section is too long")

    def _header_ended(self, empty_line: bytes) -> None:
        self._entities += 1
        if self._entities > MAX_ENTITIES:
            raise TooComplex("the message has too many parts")
        header = b"".join([line + b"\r\n" for line in self._header])
        in_digest = not self._whole and bool(self._stack) and self._stack[-1].digest
        entity = read_entity(header, in_digest=in_digest)
        visitor = self._visitor
        visitor.entity(entity, header, whole=self._whole, in_signed=self._in_signed)
        visitor.structure(empty_line)
        self._header = []
        self._header_size = 0
        self._at_line_start = True
        if entity.kind == "message" and empty_line:
            self._whole = True  # and its header follows
        elif entity.kind == "multipart":
            if len(self._stack) >= MAX_DEPTH:
                raise TooComplex("the message has too many levels of parts")
            self._stack.append(entity)
            self._parted.append(False)
            self._note_stack()
            self._mode = "between"
        else:
            self._mode = "body"

    def _step_text(self, buffer: bytes, at: int, final: bool) -> tuple[int, bool]:
        """Give away what belongs to a body, or stands between parts, up to the next delimiter.

        :returns: as `_step_header`
        """
        starts_line = self._at_line_start and buffer.startswith(b"--", at)
        found = at if starts_line else buffer.find(b"\r\n--", at)
        while found >= 0:
            start = found + 2 if buffer.startswith(b"\r", found) else found
            end = buffer.find(b"\r\n", start, start + _MAX_DELIMITER)
            if end < 0 and final:
                end = len(buffer)
            elif end < 0 and len(buffer) - start < _MAX_DELIMITER:
                self._give(buffer[at:found])
                return found, False
            which = self._delimiter(buffer[start:end]) if end >= 0 else None
            if which is not None:
                self._give(buffer[at:found])
                self._delimited(*which, buffer[found : end + 2])
                return min(end + 2, len(buffer)), True
            found = buffer.find(b"\r\n--", start)
        kept = 0
        if not final:
            if self._at_line_start and len(buffer) - at < 2 and buffer[at:] in (b"", b"-"):
                return at, False
            kept = next((len(tail) for tail in _BEGINNINGS if buffer.endswith(tail, at)), 0)
        self._give(buffer[at : len(buffer) - kept])
        return len(buffer) - kept, False

    def _give(self, octets: bytes) -> None:
        if not octets:
            return
        self._at_line_start = False
        if self._mode == "body":
            self._visitor.body(octets)
        else:
            self._visitor.between(octets, in_signed=self._in_signed)

    def _delimited(self, place: int, closing: bool, octets: bytes) -> None:
        if self._mode == "body":
            self._visitor.body_ended(last=False)
        self._close(place if closing else place + 1)
        self._visitor.structure(octets)
        if not closing:
            self._parted[place] = True
        self._note_stack()
        self._mode = "between" if closing else "header"
        self._whole = False
        self._at_line_start = True

    def _close(self, place: int) -> None:
        if not all(self._parted[place:]):
            self._visitor.partless()
        del self._stack[place:], self._parted[place:]

    def _delimiter(self, line: bytes) -> tuple[int, bool] | None:
        """Of which multipart a line is a delimiter, and whether it is the last one."""
        text = line[2:].rstrip(b" \t")
        place = self._boundaries.get(text)
        if place is not None:
            return place, False
        if text.endswith(b"--"):
            place = self._boundaries.get(text[:-2])
        return None if place is None else (place, True)

    def _note_stack(self) -> None:
        self._boundaries = {entity.boundary: place for place, entity in enumerate(self._stack)}
        self._in_signed = any(entity.signed for entity in self._stack)

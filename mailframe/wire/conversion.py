"""Brings a MIME message into a form that a server without 8BITMIME or BINARYMIME takes.

RFC 6152 §3 and RFC 3030 §3 leave the choice between this and returning the message. Each body that
can't go as it is becomes quoted-printable or base64, and header lines that are too long are folded;
all other octets stay as they are, except the name of the transfer encoding where it promises more
than is left. It takes two passes: a `Survey`
sees what there is and makes a `Plan`, by which a `Converter` works. Both take the octets piece by
piece, in time proportional to their number.

What must not be encoded is `Unconvertible`: what is signed, header fields beyond ASCII, a body
whose encoding is not known or not true, and whatever RFC 2045 §6.4 forbids.

A body beyond ASCII of a message without MIME is text in an unknown character set (RFC 1428 §3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from mailframe.wire import line_ends
from mailframe.wire.folding import MAX_LINE, folded, is_too_long
from mailframe.wire.mime_header import IDENTITY, Entity, with_encoding
from mailframe.wire.mime_walker import TooComplex, Walker
from mailframe.wire.transfer_encodings import Base64, BodyEncoder, QuotedPrintable

Label: TypeAlias = Literal["7bit", "8bit", "quoted-printable", "base64"]
_ENCODERS: dict[str, type[QuotedPrintable] | type[Base64]] = {
    "quoted-printable": QuotedPrintable,
    "base64": Base64,
}
_SIGNED = "what is signed can't be encoded without breaking it"
_BEYOND_ASCII = bytes(range(128, 256))
_QUESTION_MARKS = bytes(range(128)) + b"?" * 128


class Unconvertible(ValueError):
    """The message can't be brought into that form. ``str(error)`` is one clause.

    :ivar status: 5.6.2 where conversion is prohibited, 5.6.3 where it is beyond us
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done.

    :ivar labels: for each entity, in order, the transfer encoding it gets; ``None`` leaves its
        header alone
    :ivar is_needed: whether anything must be done at all
    :ivar has_8bit: whether octets beyond ASCII are left afterwards
    """

    labels: tuple[Label | None, ...]
    is_needed: bool
    has_8bit: bool


class _Body:
    """What is seen of one body."""

    def __init__(self, entity: Entity, in_signed: bool) -> None:
        self.entity = entity
        self.in_signed = in_signed
        self.octets = 0
        self.beyond_ascii = 0
        self.binary = False  # it has NUL, bare line ends or lines that are too long
        self._line = 0
        self._held_cr = False

    def see(self, octets: bytes, binary: bool) -> None:
        self.octets += len(octets)
        if not octets.isascii():
            self.beyond_ascii += len(octets) - len(octets.translate(None, _BEYOND_ASCII))
        if binary and not self.binary:
            self._look_for_binary(octets)

    def ended(self) -> None:
        self.binary = self.binary or self._held_cr

    def _look_for_binary(self, octets: bytes) -> None:
        if self._held_cr:
            octets = b"\r" + octets
        self._held_cr = octets.endswith(b"\r")
        if self._held_cr:
            octets = octets[:-1]
        lines = [len(line) for line in octets.split(b"\r\n")]
        lines[0] += self._line
        self._line = lines[-1]
        self.binary = b"\0" in octets or line_ends.has_bare(octets) or max(lines) > MAX_LINE


class Survey:
    """The first pass.

    :param eight_bit: whether octets beyond ASCII may stay
    :param binary: whether NUL, bare line ends and endless lines are to be looked for
    """

    def __init__(self, *, eight_bit: bool, binary: bool) -> None:
        self._eight_bit = eight_bit
        self._binary = binary
        self._bodies: list[_Body] = []
        self._needed = False
        self._has_8bit = False
        self._beyond_between = False  # octets beyond ASCII, since the last entity began
        self._trouble: Unconvertible | None = None
        self._walker = Walker(self)

    def feed(self, octets: bytes) -> None:
        """Take the next octets.

        :raises Unconvertible: the structure is beyond the bounds
        """
        try:
            self._walker.feed(octets)
        except TooComplex as error:
            raise Unconvertible("5.6.3", f"the content can't be encoded: {error}") from None

    def finish(self) -> Plan:
        """The message is over.

        :raises Unconvertible: it needs a conversion that is not possible
        """
        try:
            self._walker.finish()
        except TooComplex as error:
            raise Unconvertible("5.6.3", f"the content can't be encoded: {error}") from None
        labels = tuple([self._label(body) for body in self._bodies])
        if not self._needed:
            labels = (None,) * len(labels)
        elif self._trouble is not None:
            raise self._trouble
        return Plan(labels=labels, is_needed=self._needed, has_8bit=self._has_8bit)

    def _label(self, body: _Body) -> Label | None:
        entity = body.entity
        beyond = bool(body.beyond_ascii)
        if body.binary or (beyond and not self._eight_bit):
            self._needed = True
            if body.in_signed:
                self._refuse("5.6.2", _SIGNED)
            elif entity.kind != "leaf":
                self._refuse("5.6.3", "a part that must not be encoded has octets beyond ASCII")
            elif entity.encoding not in IDENTITY:
                self._refuse("5.6.3", "a part is not in the encoding that it names")
            mostly_ascii = 6 * body.beyond_ascii <= body.octets
            if entity.text and not body.binary and mostly_ascii:
                return "quoted-printable"
            return "base64"
        self._has_8bit = self._has_8bit or beyond
        allowed: Label = "8bit" if self._eight_bit else "7bit"
        promises_more = entity.encoding in IDENTITY[IDENTITY.index(allowed) + 1 :]
        return allowed if promises_more and not body.in_signed else None

    def _beyond_ascii(self) -> bool:
        """There are octets beyond ASCII outside the bodies; returns whether they are too much."""
        if self._eight_bit:
            self._has_8bit = True
        else:
            self._needed = True
        return not self._eight_bit

    def _refuse(self, status: str, reason: str) -> None:
        self._trouble = self._trouble or Unconvertible(status, reason)

    # --- as a visitor -------------------------------------------------------------------------

    def entity(self, entity: Entity, header: bytes, *, whole: bool, in_signed: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.entity`."""
        self._bodies.append(_Body(entity, in_signed))
        self._beyond_between = False
        if not header.isascii() and self._beyond_ascii():
            self._refuse("5.6.3", "header fields beyond ASCII can't be encoded")
        if self._binary and (is_too_long(header) or b"\0" in header):
            self._needed = True
            if in_signed:
                self._refuse("5.6.2", _SIGNED)
            elif b"\0" in header or folded(header) is None:
                self._refuse("5.6.3", "a header field is no text, or a word of it is too long")

    def body(self, octets: bytes) -> None:
        """See `mailframe.wire.mime_walker.Visitor.body`."""
        self._bodies[-1].see(octets, self._binary)

    def body_ended(self, *, last: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.body_ended`."""
        self._bodies[-1].ended()

    def between(self, octets: bytes, *, in_signed: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.between`."""
        if octets.isascii():
            return
        self._beyond_between = True
        if self._beyond_ascii() and in_signed:
            self._refuse("5.6.2", _SIGNED)

    def partless(self) -> None:
        """See `mailframe.wire.mime_walker.Visitor.partless`."""
        if self._beyond_between and not self._eight_bit:
            self._refuse("5.6.3", "a multipart without parts can't be encoded")

    def structure(self, octets: bytes) -> None:
        """See `mailframe.wire.mime_walker.Visitor.structure`."""


class Converter:
    """The second pass, over the same octets.

    :param plan: of the first pass
    """

    def __init__(self, plan: Plan) -> None:
        self._labels: Sequence[Label | None] = plan.labels
        self._keep_8bit = plan.has_8bit
        self._next = 0
        self._encoder: BodyEncoder | None = None
        self._output: list[bytes] = []
        self._walker = Walker(self)

    def feed(self, octets: bytes) -> bytes:
        """Take the next octets.

        :returns: what is done, maybe nothing
        """
        self._walker.feed(octets)
        return self._take()

    def finish(self) -> bytes:
        """The rest."""
        self._walker.finish()
        return self._take()

    def _take(self) -> bytes:
        output, self._output = self._output, []
        return b"".join(output)

    # --- as a visitor -------------------------------------------------------------------------

    def entity(self, entity: Entity, header: bytes, *, whole: bool, in_signed: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.entity`."""
        label = self._labels[self._next]
        self._next += 1
        encoder = _ENCODERS.get(label or "")
        self._encoder = encoder() if encoder else None
        if is_too_long(header):
            header = folded(header) or header
        if label is not None:
            if whole and not entity.versioned:
                header += b"MIME-Version: 1.0\r\n"
            if whole and not entity.typed and encoder:
                header += b"Content-Type: text/plain; charset=unknown-8bit\r\n"
            header = with_encoding(header, label)
        self._output.append(header)

    def body(self, octets: bytes) -> None:
        """See `mailframe.wire.mime_walker.Visitor.body`."""
        self._output.append(self._encoder.encode(octets) if self._encoder else octets)

    def body_ended(self, *, last: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.body_ended`."""
        if self._encoder is not None:
            self._output.append(self._encoder.finish())
            if last and isinstance(self._encoder, Base64):
                self._output.append(b"\r\n")
            self._encoder = None

    def between(self, octets: bytes, *, in_signed: bool) -> None:
        """See `mailframe.wire.mime_walker.Visitor.between`. Nobody is to see this text."""
        self._output.append(octets if self._keep_8bit else octets.translate(_QUESTION_MARKS))

    def partless(self) -> None:
        """See `mailframe.wire.mime_walker.Visitor.partless`."""

    def structure(self, octets: bytes) -> None:
        """See `mailframe.wire.mime_walker.Visitor.structure`."""
        self._output.append(octets)

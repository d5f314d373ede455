"""Messages in the form they have on the wire: small ones whole, large ones piece by piece."""

from __future__ import annotations

from mailframe.wire.data import DataEncoder
from mailframe.wire.pop3_surrogate import Surrogate
from mailframe.wire.pop3_top import Top

END = b".\r\n"


def wire_form(stored: bytes) -> tuple[bytes, int]:
    """Give a message its wire form (RFC 1939 §3).

    As `DataEncoder` does piece by piece, with as few passes over the octets as can be: most
    messages end their lines in LF alone and begin none with a dot.

    :param stored: with any line ends
    :returns: CRLF line ends, dots stuffed and the terminator; and the octets of it that count as
        the message's (RFC 1939 §11): neither stuffed dots nor the terminator
    """
    if b"\r" in stored:
        encoder = DataEncoder()
        wire = encoder.encode(stored) + encoder.finish()
        stuffed = wire.count(b"\r\n..") + wire.startswith(b"..")
        return wire, len(wire) - len(END) - stuffed
    if stored and not stored.endswith(b"\n"):
        stored += b"\n"
    wire = stored.replace(b"\n", b"\r\n")
    size = len(wire)
    # From the end: in Python that search is twice as fast as from the beginning.
    if stored.rfind(b"\n.") >= 0 or stored.startswith(b"."):
        wire = wire.replace(b"\r\n.", b"\r\n..")
        if stored.startswith(b"."):
            wire = b"." + wire
    return wire + END, size


def shown_form(wire: bytes, lines: int | None, utf8: bool) -> bytes:
    """What a client is sent of a small message.

    :param wire: its wire form
    :param lines: how many lines of the body, or ``None`` for all of them
    :param utf8: the client takes UTF-8 (RFC 6856)
    """
    if not utf8 and not wire.isascii():
        surrogate = Surrogate()
        wire = surrogate.take(wire) + surrogate.finish()
    if lines is None:
        return wire
    return Top(lines).take(wire[: -len(END)]) + END


class Transfer:
    """A large message on its way to the client."""

    __slots__ = ("_encoder", "_surrogate", "_top")

    def __init__(self, lines: int | None, utf8: bool) -> None:
        """See `shown_form`."""
        self._surrogate = None if utf8 else Surrogate()
        self._top = None if lines is None else Top(lines)
        self._encoder = DataEncoder()

    @property
    def done(self) -> bool:
        """The rest of the message is not needed."""
        return self._top is not None and self._top.done

    def take(self, octets: bytes) -> bytes:
        """The next octets of the message as it is stored; gives those to be sent."""
        return self._shown(self._encoder.encode(octets))

    def finish(self) -> bytes:
        """The last octets to be sent."""
        rest = b""
        if not self.done:
            rest = self._shown(self._encoder.finish()[: -len(END)])
            if self._surrogate is not None:
                rest += self._cut(self._surrogate.finish())
        return rest + END

    def _shown(self, wire: bytes) -> bytes:
        return self._cut(wire if self._surrogate is None else self._surrogate.take(wire))

    def _cut(self, wire: bytes) -> bytes:
        return wire if self._top is None else self._top.take(wire)

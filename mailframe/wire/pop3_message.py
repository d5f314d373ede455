"""A whole message in the form it has on the wire, for messages that are small.

Gives what `mailframe.wire.data.DataEncoder` gives piece by piece, with as few passes over the
octets as can be: most messages end their lines in LF alone and begin none with a dot.
"""

from __future__ import annotations

from mailframe.wire.data import DataEncoder

END = b".\r\n"


def wire_form(stored: bytes) -> tuple[bytes, int]:
    """Give a message its wire form (RFC 1939 §3).

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
    if b"\n." in stored or stored.startswith(b"."):
        wire = wire.replace(b"\r\n.", b"\r\n..")
        if stored.startswith(b"."):
            wire = b"." + wire
    return wire + END, size

"""What a POP3 session has to say, until it is sent: RFC 1939 §3 and RFC 2449 §§4 and 8."""

from __future__ import annotations

RESPONSE_LINE = 512  # octets with CRLF, RFC 2449 §4


class Responses:
    """Octets in their order.

    :ivar size: how many there are
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def put(self, octets: bytes) -> None:
        """Add octets as they are."""
        self._pieces.append(octets)
        self.size += len(octets)

    def ok(self, text: str) -> None:
        """Say that a command has succeeded.

        :param text: our own words
        """
        self.put(f"+OK {text}\r\n".encode("ascii"))

    def error(self, text: str, code: str = "") -> None:
        """Say that a command has failed.

        :param text: any words; they are cut off where the line would be too long
        :param code: a response code of RFC 2449 §8, such as ``IN-USE``, or ``""``
        """
        # What begins with a bracket would be taken for a response code.
        shown = f"-ERR [{code}] {text}" if code else f"-ERR {text.lstrip(' [')}"
        self.put(shown.encode("ascii", "replace")[: RESPONSE_LINE - 2] + b"\r\n")

    def take(self) -> bytes:
        """All that is to be sent; nothing is kept."""
        pieces = self._pieces
        octets = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.size = 0
        return octets

"""Content as BDAT chunks (RFC 3030), for the client's side."""

from __future__ import annotations

from mailframe.wire import line_ends


class ChunkEncoder:
    """Frames content, piece by piece; the last piece is held back, for it is to be marked.

    In content that is not binary, a bare CR or LF becomes CRLF, as in
    `mailframe.wire.data.DataEncoder`: no receiver is to see a line end where we saw none.

    :param binary: the content goes out as it is, octet for octet
    """

    __slots__ = ("_binary", "_held", "_held_cr")

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary
        self._held = b""
        self._held_cr = False  # the last piece ended in CR, which an LF may follow

    def encode(self, octets: bytes) -> bytes:
        """Take the next piece.

        :returns: one chunk with its command, or ``b""``
        """
        if not self._binary:
            octets = self._with_whole_line_ends(octets)
        if not octets:
            return b""
        held, self._held = self._held, octets
        return b"BDAT %d\r\n%b" % (len(held), held) if held else b""

    def finish(self) -> bytes:
        """The last chunk with its command."""
        held = self._held + (b"\r\n" if self._held_cr else b"")
        return b"BDAT %d LAST\r\n%b" % (len(held), held)

    def _with_whole_line_ends(self, octets: bytes) -> bytes:
        if self._held_cr:
            octets = b"\r" + octets
        self._held_cr = octets.endswith(b"\r")
        if self._held_cr:
            octets = octets[:-1]
        return line_ends.whole(octets)

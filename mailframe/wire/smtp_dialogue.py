"""What every server's dialogue of command lines and replies has: output, errors, and an end."""

from __future__ import annotations

from mailframe.reply import Reply
from mailframe.wire import smtp_replies as replies
from mailframe.wire.lines import LineBuffer


class Dialogue:
    """Lines in, replies out.

    :ivar closing: nothing more is parsed; send the output, then close
    """

    def __init__(self, *, line_limit: int, errors: int) -> None:
        """
        :param line_limit: octets of the longest line with its CRLF
        :param errors: how many errors the client may make
        """
        self.closing = False
        self._lines = LineBuffer(line_limit)
        self._output: list[bytes] = []
        self._errors = 0
        self._max_errors = errors

    def take_output(self) -> bytes:
        """What is to be sent now, maybe empty."""
        output = self._output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return octets

    def greet(self, greeting: Reply) -> None:
        """Give the greeting, or refuse a client that has talked before it (RFC 5321 §4.3.1)."""
        if len(self._lines) and greeting.is_positive:
            greeting = replies.TALKED_TOO_EARLY
        self._output.append(greeting.encode())
        self.closing = not greeting.is_positive

    def hang_up(self, reply: Reply) -> None:
        """End the dialogue with a reply that answers no command: 421 (RFC 5321 §3.8)."""
        if not self.closing:
            self._output.append(reply.encode())
            self.closing = True

    def _answer(self, reply: Reply) -> None:
        """Put a reply into the output, or 421 when it is one error too many."""
        code = reply.code
        if code >= 500:
            self._errors += 1
        elif code == 421:
            self.closing = True
        if self._errors >= self._max_errors:
            reply = replies.TOO_MANY_ERRORS
            self.closing = True
        self._output.append(reply.encode())

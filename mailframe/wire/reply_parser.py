"""Reads a remote server's replies, which may be hostile, within fixed bounds.

A reply is one or more lines that begin with the same three digits; ``-`` after the digits says that
another line follows (RFC 5321 §4.2.1). Line ends: CRLF, and a lone LF too, for there are servers
that send it. Taking LF is safe in this direction: a reply only ever answers the commands that are
outstanding, and nothing in it is passed on as a line of its own. A CR elsewhere is text, and
`Reply` replaces it like every other unprintable character.

Whatever the server sends, no more than one line, and the text of one reply, is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mailframe.reply import Reply

MAX_LINE = 4096  # octets of a line without its end; RFC 5321 §4.5.3.1.5 asks servers for 512
MAX_LINES = 128  # in one reply
MAX_TEXT = 4096  # characters of a reply's text that are kept, all lines together
MAX_REASON = 1024  # the same of a refusal, which is recorded for each recipient at each attempt

# Reply-line = Reply-code [ SP / "-" textstring ], RFC 5321 §4.2; "250" alone must be understood.
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
# status-code SP at the start of the text, RFC 2034 §4
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")


class ReplyError(Exception):
    """What the server sent is not a reply. ``str(error)`` is one clause in printable ASCII."""


class ReplyParser:
    """Cuts the octets from a server into replies.

    Once `next_reply` has raised `ReplyError` the connection can't be understood any more and the
    parser must not be used again.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = b""
        self._texts: list[bytes] = []

    def feed(self, octets: bytes) -> None:
        """Take octets as they came from the network."""
        self._buffer += octets

    def __len__(self) -> int:
        """How many octets wait to be read, the lines of an unfinished reply included."""
        return len(self._buffer) + sum(len(text) + 4 for text in self._texts)

    def next_reply(self) -> Reply | None:
        """The next whole reply, or ``None`` when more octets are needed.

        The enhanced status code is taken from the text when its class fits the code (RFC 2034 §4).

        :raises ReplyError: a line is too long, has no reply code, or its code differs from that of
            the lines before it; or the reply has too many lines
        """
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n")
            if end > MAX_LINE + 1 or (end < 0 and len(buffer) > MAX_LINE + 1):
                raise ReplyError("a reply line is too long")
            if end < 0:
                return None
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if line.endswith(b"\r"):
                line = line[:-1]
            if not self._texts and line[3:4] != b"-":
                return _single_line(line)
            code, more, text = _split(line)
            if self._texts and code != self._code:
                raise ReplyError("the lines of one reply have different codes")
            self._code = code
            self._texts.append(text)
            if not more:
                texts, self._texts = self._texts, []
                return _reply(int(code), texts)
            if len(self._texts) >= MAX_LINES:
                raise ReplyError("a reply has too many lines")


def _split(line: bytes) -> tuple[bytes, bool, bytes]:
    match = _LINE.fullmatch(line)
    if not match:
        raise ReplyError("a line does not begin with a reply code")
    return match[1], match[2] == b"-", match[3] or b""


@lru_cache(maxsize=256)  # most replies of a session are the same few lines
def _single_line(line: bytes) -> Reply:
    code, _, text = _split(line)
    return _reply(int(code), [text])


def _reply(code: int, texts: list[bytes]) -> Reply:
    lines = [text.decode("utf-8", "replace") for text in texts]
    match = _STATUS.match(lines[0])
    status = match[1] if match and match[1][0] == str(code)[0] else None
    if status:
        lines = [_without(status, line) for line in lines]
    return Reply(code, status, _shortened(lines, is_refusal=code >= 400), is_remote=True)


def _without(status: str, line: str) -> str:
    match = _STATUS.match(line)
    return line[match.end() :] if match and match[1] == status else line


def _shortened(lines: list[str], *, is_refusal: bool) -> list[str]:
    """The lines as far as the room for text goes.

    The last line of a refusal may be cut. Of an extension that EHLO offers half a line would say
    something else.
    """
    kept: list[str] = []
    room = MAX_REASON if is_refusal else MAX_TEXT
    for line in lines:
        if room <= 0 or (len(line) > room and kept and not is_refusal):
            break
        kept.append(line[:room])
        room -= len(line)
    return kept

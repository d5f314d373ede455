"""A message with UTF-8 in its header section, for clients that did not ask for UTF-8 (RFC 6856 §2).

Such a client must not be sent the message as it is (RFC 6532); refusing it would let anybody who
sends such a message stop a mailbox from being fetched. So it gets a surrogate, as RFC 6857 does:

- In an unstructured field, such as Subject or one that is not known here, the value becomes encoded
  words (RFC 2047).
- A field of addresses becomes an empty group whose name is the whole value in encoded words: valid
  (RFC 6854), and shown by every client, though it can't be answered to.
- In a field that says what the body is, each character that is not ASCII becomes a question mark.
- A field with another form of its own, such as Message-ID, is renamed to ``Downgraded-…``, with its
  value in encoded words.

A header section that is not UTF-8 is none that RFC 6856 speaks of, and is sent as it is, and so is
the body. Nothing is changed in the mailbox.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

MOST = 256 * 1024  # octets of a header section that is looked at
_LINE = 76  # characters of a line with an encoded word, RFC 2047 §2
_WORD = 45  # octets in one encoded word, so that a line has 73 characters at the most
_LEAST = 9  # octets in the first one, however long the field's name is
_LINES = re.compile(r"(?<=\n)")
_FIELD = re.compile(r"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FOLD = re.compile(r"[\r\n]+[ \t]*")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_UNSTRUCTURED = frozenset({"subject", "comments", "keywords", "content-description"})
_BODY = "content-"
_ADDRESSES = frozenset(
    {
        *("from", "sender", "reply-to", "to", "cc", "bcc"),
        *("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc"),
    }
)
_STRUCTURED = frozenset(
    {
        *("date", "message-id", "in-reply-to", "references", "mime-version"),
        *("resent-date", "resent-message-id", "received", "return-path", "delivered-to"),
        *("original-recipient", "final-recipient", "disposition-notification-to", "dkim-signature"),
        *("authentication-results", "auto-submitted", "list-id"),
    }
)


class Surrogate:
    """Makes the surrogate, piece by piece."""

    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head: bytes | None = b""  # of the header section, as long as it is not complete

    def take(self, octets: bytes) -> bytes:
        """The next octets of the message, with any line ends, dots stuffed or not.

        :returns: octets of the surrogate; none before the header section is complete
        """
        if self._head is None:
            return octets
        head = self._head + octets
        end = _end_of_header(head)
        if end < 0 and len(head) <= MOST:
            self._head = head
            return b""
        self._head = None
        return downgraded(head[:end]) + head[end:] if end >= 0 else head

    def finish(self) -> bytes:
        """What is left of a message that is all header section."""
        head, self._head = self._head, None
        return downgraded(head) if head else b""


def _end_of_header(octets: bytes) -> int:
    """Where the blank line begins, or -1."""
    if octets.startswith((b"\n", b"\r\n")):
        return 0
    ends = [at + 1 for at in (octets.find(b"\n\n"), octets.find(b"\n\r\n")) if at >= 0]
    return min(ends, default=-1)


def downgraded(head: bytes) -> bytes:
    """A header section without UTF-8.

    :param head: whole lines
    """
    if head.isascii():
        return head
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return head
    fields: list[list[str]] = []
    # Not `splitlines`, which takes more for a line end than a line end is.
    for line in _LINES.split(text):
        if fields and line.startswith((" ", "\t")):
            fields[-1].append(line)
        else:
            fields.append([line])
    return "".join(_field("".join(lines)) for lines in fields).encode("ascii")


def _field(field: str) -> str:
    """A field with all its lines, in ASCII."""
    if field.isascii():
        return field
    match = _FIELD.fullmatch(field)
    if match is None:
        return _NOT_ASCII.sub("?", field)
    name, value = match.groups()
    kind = name.lower()
    if kind.startswith(_BODY) and kind not in _UNSTRUCTURED:
        return _NOT_ASCII.sub("?", field)
    end = "\r\n" if field.endswith("\r\n") else "\n"
    if kind in _STRUCTURED:
        name = f"Downgraded-{name}"
    words = f"{end} ".join(_words(_FOLD.sub(" ", value).strip(), len(name) + 2))
    group = f"{end} :;" if kind in _ADDRESSES else ""
    return f"{name}: {words}{group}{end}"


def _words(text: str, column: int) -> Iterator[str]:
    """Encoded words, each for a line, none of which cuts a character in two (RFC 2047 §§2 and 5).

    :param column: where the first begins in its line
    """
    octets = text.encode()
    start = 0
    size = max(_LEAST, (_LINE - column - len("=?utf-8?b??=")) // 4 * 3)
    while start < len(octets):
        end = min(start + min(size, _WORD), len(octets))
        size = _WORD
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        yield f"=?utf-8?b?{base64.b64encode(octets[start:end]).decode('ascii')}?="
        start = end

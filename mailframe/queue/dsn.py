"""The octets of a delivery status notification: RFC 3464 fields inside an RFC 6522 report.

What remote servers said and the headers of the original message are untrusted. Two rules keep them
from breaking the report: every piece of text goes through `one_line`, which leaves printable ASCII
of bounded length, and the original's headers are carried 7bit only when each of their lines is
plain and short, else as quoted-printable. The report is therefore always 7bit, and can be sent
through any server.
"""

from __future__ import annotations

import binascii
import re
import textwrap
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from random import Random
from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.reply import Reply

Action: TypeAlias = Literal["failed", "delayed"]

MAX_TEXT = 500  # characters of a remote server's words that a report repeats
MAX_HEADERS = 32 * 1024  # octets of the original's header section that a report returns
MAX_LINE = 998  # octets of a line without its CRLF, RFC 5322 §2.1.1

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_SPACES = re.compile(r" {2,}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ENDPOINT = re.compile(r"(?:tcp|tls|ssl):(?:host=)?([A-Za-z0-9][A-Za-z0-9._-]*)(?::|$)")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_ADDRESS_OF_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_PLAIN_LINE = re.compile(rb"[\t\x20-\x7e]{0,%d}" % MAX_LINE)
_LINE_END = re.compile(rb"\r\n|\r|\n")


@attrs.frozen(kw_only=True)
class RecipientStatus:
    """What a report says of one recipient, RFC 3464 §2.3.

    :ivar recipient: whom the message was for
    :ivar action: ``failed`` for good, or ``delayed`` and still being tried
    :ivar reply: what was said at the last attempt, or ``None`` when there was none
    :ivar where: the host (``"mx.example [192.0.2.1]:25"``) or mailbox of that attempt, or ``""``
    :ivar attempted: when that was, POSIX seconds, or ``None``
    :ivar retry_until: when a delayed message is given up, POSIX seconds, or ``None``
    """

    recipient: Address
    action: Action
    reply: Reply | None
    where: str
    attempted: float | None
    retry_until: float | None


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """Untrusted text as one line of printable ASCII.

    :param text: anything
    :param limit: how many characters are kept; what is cut off is shown as ``...``
    """
    plain = _SPACES.sub(" ", _UNPRINTABLE.sub("?", text)).strip()
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def status_code(reply: Reply | None) -> str:
    """The enhanced status code to report, RFC 3463.

    The remote server's own; the general code of the reply's class when it gave none; and 4.4.7,
    delivery time expired, when the message was never tried.
    """
    if reply is None:
        return "4.4.7"
    return reply.status or f"{reply.code // 100}.0.0"


def remote_mta(where: str) -> str | None:
    """The host in ``where`` as RFC 3464 §2.3.5 names it, or ``None`` when no host was involved."""
    first, _, rest = where.partition(" ")
    if rest.startswith("[") and _HOST.fullmatch(first):
        return first
    named = _ENDPOINT.match(where)  # the next hop of a routing rule, as the rule writes it
    if named:
        host = named[1]
        return host if not _IPV4.fullmatch(host) else f"[{host}]"
    literal = _ADDRESS_OF_HOST.match(where)
    return literal.group() if literal else None


def delivery_status(
    hostname: str, queue_id: str, arrived: float, statuses: Iterable[RecipientStatus]
) -> bytes:
    """The body of the ``message/delivery-status`` part, RFC 3464 §2.1."""
    blocks = [
        [
            f"Reporting-MTA: dns; {hostname}",
            f"Arrival-Date: {formatdate(arrived)}",
            f"X-mailframe-Queue-Id: {queue_id}",
        ]
    ]
    blocks += [_recipient_fields(status) for status in statuses]
    # An empty line stands between the blocks, and none after the last.
    return "\r\n".join("".join(f"{field}\r\n" for field in block) for block in blocks).encode(
        "ascii"
    )


def _recipient_fields(status: RecipientStatus) -> list[str]:
    fields = [
        f"Final-Recipient: rfc822; {status.recipient}",
        f"Action: {status.action}",
        f"Status: {status_code(status.reply)}",
    ]
    remote = remote_mta(status.where)
    if remote is not None:
        fields.append(f"Remote-MTA: dns; {remote}")
    if status.reply is not None:
        # "smtp" stands for words that a remote server said (RFC 3464 §2.3.6); a reply of our own
        # making is marked as such.
        origin = "smtp" if remote is not None else "X-mailframe"
        fields += fold(f"Diagnostic-Code: {origin}; {one_line(str(status.reply))}")
    if status.attempted is not None:
        fields.append(f"Last-Attempt-Date: {formatdate(status.attempted)}")
    if status.retry_until is not None:
        fields.append(f"Will-Retry-Until: {formatdate(status.retry_until)}")
    return fields


def fold(field: str) -> list[str]:
    """A header field as lines of at most 78 characters where its spaces allow, RFC 5322 §2.2.3."""
    return textwrap.wrap(
        field, 78, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def header_section(content: bytes) -> bytes:
    """The header section of a message, or as many of its whole lines as `MAX_HEADERS` allows.

    :param content: a message or its beginning; line ends other than CRLF count as line ends too
    :returns: lines that end with CRLF, without the empty line that ends the section
    """
    lines = _LINE_END.split(content[:MAX_HEADERS])
    if b"" in lines:
        lines = lines[: lines.index(b"")]
    elif len(content) >= MAX_HEADERS:
        lines.pop()  # cut somewhere in the middle
    return b"".join(line + b"\r\n" for line in lines)


def _headers_part(headers: bytes) -> bytes:
    """The original's headers as a ``text/rfc822-headers`` part, RFC 6522 §4."""
    lines = headers.split(b"\r\n")
    if all(_PLAIN_LINE.fullmatch(line) for line in lines):
        encoding, body = b"7bit", headers
    else:
        encoding = b"quoted-printable"
        encoded = (binascii.b2a_qp(line, istext=False) for line in lines)
        body = b"\r\n".join(line.replace(b"\n", b"\r\n") for line in encoded)
    return (
        b"Content-Description: Headers of your message\r\n"
        b"Content-Type: text/rfc822-headers\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    )


def compose(top: Sequence[str], text: str, status: bytes, headers: bytes, random: Random) -> bytes:
    """Put the report together.

    :param top: the lines of the report's own header section, without those of MIME
    :param text: the explanation: printable ASCII, ``\\n`` line ends, short lines
    :param status: from `delivery_status`
    :param headers: from `header_section`
    :param random: where the boundary comes from
    """
    explanation = (
        "Content-Description: What happened\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "Content-Transfer-Encoding: 7bit\r\n\r\n" + text.replace("\n", "\r\n")
    ).encode("ascii")
    report = (
        b"Content-Description: Delivery status\r\n"
        b"Content-Type: message/delivery-status\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n\r\n" + status
    )
    parts = (explanation, report, _headers_part(headers))
    boundary = _boundary(parts, random)
    lines = [
        *top,
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'    boundary="{boundary.decode("ascii")}"',
        "",
        "This is a delivery status notification in MIME format.",
        "",
    ]
    message = ["".join(f"{line}\r\n" for line in lines).encode("ascii")]
    for part in parts:
        message += [b"--", boundary, b"\r\n", part, b"\r\n"]
    message += [b"--", boundary, b"--\r\n"]
    return b"".join(message)


def _boundary(parts: Iterable[bytes], random: Random) -> bytes:
    """A boundary that no line of the parts could be taken for, RFC 2046 §5.1.1."""
    content = b"".join(parts)
    while True:
        # "=_" can't come out of quoted-printable.
        boundary = b"=_%032x" % random.getrandbits(128)
        if boundary not in content:
            return boundary

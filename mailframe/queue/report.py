"""The octets of a notice: the three parts of an RFC 6522 report, put together as MIME.

Whoever writes the original message, or answers for a remote server, must not be able to break the
report's structure. Its boundary is random and not in the content, and each part is carried as it is
only when all its lines are plain and short.

A report is 7bit, so that every server takes it, but for what its sender's way is known to carry
(`Carries`): what is beyond that is sent as quoted-printable, and a message that MIME forbids to
encode (RFC 2046 §5.2.1) is returned without its body.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from random import Random

import attrs

MAX_HEADERS = 32 * 1024  # octets of the original's header section that a report returns
MAX_LINE = 998  # octets of a line without its CRLF, RFC 5322 §2.1.1

_PLAIN_LINE = re.compile(rb"[\t\x20-\x7e]{0,%d}" % MAX_LINE)
_LINE_END = re.compile(rb"\r\n|\r|\n")
# RFC 2045 §2.7, §2.8: what may be sent without an encoding.
_SEVEN_BIT = re.compile(rb"(?:[^\0\r\n\x80-\xff]{0,%d}\r\n)*" % MAX_LINE)
_EIGHT_BIT = re.compile(rb"(?:[^\0\r\n]{0,%d}\r\n)*" % MAX_LINE)


@attrs.frozen(kw_only=True)
class Carries:
    """What reaches the one who gets the report without being changed on its way.

    :ivar eight_bit: octets beyond ASCII in a body
    :ivar utf8: UTF-8 in header fields as well (RFC 6531)
    """

    eight_bit: bool = False
    utf8: bool = False


@attrs.frozen(kw_only=True)
class Part:
    """One part of a report, ready to be sent.

    :ivar fields: its header fields, each ending with CRLF
    :ivar body: ends with CRLF, or is empty
    """

    fields: bytes
    body: bytes


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


def explanation(text: str, carries: Carries) -> Part:
    """The part that people read.

    :param text: printable, ``\\n`` line ends, short lines
    """
    charset = "us-ascii" if text.isascii() else "utf-8"
    body = text.replace("\n", "\r\n").encode()
    return _part("What happened", f"text/plain; charset={charset}", body, carries.eight_bit)


def status(fields: str, carries: Carries) -> Part:
    """The part that software reads.

    :param fields: from `mailframe.queue.dsn.delivery_status`
    """
    subtype = "delivery-status" if fields.isascii() else "global-delivery-status"
    return _part("Delivery status", f"message/{subtype}", fields.encode(), carries.eight_bit)


def headers(section: bytes, carries: Carries) -> Part:
    """The original's headers: RFC 6522 §4, RFC 6533 §6.

    :param section: from `header_section`
    """
    is_global = carries.utf8 and not section.isascii() and _is_text(section)
    content_type = "message/global-headers" if is_global else "text/rfc822-headers"
    return _part("Headers of your message", content_type, section, is_global)


def whole(content: bytes, carries: Carries) -> Part | None:
    """The original message, or ``None`` when it can't be returned as it is."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if _SEVEN_BIT.fullmatch(content):
        encoding, subtype = "7bit", "rfc822"
    elif carries.eight_bit and _EIGHT_BIT.fullmatch(content):
        encoding = "8bit"
        section = content.partition(b"\r\n\r\n")[0]
        if section.isascii():
            subtype = "rfc822"
        elif carries.utf8 and _is_text(section + b"\r\n"):
            subtype = "global"
        else:
            return None
    else:
        return None
    return Part(fields=_fields("Your message", f"message/{subtype}", encoding), body=content)


def compose(top: Sequence[str], parts: Sequence[Part], random: Random) -> bytes:
    """Put the report together.

    :param top: the lines of the report's own header section, without those of MIME
    :param parts: from `explanation`, `status` and `headers` or `whole`
    :param random: where the boundary comes from
    """
    boundary = _boundary((part.body for part in parts), random)
    is_ascii = all(part.body.isascii() for part in parts)
    lines = [
        *top,
        "MIME-Version: 1.0",
        f"Content-Transfer-Encoding: {'7bit' if is_ascii else '8bit'}",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'    boundary="{boundary.decode("ascii")}"',
        "",
        "This is a delivery status notification in MIME format.",
        "",
    ]
    message = ["".join(f"{line}\r\n" for line in lines).encode()]
    for part in parts:
        message += [b"--", boundary, b"\r\n", part.fields, b"\r\n", part.body, b"\r\n"]
    message += [b"--", boundary, b"--\r\n"]
    return b"".join(message)


def _part(description: str, content_type: str, body: bytes, as_it_is: bool) -> Part:
    """A part whose type may be encoded."""
    if all(map(_PLAIN_LINE.fullmatch, body.split(b"\r\n"))):
        encoding = "7bit"
    elif as_it_is and _is_text(body):
        encoding = "8bit"
    else:
        encoding = "quoted-printable"
        encoded = (binascii.b2a_qp(line, istext=False) for line in body.split(b"\r\n"))
        body = b"\r\n".join(line.replace(b"\n", b"\r\n") for line in encoded)
    return Part(fields=_fields(description, content_type, encoding), body=body)


def _fields(description: str, content_type: str, encoding: str) -> bytes:
    return (
        f"Content-Description: {description}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n"
    ).encode("ascii")


def _is_text(octets: bytes) -> bool:
    """Whether these are lines of UTF-8 that may be sent as they are."""
    if not _EIGHT_BIT.fullmatch(octets):
        return False
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _boundary(bodies: Iterable[bytes], random: Random) -> bytes:
    """A boundary that no line of the parts could be taken for, RFC 2046 §5.1.1."""
    content = b"".join(bodies)
    while True:
        # "=_" can't come out of quoted-printable.
        boundary = b"=_%032x" % random.getrandbits(128)
        if boundary not in content:
            return boundary

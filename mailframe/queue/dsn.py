"""The fields of a delivery status notification, RFC 3464 §2: what software reads of a notice.

What remote servers said, and what the sender gave with the message, is untrusted: every piece of
text goes through `one_line`, which leaves printable ASCII of bounded length. Addresses beyond ASCII
are written as RFC 6533 §3 asks: as they are where the notice may be UTF-8, else in its 7bit form.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache

import attrs

from mailframe.address import Address
from mailframe.queue.asked import Action
from mailframe.reply import Reply

MAX_TEXT = 500  # characters of a remote server's words that a report repeats

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_SPACES = re.compile(r" {2,}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ENDPOINT = re.compile(r"(?:tcp|tls|ssl):(?:host=)?([A-Za-z0-9][A-Za-z0-9._-]*)(?::|$)")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_ADDRESS_OF_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_TYPED = re.compile(r"[A-Za-z0-9-]{1,40};.")  # RFC 3461 §4.2: original-recipient-address
# RFC 6533 §3: what stands for itself in the 7bit form of an address.
_NOT_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@attrs.frozen(kw_only=True)
class MessageStatus:
    """What a report says of the message, RFC 3464 §2.2.

    :ivar hostname: our own name
    :ivar queue_id: how our administrator knows the message
    :ivar arrived: POSIX seconds
    :ivar envid: the sender's name for the envelope (RFC 3461 §4.4), decoded, or ``None``
    :ivar received_from: the name or address of the server that handed it over, or ``None``
    :ivar deliver_by: the deadline that the sender set (RFC 2852 §5), POSIX seconds, or ``None``
    """

    hostname: str
    queue_id: str
    arrived: float
    envid: str | None = None
    received_from: str | None = None
    deliver_by: float | None = None


@attrs.frozen(kw_only=True)
class RecipientStatus:
    """What a report says of one recipient, RFC 3464 §2.3.

    :ivar recipient: whom the message was for
    :ivar action: what became of it
    :ivar status: the enhanced status code, RFC 3463
    :ivar reply: what was said at the last attempt, by a server or by us, or ``None`` when there was
        none
    :ivar where: the host (``"mx.example [192.0.2.1]:25"``) or mailbox of that attempt, or ``""``
    :ivar attempted: when that was, POSIX seconds, or ``None``
    :ivar retry_until: when a delayed message is given up, POSIX seconds, or ``None``
    :ivar original: the recipient as the sender gave it (RFC 3461 §4.2), decoded, or ``None``
    """

    recipient: Address
    action: Action
    status: str
    reply: Reply | None
    where: str
    attempted: float | None
    retry_until: float | None = None
    original: str | None = None


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """Untrusted text as one line of printable ASCII.

    :param text: anything
    :param limit: how many characters are kept; what is cut off is shown as ``...``
    """
    plain = _SPACES.sub(" ", _UNPRINTABLE.sub("?", text)).strip()
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def status_code(reply: Reply | None, action: Action) -> str:
    """The enhanced status code to report, RFC 3463.

    The remote server's own; the general code of the reply's class when it gave none; and 4.4.7,
    delivery time expired, when the message was never tried.
    """
    if action in ("delivered", "relayed", "expanded"):
        own = reply.status if reply is not None else None
        return own if own is not None and own.startswith("2.") else "2.0.0"
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
    message: MessageStatus, statuses: Iterable[RecipientStatus], utf8: bool = False
) -> str:
    """The body of the ``message/delivery-status`` part, RFC 3464 §2.1, with CRLF line ends.

    :param utf8: whether it may hold characters beyond ASCII: a ``message/global-delivery-status``
        (RFC 6533 §4)
    """
    blocks = [_message_fields(message)]
    blocks += [_recipient_fields(status, utf8) for status in statuses]
    # An empty line stands between the blocks, and none after the last.
    return "\r\n".join("".join(f"{field}\r\n" for field in block) for block in blocks)


# A report may tell of thousands of recipients, and of nearly all it tells the same.
_date = lru_cache(maxsize=16)(formatdate)


@lru_cache(maxsize=16)
def _diagnostic(reply: Reply, is_remote: bool) -> list[str]:
    # "smtp" stands for words that a remote server said (RFC 3464 §2.3.6); a reply of our own
    # making is marked as such. The cache takes replies of the same words for the same.
    origin = "smtp" if is_remote else "X-mailframe"
    return fold(f"Diagnostic-Code: {origin}; {one_line(str(reply))}")


def _message_fields(message: MessageStatus) -> list[str]:
    fields = []
    if message.envid is not None:
        fields += fold(f"Original-Envelope-Id: {one_line(message.envid)}")
    fields.append(f"Reporting-MTA: dns; {message.hostname}")
    if message.received_from is not None:
        name = message.received_from
        known = _HOST.fullmatch(name) or _ADDRESS_OF_HOST.fullmatch(name)
        fields.append(f"Received-From-MTA: dns; {name if known else one_line(name, 255)}")
    fields.append(f"Arrival-Date: {_date(message.arrived)}")
    if message.deliver_by is not None:
        fields.append(f"Deliver-By-Date: {_date(message.deliver_by)}")
    fields.append(f"X-mailframe-Queue-Id: {message.queue_id}")
    return fields


def _recipient_fields(status: RecipientStatus, utf8: bool) -> list[str]:
    fields = []
    if status.original is not None and _TYPED.match(status.original):
        fields += fold(f"Original-Recipient: {_original_recipient(status.original, utf8)}")
    fields += [
        f"Final-Recipient: {_final_recipient(status.recipient, utf8)}",
        f"Action: {status.action}",
        f"Status: {status.status}",
    ]
    remote = remote_mta(status.where)
    if remote is not None:
        fields.append(f"Remote-MTA: dns; {remote}")
    if status.reply is not None:
        fields += _diagnostic(status.reply, status.reply.is_remote)
    if status.attempted is not None:
        fields.append(f"Last-Attempt-Date: {_date(status.attempted)}")
    if status.retry_until is not None:
        fields.append(f"Will-Retry-Until: {_date(status.retry_until)}")
    return fields


def _final_recipient(address: Address, utf8: bool) -> str:
    text = str(address)
    if text.isascii():
        return f"rfc822; {text}"
    return f"utf-8; {text if utf8 else _NOT_QCHAR.sub(_embedded, text)}"


def _original_recipient(original: str, utf8: bool) -> str:
    if utf8 and original.isprintable():
        return original[:MAX_TEXT]
    return one_line(_NOT_ASCII.sub(_embedded, original), 2 * MAX_TEXT)


def _embedded(match: re.Match[str]) -> str:
    """RFC 6533 §3, EmbeddedUnicodeChar."""
    return f"\\x{{{ord(match[0]):02X}}}"


def fold(field: str) -> list[str]:
    """A header field as lines of at most 78 characters where its spaces allow, RFC 5322 §2.2.3."""
    if len(field) <= 78:
        return [field]
    return textwrap.wrap(
        field, 78, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )

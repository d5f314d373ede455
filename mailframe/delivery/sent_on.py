"""The mark on mail that is sent on to other servers for an address here: ``Delivered-To``.

What comes back to that address, because the others send it here, is known by it at once. The count
of ``Received`` fields alone would find the loop only after dozens of rounds, in each of which
everybody else behind the address gets a copy.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import IContent

HEAD = 65_536  # octets of a message's beginning that are searched
_END = b"\r\n\r\n"
_FIELD = re.compile(rb"^delivered-to:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def mark(address: Address) -> bytes:
    """The header field; none for an address that needs SMTPUTF8, which not all servers take."""
    return f"Delivered-To: {address}\r\n".encode() if address.is_ascii else b""


def marks(beginning: bytes) -> frozenset[str]:
    """The addresses, in lower case, that a message was delivered to, or sent on for, before.

    :param beginning: of its content, with CRLF line ends
    """
    section = beginning[:HEAD].partition(_END)[0]
    return frozenset(
        found.decode("utf-8", "replace").strip().lower() for found in _FIELD.findall(section)
    )


async def marks_of(open_content: Callable[[], Awaitable[IContent]]) -> frozenset[str]:
    """The same of a message in the queue."""
    content = await open_content()
    beginning = b""
    try:
        while len(beginning) < HEAD and _END not in beginning:
            octets = await content.read()
            if not octets:
                break
            beginning += octets
    finally:
        content.close()
    return marks(beginning)


@implementer(IContent)
class Marked:
    """Content behind a mark.

    :param first: the mark
    """

    def __init__(self, first: bytes, content: IContent) -> None:
        self._first = first
        self._content = content

    async def read(self) -> bytes:
        """The next piece."""
        first, self._first = self._first, b""
        return first or await self._content.read()

    def close(self) -> None:
        """Let go of it."""
        self._content.close()


def marking(
    first: bytes, open_content: Callable[[], Awaitable[IContent]]
) -> Callable[[], Awaitable[IContent]]:
    """What opens content behind a mark."""

    async def open_marked() -> IContent:
        return Marked(first, await open_content())

    return open_marked

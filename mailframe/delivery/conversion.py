"""Content in the form that the next server takes: `mailframe.wire.conversion`, piece by piece.

The work is done in threads, so that no message, however it is made, keeps the reactor from others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailframe.envelope import Body
from mailframe.interfaces import IContent
from mailframe.wire.conversion import Converter, Plan, Survey, Unconvertible

__all__ = ["Conversion", "Unconvertible", "plan_conversion"]

InThread = Callable[..., Deferred[Any]]


@attrs.frozen(kw_only=True)
class Conversion:
    """How content goes to a server that does not take it as it was declared.

    :ivar body: what is declared of it to the server
    :ivar is_needed: it has to be encoded; if not, it turned out to be less than was declared
    :ivar open: opens the content in that form
    """

    body: Body
    is_needed: bool
    open: Callable[[], Awaitable[IContent]]

    async def size(self) -> int:
        """How many octets it has in that form, which is read for it."""
        octets = 0
        content = await self.open()
        try:
            while piece := await content.read():
                octets += len(piece)
        finally:
            content.close()
        return octets


async def plan_conversion(
    open_content: Callable[[], Awaitable[IContent]],
    in_thread: InThread,
    *,
    eight_bit: bool,
    binary: bool,
) -> Conversion:
    """Read the content and decide.

    :param eight_bit: whether octets beyond ASCII may stay
    :param binary: the content was declared binary
    :raises Unconvertible: it can't be brought into that form
    """
    survey = Survey(eight_bit=eight_bit, binary=binary)
    content = await open_content()
    try:
        while octets := await content.read():
            await in_thread(survey.feed, octets)
        plan: Plan = await in_thread(survey.finish)
    finally:
        content.close()

    async def open_converted() -> IContent:
        return ConvertedContent(await open_content(), Converter(plan), in_thread)

    return Conversion(
        body="8BITMIME" if plan.has_8bit else "7BIT",
        is_needed=plan.is_needed,
        open=open_converted if plan.is_needed else open_content,
    )


@implementer(IContent)
class ConvertedContent:
    """Content that is encoded while it is read."""

    def __init__(self, content: IContent, converter: Converter, in_thread: InThread) -> None:
        self._content = content
        self._converter = converter
        self._in_thread = in_thread
        self._finished = False

    async def read(self) -> bytes:
        """The next piece, which may be larger than that of other contents; see `IContent.read`."""
        converted = b""
        while not converted and not self._finished:
            octets = await self._content.read()
            if octets:
                converted = await self._in_thread(self._converter.feed, octets)
            else:
                self._finished = True
                converted = await self._in_thread(self._converter.finish)
        return converted

    def close(self) -> None:
        """Let go of it."""
        self._content.close()

"""Sends the content of one transaction no faster than the transport takes it.

Memory stays bounded whatever a message's size: while the transport has enough, nothing is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mailframe.interfaces import IContent
from mailframe.wire.smtp_sender import Sender

OpenContent: TypeAlias = Callable[[], Awaitable[IContent]]


@implementer(IPushProducer)
class ContentStream:
    """The content of one transaction, on its way.

    :param sender: gives it the form it has on the wire
    :param transport: an ``ITransport`` and ``IConsumer``
    :param progress: called whenever the transport took something
    """

    def __init__(self, sender: Sender, transport: Any, progress: Callable[[], None]) -> None:
        self._sender = sender
        self._transport = transport
        self._progress = progress
        self._producing = False
        self._stopped = False
        self._room: Deferred[None] | None = None  # while the transport has had enough

    async def send(self, open_content: OpenContent) -> bool:
        """Send all of it but the last piece, which waits in the sender for what ends the content.

        :returns: whether it came to the end, and the server still wants it
        """
        content = await open_content()
        try:
            octets = await content.read()
            while octets and self._is_wanted:
                self._sender.content(octets)
                octets = await content.read()
                if octets and self._is_wanted:
                    self._write()
                    if self._room is not None:
                        await self._room
        finally:
            content.close()
        wanted = self._is_wanted
        if not self._stopped:
            self._end_producing()
        return wanted

    def stop(self) -> None:
        """Nobody wants the rest: the transaction is over, or the connection is gone."""
        if not self._stopped:
            self._stopped = True
            self._end_producing()
        self._make_room()

    # --- what Twisted calls -------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport has had enough for now."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._progress()
        self._make_room()

    def stopProducing(self) -> None:
        """The transport is closing down."""
        self._stopped = True
        self._make_room()

    # --- inside -------------------------------------------------------------------------------

    @property
    def _is_wanted(self) -> bool:
        return not self._stopped and self._sender.wants_content

    def _write(self) -> None:
        if not self._producing:
            self._producing = True
            self._transport.registerProducer(self, True)
        self._transport.write(self._sender.take_output())
        self._progress()

    def _end_producing(self) -> None:
        if self._producing:
            self._producing = False
            self._transport.unregisterProducer()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

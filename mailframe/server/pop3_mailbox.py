"""Any `IMailboxPOP3` as the `IPop3Mailbox` that a connection serves from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailframe.interfaces import IPop3Mailbox


@implementer(IPop3Mailbox)
class AnyMailbox:
    """Asks for each message; whatever the mailbox answers may come at once or as a Deferred."""

    def __init__(self, mailbox: Any, sizes: Sequence[int]) -> None:
        """
        :param mailbox: provides `IMailboxPOP3`
        :param sizes: what its ``listMessages`` gave
        """
        self._mailbox = mailbox
        self.sizes = sizes

    def fetch(self, index: int) -> Deferred[Any]:
        """See `IPop3Mailbox.fetch`."""
        return maybeDeferred(self._mailbox.getMessage, index)

    async def uidls(self) -> list[bytes]:
        """See `IPop3Mailbox.uidls`."""
        return [await _value(self._mailbox.getUidl(i)) for i in range(len(self.sizes))]

    async def remove(self, indices: Sequence[int]) -> None:
        """See `IPop3Mailbox.remove`."""
        for index in indices:
            self._mailbox.deleteMessage(index)
        await _value(self._mailbox.sync())


async def _value(answer: Any) -> Any:
    return await answer if isinstance(answer, Deferred) else answer

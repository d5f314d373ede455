"""The content of a message for tests: it counts, and it can fail."""

from __future__ import annotations

from zope.interface import implementer

from mailframe.interfaces import IContent


@implementer(IContent)
class FakeContent:
    """Content in memory.

    :param octets: all of it
    :param piece: octets that one read gives
    :param fails_after: reads until one fails with ``error``; ``None`` for never
    :ivar closed: how often `close` was called
    """

    def __init__(
        self,
        octets: bytes,
        *,
        piece: int = 65_536,
        fails_after: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.closed = 0
        self._octets = octets
        self._piece = piece
        self._fails_after = fails_after
        self._error = error or OSError("the content can't be read")

    async def read(self) -> bytes:
        """The next piece."""
        if self._fails_after is not None:
            if self._fails_after == 0:
                raise self._error
            self._fails_after -= 1
        piece, self._octets = self._octets[: self._piece], self._octets[self._piece :]
        return piece

    def close(self) -> None:
        """Count."""
        self.closed += 1

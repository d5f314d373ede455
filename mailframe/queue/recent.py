"""The contents of messages that were just accepted, so that their first delivery reads nothing."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 16 * 2**20  # octets


class RecentContents:
    """Contents by the number of their message; the eldest are forgotten first.

    :param limit: how many octets are kept
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._contents: OrderedDict[int, bytes] = OrderedDict()
        self._octets = 0

    def add(self, key: int, content: bytes) -> None:
        """Remember a content."""
        self._contents[key] = content
        self._octets += len(content)
        while self._octets > self._limit:
            _, forgotten = self._contents.popitem(last=False)
            self._octets -= len(forgotten)

    def get(self, key: int) -> bytes | None:
        """The content of a message, if it is remembered."""
        return self._contents.get(key)

    def forget(self, key: int) -> bool:
        """Forget a content; whether it was remembered."""
        content = self._contents.pop(key, None)
        if content is None:
            return False
        self._octets -= len(content)
        return True

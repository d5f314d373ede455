"""How many connections a listening server has, in all and by address and network.

A `Tally` outlives the server's factories, which a reload of the configuration replaces: whoever is
connected counts until he leaves.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Elsewhere(Protocol):
    """The numbers of other processes, which serve at the same sockets."""

    def count(self, key: str) -> int:
        """How many of a kind the others have."""

    def publish(self, key: str, number: int) -> None:
        """Let the others know how many this process has."""


class Tally:
    """The connections of one listening server.

    :ivar total: how many this process has
    """

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """:param elsewhere: when there are other processes"""
        self.total = 0
        self._counts: Counter[str] = Counter()
        self._elsewhere = elsewhere

    def __len__(self) -> int:
        """How many addresses and networks are counted here."""
        return len(self._counts)

    def count(self, key: str) -> int:
        """How many of a kind there are.

        :param key: an address or a network
        """
        own = self._counts.get(key, 0)
        return own if self._elsewhere is None else own + self._elsewhere.count(key)

    def add(self, key: str) -> None:
        """One more."""
        self._counts[key] += 1
        if self._elsewhere is not None:
            self._elsewhere.publish(key, self._counts[key])

    def remove(self, key: str) -> None:
        """One less."""
        left = self._counts[key] - 1
        if left > 0:
            self._counts[key] = left
        else:
            del self._counts[key]
        if self._elsewhere is not None:
            self._elsewhere.publish(key, max(left, 0))

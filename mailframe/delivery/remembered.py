"""What others told us, remembered as long as there is room for it.

How many things there may be is no bound by itself: others also choose how long their answers are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by their keys. Those that were of use longest ago are forgotten first.

    :param most: values
    :param room: octets for all of them together; the latest is remembered whatever it needs
    """

    def __init__(self, most: int, room: int) -> None:
        self._most = most
        self._room = room
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._taken = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """A value, or ``None`` when it is not there (any more)."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def used(self, key: K) -> None:
        """A value that is there was of use."""
        self._values.move_to_end(key)

    def put(self, key: K, value: V, octets: int) -> None:
        """Remember a value in the place of an earlier one.

        :param octets: how much room it needs, roughly
        """
        earlier = self._values.pop(key, None)
        if earlier is not None:
            self._taken -= earlier[1]
        self._values[key] = value, octets
        self._taken += octets
        while len(self._values) > self._most or (
            self._taken > self._room and len(self._values) > 1
        ):
            self._taken -= self._values.popitem(last=False)[1][1]

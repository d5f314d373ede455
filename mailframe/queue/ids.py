"""Queue ids: 63 bits, the milliseconds of arrival before randomness, as 13 characters.

Ids made later are greater, as numbers and as text, so that storage appends and a listing is in
order of arrival. The last bits keep apart the processes that share one queue
(`mailframe.queue.places`); those before them are random, which keeps ids apart where a clock was
set back, or where places are not known.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mailframe.queue.places import PLACE_BITS

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
LENGTH = 13
_RANDOM_BITS = 15
_BITS = _RANDOM_BITS + PLACE_BITS


class QueueIds:
    """Makes ids that only ever grow within this process.

    :param random: where the seed comes from
    :param place: tells the place of this process, and is asked before the first id is made; for
        who has a queue to itself all are the same
    """

    def __init__(self, random: Random, place: Callable[[], int] = int) -> None:
        # Ids need not be guessed by nobody, only differ: a system call for each would be too dear.
        self._random = Random(random.getrandbits(128))  # noqa: S311  # no secret
        self._last = 0
        self._place = -1
        self._ask_place = place

    def make(self, now: float) -> int:
        """The next id, as a number.

        :param now: POSIX seconds
        """
        if self._place < 0:
            self._place = self._ask_place()
        key = first_key(now) | self._random.getrandbits(_RANDOM_BITS) << PLACE_BITS | self._place
        if key <= self._last:
            key = self._last + (1 << PLACE_BITS)
        self._last = key
        return key


def first_key(at: float) -> int:
    """The smallest id that can be made at or after a time, as a number.

    :param at: POSIX seconds
    """
    return max(int(at * 1000), 0) << _BITS


def id_text(key: int) -> str:
    """The id as users see it."""
    # Written out for its speed: every message has its id written several times.
    return (
        _DIGITS[key >> 60 & 31]
        + _PAIRS[key >> 50 & 1023]
        + _PAIRS[key >> 40 & 1023]
        + _PAIRS[key >> 30 & 1023]
        + _PAIRS[key >> 20 & 1023]
        + _PAIRS[key >> 10 & 1023]
        + _PAIRS[key & 1023]
    )


def id_key(text: str) -> int | None:
    """The number of an id as users write it, or ``None`` when it can't be one."""
    # int() takes signs, spaces, underscores and the digits of all the world.
    if len(text) != LENGTH or not (text.isascii() and text.isalnum()):
        return None
    try:
        key = int(text, 32)
    except ValueError:
        return None
    return key if key < 1 << 63 else None

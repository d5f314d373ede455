"""What all workers remember together of clients: failed logins, opened mailboxes, connections.

It lies in memory that the supervising process makes and each worker inherits, so it survives the
workers and every reload. Each kind is a hash table of a fixed size (`Slots`). What is remembered of
logins is one table that all write; of connections each worker has a table that it alone writes and
the others read, so that the supervising process can empty that of a worker that has died.

There is no lock. Two processes that write the same slot in the same microsecond may lose one count
of the two, which is nothing to a limit; no number is ever torn, for each is written whole. Names
are kept as 64 bits of a hash with a secret, so that nobody can choose names that meet in one place.
Where a place is full, what happened least often goes, and of that the oldest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
from collections.abc import Sequence
from functools import lru_cache

from mailframe.server.client_records import ClientRecords
from mailframe.server.tally import Tally
from mailframe.workers.memory import make_memory

FAILURES = 16_384  # slots for addresses, and as many for logins
OPENED = 65_536  # slots for mailboxes
CONNECTIONS = 16_384  # slots of each worker for addresses and networks
_WIDTH = 8  # octets of a word, as which everything is stored
_SLOT = 3  # words: the hash of the name; since when; how often
_WAYS = 8  # slots among which a name has its place
_SECRET = 2  # words before the tables


class Slots:
    """A hash table of numbers.

    A place has the hashes of its names first, 0 for none, then since when each is there, then how
    often it happened.

    :param words: where it lies
    :param secret: makes the hashes
    """

    def __init__(self, words: memoryview[int], secret: bytes) -> None:
        self._words = words
        self._secret = secret
        self._places = len(words) // (_WAYS * _SLOT)

    def place(self, key: bytes) -> tuple[int, int]:
        """The hash of a name, and the first word of its place, which both belong to it."""
        digest = hashlib.blake2b(key, digest_size=_WIDTH, key=self._secret).digest()
        name = int.from_bytes(digest, "little") or 1
        return name, name % self._places * (_WAYS * _SLOT)

    def number(self, name: int, place: int) -> int:
        """How often; 0 when nothing is known of this name."""
        names = self._words[place : place + _WAYS].tolist()
        return self._words[place + names.index(name) + 2 * _WAYS] if name in names else 0

    def read(self, name: int, place: int, oldest: int, latest: int) -> tuple[int, int]:
        """Since when and how often; ``(0, 0)`` when nothing is known of this name.

        :param oldest: what is not after it is over, and makes room
        :param latest: so is what is after it
        """
        words, found = self._words, (0, 0)
        for slot in range(place, place + _WAYS):
            if words[slot]:
                since = words[slot + _WAYS]
                if not oldest < since <= latest:
                    words[slot] = 0
                elif words[slot] == name:
                    found = since, words[slot + 2 * _WAYS]
        return found

    def write(self, name: int, place: int, since: int, count: int) -> None:
        """Remember; with a count of 0: forget."""
        words = self._words
        names = words[place : place + _WAYS].tolist()
        if name in names:
            slot = place + names.index(name)
        elif not count:
            return
        elif 0 in names:
            slot = place + names.index(0)
        else:
            slot = min(range(place, place + _WAYS), key=self._worth)
            words[slot] = 0
        words[slot + _WAYS] = since
        words[slot + 2 * _WAYS] = count
        words[slot] = name if count else 0

    def _worth(self, slot: int) -> tuple[int, int]:
        """The least is the first to be overwritten."""
        return self._words[slot + 2 * _WAYS], self._words[slot + _WAYS]


class SharedRecent:
    """See `mailframe.server.recent.Recent`."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def get(self, key: bytes, now: float, window: float) -> tuple[float, int] | None:
        """See `mailframe.server.recent.Recent`."""
        oldest, latest = _microseconds(now - window), _microseconds(now)
        since, count = self._slots.read(*self._slots.place(key), oldest, latest)
        return (since / 1e6, count) if count else None

    def put(self, key: bytes, since: float, count: int) -> None:
        """See `mailframe.server.recent.Recent`."""
        self._slots.write(*self._slots.place(key), _microseconds(since), count)

    def forget(self, key: bytes) -> None:
        """See `mailframe.server.recent.Recent`."""
        self._slots.write(*self._slots.place(key), 0, 0)


def _microseconds(seconds: float) -> int:
    return max(int(seconds * 1e6), 0)


class SharedNumbers:
    """See `mailframe.server.tally.Elsewhere`.

    :param own: the table of this worker
    :param others: those of the others
    :param server: the name of the listening server whose connections are counted
    """

    def __init__(self, own: Slots, others: Sequence[Slots], server: str) -> None:
        self._own = own
        self._others = others

        def place(key: str) -> tuple[int, int]:
            return own.place(f"{server}\0{key}".encode())

        self._place = lru_cache(maxsize=4096)(place)

    def count(self, key: str) -> int:
        """See `mailframe.server.tally.Elsewhere`."""
        name, place = self._place(key)
        number = 0
        for slots in self._others:
            number += slots.number(name, place)
        return number

    def publish(self, key: str, number: int) -> None:
        """See `mailframe.server.tally.Elsewhere`."""
        self._own.write(*self._place(key), 0, number)


class Shared:
    """The memory.

    :param workers: how many there are
    :param descriptor: of the memory; when not given, it is made
    :ivar descriptor: of the memory
    """

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        sizes = (_SECRET, *(_SLOT * n for n in (FAILURES, FAILURES, OPENED)))
        sizes += (_SLOT * CONNECTIONS,) * workers
        octets = sum(sizes) * _WIDTH
        self.descriptor = make_memory(octets) if descriptor is None else descriptor
        self._memory = mmap.mmap(self.descriptor, octets)
        if descriptor is None:
            self._memory[: _SECRET * _WIDTH] = secrets.token_bytes(_SECRET * _WIDTH)
        self._secret = self._memory[: _SECRET * _WIDTH]
        self._all = memoryview(self._memory).cast("Q")
        self._parts: list[memoryview[int]] = []
        first = 0
        for size in sizes:
            self._parts.append(self._all[first : first + size])
            first += size

    def records(self, worker: int) -> ClientRecords:
        """What a worker is to remember with.

        :param worker: its number, from 1 on
        """
        logins = [Slots(part, self._secret) for part in self._parts[1:4]]
        others = [Slots(part, self._secret) for part in self._parts[4:]]
        own = others.pop(worker - 1)
        addresses, names, opened = map(SharedRecent, logins)
        return ClientRecords(
            failed_addresses=addresses,
            failed_logins=names,
            opened=opened,
            make_tally=lambda server: Tally(SharedNumbers(own, others, server)),
        )

    def ended(self, worker: int) -> None:
        """A worker has ended, and with it its connections.

        :param worker: its number, from 1 on
        """
        part = self._parts[3 + worker]
        part[:] = memoryview(bytes(part.nbytes)).cast("Q")

    def close(self) -> None:
        """Let go of the memory."""
        for part in (*self._parts, self._all):
            part.release()
        self._memory.close()
        os.close(self.descriptor)

"""Reads for a client that fetches one message after the other, before it asks.

A turn through another thread costs more than reading a small message. So once a client goes on from
one message to the next, a run of them is read in one turn, and the next run while the client is
still taking this one. All sessions together hold no more than a `Budget` of what was read like
this: a thousand clients that take their mail slowly must not fill the memory with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailframe.delivery.maildir_session import AT_ONCE, Message, Session
from mailframe.delivery.shielded import shielded

RUN = 48  # messages of one run at the most
RUN_SIZE = 3 * AT_ONCE  # octets of one run at the most, beyond its first message
MOST = 1 << 25  # octets that all sessions together hold at the most, but for a last run


class Budget:
    """What all sessions together may hold.

    :ivar left: octets
    """

    __slots__ = ("left",)

    def __init__(self, octets: int = MOST) -> None:
        self.left = octets


class ReadAhead:
    """The messages of one session. No more than two runs are held at a time."""

    def __init__(
        self,
        session: Session,
        sizes: Sequence[int],
        in_thread: Callable[..., Deferred[Any]],
        budget: Budget,
    ) -> None:
        """
        :param in_thread: see `mailframe.interfaces.Site`
        :param budget: shared with other sessions
        """
        self._session = session
        self._sizes = sizes
        self._in_thread = in_thread
        self._budget = budget
        self._next = -1  # what comes after the message that was taken last
        self._last = (-1, b"")  # the message that was taken last
        self._ready: dict[int, bytes] = {}  # in their order
        self._coming = range(0)  # the run that is being read
        self._reserved = 0  # octets of the budget that are meant for it
        self._waiter: tuple[int, Deferred[Message]] | None = None
        self._closed = False

    def close(self) -> None:
        """Hold nothing any more."""
        self._closed = True
        self._last = (-1, b"")
        self._forget()

    def fetch(self, index: int) -> bytes | Deferred[Message]:
        """A message, at once where it was read already.

        :returns: fires with octets in their wire form, or an open file of the message as it is
            stored; fails with `FileNotFoundError` when another program has removed it
        """
        if index == self._last[0] and self._last[1]:
            return self._last[1]  # some clients ask for the beginning, and then for the whole
        in_sequence = index == self._next
        self._next = index + 1
        ready = self._ready
        wire = ready.pop(index, None)
        if wire is not None:
            self._budget.left += len(wire)
            self._last = index, wire
            if len(ready) <= RUN // 2 and not self._coming and in_sequence:
                self._go_on(next(reversed(ready), index) + 1)
            return wire
        if index in self._coming and self._waiter is None:
            waiting: Deferred[Message] = Deferred()
            self._waiter = index, waiting
            return shielded(waiting, _let_go)
        run = self._run(index) if in_sequence and not self._coming else range(index, index + 1)
        self._forget()
        if len(run) > 1:
            self._begin(run)
        reading: Deferred[list[Message]] = self._in_thread(self._session.fetch, run)
        return shielded(reading.addBoth(self._read, run), _let_go)

    def _run(self, first: int) -> range:
        """What to read in one turn."""
        octets = 0
        most = min(RUN_SIZE, self._budget.left)
        last = min(first + RUN, len(self._sizes))
        for index in range(first + 1, last):
            octets += self._sizes[index]
            if octets > most or self._sizes[index] >= AT_ONCE:
                return range(first, index)
        return range(first, last)

    def _go_on(self, first: int) -> None:
        """Read the next run while the client takes the last messages of this one."""
        if first < len(self._sizes) and self._sizes[first] < min(AT_ONCE, self._budget.left):
            run = self._run(first)
            self._begin(run)
            self._in_thread(self._session.fetch, run).addBoth(self._came, run)

    def _begin(self, run: range) -> None:
        """A run will be read: others must not be promised the same memory."""
        self._coming = run
        self._reserved = sum(self._sizes[index] for index in run)
        self._budget.left -= self._reserved

    def _end(self) -> None:
        """It was read."""
        self._coming = range(0)
        self._budget.left += self._reserved
        self._reserved = 0

    def _read(self, result: list[Message] | Failure, run: range) -> Message | Failure:
        """A run was read whose first message is waited for."""
        if len(run) > 1:
            self._end()
        if isinstance(result, Failure):
            return result
        self._keep(result[1:], run[1:])
        return self._taken(result[0], run[0])

    def _came(self, result: list[Message] | Failure, run: range) -> None:
        """A run was read ahead. What could not be is tried again if the client asks for it."""
        self._end()
        waiter, self._waiter = self._waiter, None
        if isinstance(result, Failure):
            result = []
        self._keep(result, run)
        if waiter is not None:
            index, waiting = waiter
            wire = self._ready.pop(index, None)
            if wire is None:
                alone: Deferred[Any] = self._in_thread(self._session.fetch, (index,))
                alone = alone.addBoth(self._read, range(index, index + 1))
                alone.chainDeferred(waiting)
            else:
                self._budget.left += len(wire)
                waiting.callback(self._taken(wire, index))

    def _taken(self, message: Message, index: int) -> Message:
        if isinstance(message, bytes) and not self._closed:
            self._last = index, message
        return message

    def _keep(self, messages: Sequence[Message], run: range) -> None:
        for index, message in zip(run, messages, strict=False):
            if isinstance(message, bytes) and not self._closed:
                self._ready[index] = message
                self._budget.left -= len(message)
            else:
                _let_go(message)

    def _forget(self) -> None:
        """Hold nothing of what is ready."""
        self._budget.left += sum(map(len, self._ready.values()))
        self._ready.clear()


def _let_go(message: Message) -> None:
    if not isinstance(message, bytes):
        message.close()

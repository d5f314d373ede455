"""Lets many deliveries share rounds in a few threads: one call there and back for all of them.

While a round is being written and synced, what arrives meanwhile gathers for the next one, so that
rounds grow with the load and a lone message waits for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from mailframe.delivery.maildir_writer import Copy, Placement

Results: TypeAlias = Sequence[Exception | None]
Soon: TypeAlias = Callable[[Callable[[], None]], object]
T = TypeVar("T", Copy, Placement)

# Each copy of a round has its file open, and maybe two folders: what is open at once stays far
# below the 1,024 descriptors that a process may often have.
ROUND = 48  # copies that one round takes at the most
THREADS = 2  # rounds at the same time: the file system lets their syncs share a commit


def at_once(call: Callable[[], None]) -> None:
    """Begin each round with the first copy that comes: for tests."""
    call()


class Rounds(Generic[T]):
    """Gathers copies and has them written.

    :param write: writes a batch; called in other threads, several at once
    :param in_thread: see `mailframe.interfaces.Site`
    :param threads: how many rounds may be under way at the same time
    :param soon: calls what it is given as soon as all that the reactor has to do now is done
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Results],
        in_thread: Callable[..., Deferred[Any]],
        threads: int = THREADS,
        soon: Soon = at_once,
    ) -> None:
        self._write: Callable[[Sequence[T]], Results] = write
        self._in_thread = in_thread
        self._soon = soon
        self._start_waits = False
        self._threads = threads
        self._waiting: deque[tuple[Sequence[T], Deferred[Results]]] = deque()
        self._running = 0

    def submit(self, copies: Sequence[T]) -> Deferred[Results]:
        """Write these copies in a coming round, or in several if they are too many for one.

        :returns: fires with ``None`` or an error for each copy. When it is cancelled before their
            round began they are not written
        """
        slices = [copies[start : start + ROUND] for start in range(0, len(copies), ROUND)]
        units: list[Deferred[Results]] = []
        for part in slices:
            done: Deferred[Results] = Deferred(self._withdraw)
            self._waiting.append((part, done))
            units.append(done)
        # Deliveries come in groups, as they were claimed or recorded: one round takes all of them.
        if not self._start_waits:
            self._start_waits = True
            self._soon(self._start)
        if len(units) == 1:
            return units[0]
        return DeferredList(units, consumeErrors=True).addCallback(_gathered, slices)

    def _withdraw(self, done: Deferred[Results]) -> None:
        self._waiting = deque(unit for unit in self._waiting if unit[1] is not done)

    def _start(self) -> None:
        self._start_waits = False
        while self._waiting and self._running < self._threads:
            copies: list[T] = []
            shares: list[tuple[int, Deferred[Results]]] = []
            while self._waiting and len(copies) + len(self._waiting[0][0]) <= ROUND:
                more, done = self._waiting.popleft()
                copies.extend(more)
                shares.append((len(more), done))
            self._running += 1
            self._in_thread(self._write, copies).addBoth(self._finish, shares)

    def _finish(
        self, results: Results | Failure, shares: Sequence[tuple[int, Deferred[Results]]]
    ) -> None:
        self._running -= 1
        self._start()
        start = 0
        for count, done in shares:
            share = results if isinstance(results, Failure) else results[start : start + count]
            start += count
            if not done.called:  # else the caller gave up meanwhile
                done.callback(share)


def _gathered(
    units: Sequence[tuple[bool, Any]], slices: Sequence[Sequence[object]]
) -> list[Exception | None]:
    """The results of all slices in order; where a whole round failed, its error for each copy.

    :raises CancelledError: who waited gave up
    """
    results: list[Exception | None] = []
    for (succeeded, share), part in zip(units, slices, strict=True):
        if succeeded:
            results += share
        elif share.check(CancelledError):
            raise CancelledError
        else:
            results += [share.value] * len(part)
    return results

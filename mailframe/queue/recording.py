"""How a step is recorded: with its notices, held before it if need be, again while that fails.

When a step can't be recorded because the storage fails, recording is tried again for as long as the
lease can be kept: what was delivered must not be delivered once more because a disk was full for a
minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, deferLater
from twisted.logger import Logger

from mailframe.entry import Entry, Event, Notice, Step
from mailframe.guard import PluginFault, as_deferred, ask, asked
from mailframe.interfaces import IQueueStorage, LeaseLost, UnknownMessage
from mailframe.queue.content import beginning
from mailframe.queue.progress import Progress
from mailframe.queue.standing import Standing
from mailframe.told import is_told

log = Logger()

RECORD_AGAIN = 5.0  # seconds until a step that could not be recorded is tried again
SOME = 100  # recipients or events; of more the reactor is not kept waiting
MAX_HEADERS = 65_536  # octets of a message's beginning that a notice may quote from
_NOTHING = (type(None),)
_LOST = (LeaseLost,)


class Notices(Protocol):
    """Writes notices: `mailframe.queue.notices.NoticeWriter`."""

    def returns_whole(self, entry: Entry, progress: Progress) -> bool:
        """Whether it wants the whole message, or the beginning that has its headers."""

    def write(
        self, entry: Entry, progress: Progress, content: bytes, now: float
    ) -> tuple[Step, Sequence[Notice]]:
        """The step with the events that tell of its notices, and the notices."""


class Recording:
    """Records the steps of one runner.

    :param storage: where the messages are
    :param storage_name: its plugin's name
    :param notices: writes the notices; may be replaced
    :param clock: the time; also sleeps
    :param owner: holds the leases
    :param storage_time: how long one call into the storage may take, in seconds
    :param in_thread: see `mailframe.interfaces.Site`; notices of many recipients are written with
        it
    :param tries_again: whether what could not be recorded is to be recorded later

    :ivar observers: called with entry and step after each recorded step; they decide nothing
    """

    def __init__(
        self,
        *,
        storage: IQueueStorage,
        storage_name: str,
        notices: Notices,
        clock: IReactorTime,
        owner: str,
        storage_time: float,
        in_thread: Callable[..., Deferred[Any]],
        tries_again: Callable[[], bool],
    ) -> None:
        self.notices = notices
        self.observers: list[Callable[[Entry, Step], None]] = []
        self._storage = storage
        self._storage_name = storage_name
        self._clock = clock
        self._owner = owner
        self._storage_time = storage_time
        self._in_thread = in_thread
        self._tries_again = tries_again
        self._later = Cooperator(scheduler=lambda step: clock.callLater(0, step))

    async def settle(self, entry: Entry, step: Step, notices: Sequence[Notice]) -> None:
        """Record a step, and tell of it.

        :raises LeaseLost, PluginFault: it could not be recorded
        """
        recorded = asked(
            self._storage_name,
            _NOTHING,
            self._clock,
            self._storage_time,
            lambda: self._storage.settle(
                id=entry.id, owner=self._owner, step=step, notices=notices
            ),
            _LOST,
        )
        if recorded is not None:
            await recorded
        if not is_told():
            pass
        elif len(step.events) <= SOME:
            for event in step.events:
                _tell(entry, event)
        else:
            self._later.coiterate(_tell_all(entry, step.events))
        for observer in self.observers:
            try:
                observer(entry, step)
            except Exception:
                log.failure("an observer of the queue failed")

    async def record(
        self, standing: Standing, step: Step, notices: Sequence[Notice], holds: bool = False
    ) -> None:
        """Record the last step of an attempt, again and again while the storage fails.

        :param holds: the message is to be held
        """
        entry = standing.entry
        while True:
            try:
                if standing.lost:
                    raise LeaseLost(entry.id)
                if holds:
                    # Before the step: a crash between the two has the message held once more,
                    # instead of sent on without an operator's leave.
                    await self._hold(entry)
                    holds = False
                await self.settle(entry, step, notices)
                return
            except LeaseLost:
                log.error("the lease of {id} was lost; its step is not recorded", id=entry.id)
                return
            except PluginFault:
                if not self._tries_again():
                    return  # the lease runs out, and the message is tried once more
                await deferLater(self._clock, RECORD_AGAIN)

    async def _hold(self, entry: Entry) -> None:
        now = self._clock.seconds()
        try:
            await ask(
                self._storage_name,
                (type(None),),
                self._clock,
                self._storage_time,
                lambda: self._storage.hold(id=entry.id, now=now),
                (UnknownMessage,),
            )
        except UnknownMessage:
            raise LeaseLost(entry.id) from None

    async def with_notices(self, entry: Entry, progress: Progress) -> tuple[Step, Sequence[Notice]]:
        """The step with the events that tell of its notices, and the notices."""
        if not progress.notices:
            return progress.step, ()
        whole = self.notices.returns_whole(entry, progress)
        reading = as_deferred(self._quoted(entry, whole))
        try:
            content = await reading.addTimeout(self._storage_time, self._clock)
        except Exception:
            # A notice without the headers is better than none.
            log.failure("{id} can't be read for a notice", id=entry.id)
            content = b""
        now = self._clock.seconds()
        if sum(map(len, progress.notices.values())) <= SOME:
            return self.notices.write(entry, progress, content, now)
        written: tuple[Step, Sequence[Notice]] = await self._in_thread(
            self.notices.write, entry, progress, content, now
        )
        return written

    async def _quoted(self, entry: Entry, whole: bool) -> bytes:
        """The message, or as much of its beginning as its header section may take up."""
        content = await as_deferred(self._storage.open(id=entry.id))
        try:
            if whole:
                return await beginning(content, entry.size)
            return await beginning(content, MAX_HEADERS, until=b"\r\n\r\n")
        finally:
            content.close()


def _tell(entry: Entry, event: Event) -> None:
    log.info(
        "{id} {kind} {recipient} {where} {reply} ({reason}; {rule} {plugin})",
        id=entry.id,
        kind=event.kind,
        recipient=str(event.recipient or ""),
        where=event.where,
        reply=str(event.reply or ""),
        reason=event.reason,
        rule=event.rule,
        plugin=event.plugin,
    )


def _tell_all(entry: Entry, events: Sequence[Event]) -> Iterator[None]:
    for event in events:
        _tell(entry, event)
        yield

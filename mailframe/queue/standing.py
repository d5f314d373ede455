"""How a message stands while it is being tried: what is recorded before the attempt is over.

An attempt ends with a step, but two things can't wait for it. That a copy lies ready must be
recorded before it is put into a mailbox. And what one destination took must not be sent to it again
because the server was cut off while it waited for another, slower one.

Everything is applied to ``entry`` at once and taken back if it can't be recorded, so that what is
recorded for one destination never undoes what is being recorded for another.

Once the attempt is over, or the message was found to have changed under it, nothing more can be
recorded: what an agent does that was given up on, or what a lease has run out for, must not
overwrite what others have recorded since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from mailframe.entry import Entry, Event, Notice, QueuedRecipient, Ready, Step
from mailframe.interfaces import LeaseLost
from mailframe.outcome import Tried
from mailframe.queue.progress import Progress


class Standing:
    """One attempt at one message.

    :ivar entry: the message, with its recipients as they are recorded or about to be
    :ivar over: the agents have answered; what they still do records nothing
    :ivar lost: others have had the message since; nothing can be recorded any more
    """

    def __init__(
        self,
        entry: Entry,
        *,
        advance: Callable[[Entry, Sequence[Tried]], Progress],
        write: Callable[[Entry, Progress], Awaitable[tuple[Step, Sequence[Notice]]]],
        settle: Callable[[Entry, Step, Sequence[Notice]], Awaitable[None]],
    ) -> None:
        """
        :param advance: works out what results change, now
        :param write: writes the notices that belong to that
        :param settle: records a step; raises when it can't be
        """
        self.entry = entry
        self.over = self.lost = False
        self._advance = advance
        self._write = write
        self._settle = settle

    async def record_ready(self, ready: Mapping[int, Ready | None]) -> None:
        """Record which copies lie ready; see `mailframe.interfaces.Job.record_ready`.

        :param ready: by places in the entry's recipients
        :raises LeaseLost: the attempt is over, or others have the message
        """
        recipients = self.entry.recipients
        changed = {i: recipients[i].with_ready(record) for i, record in ready.items()}
        await self._record(changed, self.entry.warned, (), ())

    async def record_arrived(self, tried: Sequence[Tried]) -> None:
        """Record what some destinations took, while the attempt goes on with others.

        :param tried: results whose outcome is `mailframe.outcome.Delivered`
        :raises Exception: it could not be recorded, and belongs into the attempt's last step
        """
        progress = self._advance(self.entry, tried)
        step, notices = await self._write(self.entry, progress)
        changed = {each.index: step.recipients[each.index] for each in tried}
        await self._record(changed, step.warned, step.events, notices)

    async def _record(
        self,
        changed: Mapping[int, QueuedRecipient],
        warned: bool,
        events: Sequence[Event],
        notices: Sequence[Notice],
    ) -> None:
        if self.over or self.lost:
            raise LeaseLost(self.entry.id)
        before = {index: self.entry.recipients[index] for index in changed}
        self._change(changed)
        step = Step(
            recipients=self.entry.recipients,
            next_attempt=self.entry.next_attempt,
            warned=warned,
            events=tuple(events),
            goes_on=True,
        )
        try:
            await self._settle(self.entry, step, notices)
        except BaseException:
            self._change(before)
            raise

    def _change(self, changed: Mapping[int, QueuedRecipient]) -> None:
        recipients = list(self.entry.recipients)
        for index, recipient in changed.items():
            recipients[index] = recipient
        self.entry = self.entry.with_recipients(tuple(recipients))

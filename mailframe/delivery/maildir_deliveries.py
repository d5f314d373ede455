"""One message on its way into mailboxes: prepared, recorded, placed.

What must happen in which order, and what a later attempt makes of it, stands in `maildir_writer`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.delivery.maildir_content import Unix, headers, was_delivered_to
from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_layout import Layout, MailboxPath, delivery_name
from mailframe.delivery.maildir_rounds import Rounds, Soon, at_once
from mailframe.delivery.maildir_writer import Copy, Draft, Placement, Vanished, Writer
from mailframe.delivery.shielded import shielded
from mailframe.entry import Ready
from mailframe.guard import PluginFault
from mailframe.interfaces import Job, LeaseLost, StorageFault, UnknownMessage
from mailframe.outcome import Delivered, Outcome, Postponed, Refused
from mailframe.reply import Reply, temporary_fault

log = Logger()

SMALL = 256 * 1024  # octets; a larger message is not held in memory as a whole
PIECE = 64 * 1024  # octets of a larger one that are gathered for one write
# Seconds after which other programs that use a Maildir may remove what lies in its tmp: 36 hours,
# with time enough for the one who looks.
SWEPT = 34 * 3600.0

_EXPECTED = (OSError, StorageFault, UnknownMessage, LeaseLost, PluginFault)
_DELIVERED = Reply(250, "2.0.0", "delivered")
_LOOP = Reply(554, "5.4.6", "the message has been in this mailbox before: mail loop")
_FULL = Reply(452, "4.3.1", "no room for the message here, please try again later")
_QUOTA = Reply(452, "4.2.2", "the mailbox is full")
_UNUSABLE = Reply(451, "4.2.0", "the mailbox can't be used now, please try again later")


@attrs.frozen(kw_only=True)
class Target:
    """One recipient's part of a job.

    :ivar index: its place in the job's recipients
    :ivar stem: see `mailframe.delivery.maildir_layout.delivery_stem`
    """

    index: int
    recipient: Address
    mailbox: Address
    stem: str


@attrs.frozen
class _Prepared:
    """A copy that lies in tmp."""

    target: Target
    path: MailboxPath
    tmp: str
    name: str
    folder: int | None = None

    def record(self, since: float) -> Ready:
        """What is recorded of it before it is placed."""
        where = f"{self.tmp}/{self.name}/{self.folder}"
        return Ready(mailbox=self.target.mailbox, since=since, where=where)

    def placement(self, *, repeat: bool) -> Placement:
        """What the writer is to do."""
        return Placement(
            path=self.path, tmp=self.tmp, name=self.name, repeat=repeat, folder=self.folder
        )


class Deliveries:
    """Delivers into Maildirs.

    :param layout: where they lie
    :param hostname: our own name, part of every message's name
    :param in_thread: see `mailframe.interfaces.Site`
    :param clock: tells the time
    :param writer: does the blocking part
    :param soon: see `Rounds`
    """

    def __init__(
        self,
        *,
        layout: Layout,
        hostname: str,
        in_thread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        writer: Writer,
        soon: Soon = at_once,
    ) -> None:
        self._layout = layout
        self._hostname = hostname
        self._in_thread = in_thread
        self._clock = clock
        self._writer = writer
        self._preparing: Rounds[Copy] = Rounds(writer.prepare, in_thread, soon=soon)
        self._placing: Rounds[Placement] = Rounds(writer.place, in_thread, threads=1, soon=soon)

    async def deliver(self, job: Job, targets: Sequence[Target]) -> dict[str, Outcome]:
        """Deliver a message to some of its recipients.

        :param targets: at least one, each with another stem
        :returns: an outcome for each, by stem
        """
        outcomes: dict[str, Outcome] = {}
        try:
            finished, rest = await self._finish_earlier(job, targets)
            outcomes.update(finished)
            if rest:
                way = self._deliver_small if job.size <= SMALL else self._deliver_large
                outcomes.update(await way(job, rest))
        except CancelledError:
            raise  # who waited has given up
        except Exception as error:
            if isinstance(error, _EXPECTED):
                log.error("could not deliver message {id}: {reason!r}", id=job.id, reason=error)
            else:
                log.failure("fault while delivering message {id}", id=job.id)
            postponed = Postponed(where="", reply=temporary_fault())
            for target in targets:
                outcomes.setdefault(target.stem, postponed)
        return outcomes

    async def _deliver_small(self, job: Job, targets: Sequence[Target]) -> dict[str, Outcome]:
        content = await _read_all(job)
        outcomes: dict[str, Outcome] = {}
        unix = Unix()
        body = unix.convert(content) + unix.finish()
        written: list[tuple[Copy, Target]] = []
        for target in targets:
            if was_delivered_to(content, target.recipient):
                outcomes[target.stem] = _loop(target)
                continue
            head = headers(job.sender, target.recipient)
            path, tmp = self._layout.path(target.mailbox), self._writer.tmp_name(target.stem)
            written.append((Copy(path=path, tmp=tmp, pieces=(head, body)), target))
        if not written:
            return outcomes
        ready: list[_Prepared] = []
        errors = await self._preparing.submit([copy for copy, _ in written])
        for (copy, target), error in zip(written, errors, strict=True):
            if error is None:
                name = self._name(target, copy.pieces[0], unix)
                ready.append(_Prepared(target, copy.path, copy.tmp, name, copy.folder))
            else:
                outcomes[target.stem] = self._outcome(job, target, error)
        outcomes.update(await self._put_in_place(job, ready))
        return outcomes

    async def _deliver_large(self, job: Job, targets: Sequence[Target]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for target in targets:
            try:
                prepared = await self._prepare_in_pieces(job, target)
            except (OSError, ForeignMaildir) as error:
                outcomes[target.stem] = self._outcome(job, target, error)
                continue
            if prepared is None:
                outcomes[target.stem] = _loop(target)
            else:
                outcomes.update(await self._put_in_place(job, [prepared]))
        return outcomes

    async def _prepare_in_pieces(self, job: Job, target: Target) -> _Prepared | None:
        """Write a message into tmp; ``None`` when it has been in this mailbox before."""
        content = await job.open()
        draft: Draft | None = None
        try:
            piece = await content.read()
            if was_delivered_to(piece, target.recipient):
                return None
            path = self._layout.path(target.mailbox)
            tmp = self._writer.tmp_name(target.stem)
            begun = self._in_thread(self._writer.begin, path, tmp)
            whole: Draft = await shielded(begun, self._abandon)
            draft = whole
            head = headers(job.sender, target.recipient)
            unix = Unix()
            gathered = [head]
            size = 0
            while piece:
                gathered.append(unix.convert(piece))
                size += len(piece)
                if size >= PIECE:
                    await self._in_thread(self._writer.write, draft, b"".join(gathered))
                    gathered, size = [], 0
                piece = await content.read()
            gathered.append(unix.finish())
            await self._in_thread(self._writer.write, draft, b"".join(gathered))
            await self._in_thread(self._writer.finish, draft)
            draft = None
            return _Prepared(target, path, tmp, self._name(target, head, unix), whole.held.folder)
        finally:
            content.close()
            self._abandon(draft)

    async def _put_in_place(self, job: Job, ready: Sequence[_Prepared]) -> dict[str, Outcome]:
        """Record that copies lie ready, and put them into their mailboxes."""
        if not ready:
            return {}
        since = self._clock.seconds()
        await job.record_ready({each.target.index: each.record(since) for each in ready})
        return await self._place(job, ready, repeat=False)

    async def _finish_earlier(
        self, job: Job, targets: Sequence[Target]
    ) -> tuple[dict[str, Outcome], Sequence[Target]]:
        """Finish what an earlier attempt was cut off in.

        :returns: outcomes, and whom the message is still to be delivered to
        """
        ready: list[_Prepared] = []
        rest: list[Target] = []
        for target in targets:
            record = job.ready[target.index]
            if record is None:
                rest.append(target)
            else:
                ready.append(self._recorded(target, record))
        if not ready:
            return {}, rest
        outcomes = await self._place(job, ready, repeat=True)
        now = self._clock.seconds()
        for each in ready:
            record = job.ready[each.target.index]
            assert record is not None
            if not isinstance(outcomes[each.target.stem], Delivered) or now - record.since < SWEPT:
                continue
            if not await self._in_thread(self._writer.is_there, each.placement(repeat=True)):
                log.warn(
                    "message {id} may come twice into the mailbox of {mailbox}: its delivery was "
                    "cut off so long ago that others may have swept its file away",
                    id=job.id,
                    mailbox=str(each.target.mailbox),
                )
                await job.record_ready({each.target.index: None})
                del outcomes[each.target.stem]
                rest.append(each.target)
        return outcomes, rest

    async def _place(
        self, job: Job, ready: Sequence[_Prepared], *, repeat: bool
    ) -> dict[str, Outcome]:
        placements = [each.placement(repeat=repeat) for each in ready]
        errors = await self._placing.submit(placements)
        gone = {
            each.target.index: None
            for each, error in zip(ready, errors, strict=True)
            if isinstance(error, Vanished)
        }
        if gone:
            await job.record_ready(gone)
        return {
            each.target.stem: self._outcome(job, each.target, error)
            for each, error in zip(ready, errors, strict=True)
        }

    def _name(self, target: Target, head: bytes, unix: Unix) -> str:
        size = len(head) + unix.size
        lines = head.count(b"\n") + unix.lines
        return delivery_name(target.stem, self._hostname, size, size + lines)

    def _recorded(self, target: Target, record: Ready) -> _Prepared:
        tmp, name, *folder = record.where.split("/")
        known = int(folder[0]) if folder and folder[0].isdecimal() else None
        return _Prepared(target, self._layout.path(record.mailbox), tmp, name, known)

    def _abandon(self, draft: Draft | None) -> None:
        if draft is not None:
            self._in_thread(self._writer.abandon, draft).addErrback(
                lambda failure: log.failure("could not abandon a delivery", failure)
            )

    def _outcome(self, job: Job, target: Target, error: Exception | None) -> Outcome:
        if error is None:
            return Delivered(where=str(target.mailbox), reply=_DELIVERED)
        log.error(
            "could not deliver message {id} into the mailbox of {mailbox}: {reason}",
            id=job.id,
            mailbox=str(target.mailbox),
            reason=f"{type(error).__name__}: {error}",
        )
        return Postponed(where=str(target.mailbox), reply=_reply(error))


def _loop(target: Target) -> Refused:
    return Refused(where=str(target.mailbox), reply=_LOOP)


def _reply(error: Exception) -> Reply:
    if isinstance(error, ForeignMaildir):
        return _UNUSABLE
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:
        return _FULL
    if number == errno.EDQUOT:
        return _QUOTA
    return temporary_fault()


async def _read_all(job: Job) -> bytes:
    content = await job.open()
    try:
        pieces = []
        while piece := await content.read():
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        content.close()

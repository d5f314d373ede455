"""The local delivery agent: messages into Maildirs, and those Maildirs as mailboxes for POP3.

A message is delivered once, also when an attempt is cut off by a crash and made again: its name is
fixed by its queue id and recipient, and an attempt that may be a repeated one looks for it first.
(A reader who deletes it between the crash and that attempt gets it again.)

Blocking work runs in threads, in rounds that many messages share (`maildir_rounds`); what is
written in which order stands in `maildir_writer`.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from mailframe.address import Address
from mailframe.delivery.mailbox import Mailboxes
from mailframe.delivery.maildir_content import Unix, headers, was_delivered_to
from mailframe.delivery.maildir_files import Files, ForeignMaildir
from mailframe.delivery.maildir_layout import Layout, LayoutError, delivery_name, delivery_stem
from mailframe.delivery.maildir_rounds import Rounds
from mailframe.delivery.maildir_writer import Copy, Draft, Writer
from mailframe.delivery.shielded import shielded
from mailframe.interfaces import (
    IDeliveryAgent,
    IMailboxStore,
    Job,
    Site,
    StorageFault,
    UnknownMessage,
)
from mailframe.outcome import Delivered, Local, Outcome, Postponed, Refused
from mailframe.reply import Reply, temporary_fault
from mailframe.units import FilePath

log = Logger()

SMALL = 256 * 1024  # octets; a larger message is not held in memory as a whole
FRESH = 60.0  # seconds after its arrival in which another process can't have tried a message
REMEMBERED = 8192  # deliveries of this process that it recognises without looking

_DELIVERED = Reply(250, "2.0.0", "delivered")
_LOOP = Reply(554, "5.4.6", "the message has been in this mailbox before: mail loop")
_FULL = Reply(452, "4.3.1", "no room for the message here, please try again later")
_QUOTA = Reply(452, "4.2.2", "the mailbox is full")
_NO_PLACE = Reply(451, "4.3.5", "there is no place for mailboxes of this domain here yet")
_UNUSABLE = Reply(451, "4.2.0", "the mailbox can't be used now, please try again later")


def _path(_instance: object, attribute: Any, value: str) -> None:
    try:
        Layout(value, many_domains=False)
    except LayoutError as error:
        raise ValueError(f"'{attribute.name}' {error}") from None


@attrs.frozen(kw_only=True)
class MaildirSettings:
    """The ``[delivery]`` table with ``plugin = "maildir"``.

    :ivar path: where an account's Maildir lies, with ``{domain}`` and ``{mailbox}``
    """

    path: FilePath = attrs.field(default=FilePath("mail/{domain}/{mailbox}"), validator=_path)


def build(settings: MaildirSettings, site: Site) -> MaildirAgent:
    """Build the agent.

    :raises LayoutError: the path can't be used; the message says why
    """
    layout = Layout(os.path.abspath(settings.path), many_domains=len(site.local_domains) > 1)
    return MaildirAgent(
        layout=layout,
        hostname=site.hostname,
        in_thread=site.in_thread,
        clock=site.reactor,
        domains=None if layout.tells_domains else site.local_domains,
    )


@attrs.frozen
class _Target:
    """One recipient's part of a job."""

    recipient: Address
    mailbox: Address
    stem: str


@implementer(IDeliveryAgent, IMailboxStore)
class MaildirAgent(Service):
    """Delivers into Maildirs and opens them for reading.

    :param layout: where they lie
    :param hostname: our own name, part of every message's name
    :param in_thread: see `mailframe.interfaces.Site`
    :param clock: tells the time
    :param domains: whose mailboxes there may be; ``None`` for any domain's. Where the layout does
        not tell domains apart, one that comes to the configuration later would share mailboxes
    :param files: the file system
    """

    def __init__(
        self,
        *,
        layout: Layout,
        hostname: str,
        in_thread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        domains: Collection[str] | None = None,
        files: Files | None = None,
    ) -> None:
        self._layout = layout
        self._hostname = hostname
        self._in_thread = in_thread
        self._clock = clock
        self._domains = domains
        files = files or Files()
        self._writer = Writer(files, f"{os.getpid():x}")
        self._rounds = Rounds(self._writer.deliver, in_thread)
        self._mailboxes = Mailboxes(files, in_thread)
        self._started = clock.seconds()
        self._delivered: OrderedDict[str, None] = OrderedDict()

    def stopService(self) -> None:
        """Let go of the Maildirs that are kept open."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._writer.close()

    # --- IMailboxStore -----------------------------------------------------------------------

    def open_mailbox(self, mailbox: Address) -> Deferred[IMailboxPOP3]:
        """See `IMailboxStore.open_mailbox`. The mailbox has a ``close()``, to be called at the end.

        :raises MailboxInUse: another session has it
        :raises StorageFault: the path has no place for mailboxes of its domain
        """
        if not self._has_place(mailbox):
            return fail(StorageFault(f"there is no place for the mailbox {mailbox}"))
        return self._mailboxes.open(self._layout.path(mailbox), self._clock.seconds())

    # --- IDeliveryAgent ----------------------------------------------------------------------

    async def deliver(self, job: Job) -> Sequence[Outcome]:
        """See `IDeliveryAgent.deliver`."""
        targets = [
            _Target(
                recipient, route.mailbox, delivery_stem(job.envelope.arrived, job.id, recipient)
            )
            for recipient, route in zip(job.recipients, job.routes, strict=True)
            if isinstance(route, Local)
        ]
        outcomes: dict[str, Outcome] = {}  # by stem: a recipient named twice gets one copy
        for target in targets:
            if not self._has_place(target.mailbox):
                outcomes[target.stem] = Postponed(where=str(target.mailbox), reply=_NO_PLACE)
            elif target.stem in self._delivered:
                outcomes[target.stem] = _delivered(target)
        waiting = {t.stem: t for t in targets if t.stem not in outcomes}
        if waiting:
            way = self._deliver_small if job.size <= SMALL else self._deliver_large
            try:
                outcomes.update(await way(job, list(waiting.values())))
            except CancelledError:
                raise  # who waited has given up
            except Exception as error:
                if isinstance(error, OSError | StorageFault | UnknownMessage):
                    log.error("could not read message {id}: {reason!r}", id=job.id, reason=error)
                else:
                    log.failure("fault while delivering message {id}", id=job.id)
                postponed = Postponed(where="", reply=temporary_fault())
                outcomes.update((stem, postponed) for stem in waiting if stem not in outcomes)
        return [outcomes[target.stem] for target in targets]

    async def _deliver_small(self, job: Job, targets: Sequence[_Target]) -> dict[str, Outcome]:
        content = await _read_all(job)
        outcomes: dict[str, Outcome] = {}
        unix = Unix()
        body = unix.convert(content) + unix.finish()
        copies: list[Copy] = []
        written: list[_Target] = []
        repeat = self._is_repeat(job)
        for target in targets:
            if was_delivered_to(content, target.recipient):
                outcomes[target.stem] = _loop(target)
                continue
            head = headers(job.sender, target.recipient)
            copies.append(
                Copy(
                    path=self._layout.path(target.mailbox),
                    stem=target.stem,
                    name=self._name(target, head, unix),
                    pieces=(head, body),
                    repeat=repeat,
                )
            )
            written.append(target)
        if copies:
            results = await self._rounds.submit(copies)
            for target, error in zip(written, results, strict=True):
                outcomes[target.stem] = self._outcome(job, target, error)
        return outcomes

    async def _deliver_large(self, job: Job, targets: Sequence[_Target]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for target in targets:
            try:
                outcomes[target.stem] = await self._deliver_in_pieces(job, target)
            except (OSError, ForeignMaildir) as error:
                outcomes[target.stem] = self._outcome(job, target, error)
        return outcomes

    async def _deliver_in_pieces(self, job: Job, target: _Target) -> Outcome:
        content = await job.open()
        draft: Draft | None = None
        try:
            piece = await content.read()
            if was_delivered_to(piece, target.recipient):
                return _loop(target)
            path = self._layout.path(target.mailbox)
            begun = self._in_thread(self._writer.begin, path, target.stem, self._is_repeat(job))
            draft = await shielded(begun, self._abandon)
            if draft is None:
                return self._outcome(job, target, None)
            head = headers(job.sender, target.recipient)
            unix = Unix()
            gathered = [head]
            size = 0
            while piece:
                gathered.append(unix.convert(piece))
                size += len(piece)
                if size >= SMALL:
                    await self._in_thread(self._writer.write, draft, b"".join(gathered))
                    gathered, size = [], 0
                piece = await content.read()
            gathered.append(unix.finish())
            await self._in_thread(self._writer.write, draft, b"".join(gathered))
            name = self._name(target, head, unix)
            await self._in_thread(self._writer.finish, draft, name)
            draft = None
            return self._outcome(job, target, None)
        finally:
            content.close()
            self._abandon(draft)

    def _has_place(self, mailbox: Address) -> bool:
        """Whether a mailbox's folder is not also that of one in another domain."""
        if self._domains is None or mailbox.domain in self._domains:
            return True
        log.error(
            "the mailbox {mailbox} can't be used: the path of [delivery] holds no {{domain}}, and "
            "{domain} is none of the domains that the server was started with",
            mailbox=str(mailbox),
            domain=mailbox.domain,
        )
        return False

    def _abandon(self, draft: Draft | None) -> None:
        if draft is not None:
            self._in_thread(self._writer.abandon, draft).addErrback(
                lambda failure: log.failure("could not abandon a delivery", failure)
            )

    def _name(self, target: _Target, head: bytes, unix: Unix) -> str:
        size = len(head) + unix.size
        lines = head.count(b"\n") + unix.lines
        return delivery_name(target.stem, self._hostname, size, size + lines)

    def _is_repeat(self, job: Job) -> bool:
        """Whether an attempt whose outcome was not recorded may have come before this one."""
        return (
            job.attempt > 0
            or job.envelope.arrived < self._started
            or self._clock.seconds() - job.envelope.arrived > FRESH
        )

    def _outcome(self, job: Job, target: _Target, error: Exception | None) -> Outcome:
        if error is None:
            self._delivered[target.stem] = None
            if len(self._delivered) > REMEMBERED:
                self._delivered.popitem(last=False)
            return _delivered(target)
        log.error(
            "could not deliver message {id} into the mailbox of {mailbox}: {reason}",
            id=job.id,
            mailbox=str(target.mailbox),
            reason=f"{type(error).__name__}: {error}",
        )
        return Postponed(where=str(target.mailbox), reply=_reply(error))


def _delivered(target: _Target) -> Delivered:
    return Delivered(where=str(target.mailbox), reply=_DELIVERED)


def _loop(target: _Target) -> Refused:
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

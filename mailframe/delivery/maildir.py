"""The local delivery agent: messages into Maildirs, and those Maildirs as mailboxes for POP3.

A message is delivered exactly once, also when an attempt is cut off by a crash and made again. The
copy is written beside the mailbox; that it lies ready is recorded in the queue; only then is it put
in place, in one step that can't be done in part. The next attempt sees from the record and from the
copy how far this one came, whatever a reader has done with the message since.

Blocking work runs in threads, in rounds that many messages share (`maildir_rounds`); what is
written in which order stands in `maildir_writer`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from mailframe.address import Address
from mailframe.delivery.conversion import Unconvertible, plan_conversion
from mailframe.delivery.mailbox import Mailboxes
from mailframe.delivery.maildir_deliveries import Deliveries, Target
from mailframe.delivery.maildir_layout import (
    Layout,
    LayoutError,
    delivery_stem,
)
from mailframe.delivery.maildir_rounds import Soon, at_once
from mailframe.delivery.maildir_writer import Writer
from mailframe.files import Files
from mailframe.interfaces import (
    IDeliveryAgent,
    IMailboxStore,
    Job,
    Site,
    StorageFault,
)
from mailframe.outcome import Local, Outcome, Postponed, Refused
from mailframe.reply import Reply
from mailframe.units import FilePath

log = Logger()


_NO_PLACE = Reply(451, "4.3.5", "there is no place for mailboxes of this domain here yet")


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
        soon=partial(site.reactor.callLater, 0),
    )


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
    :param token: see `Writer`; when ``None``, one that no other process has
    :param soon: see `mailframe.delivery.maildir_rounds.Rounds`
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
        token: str | None = None,
        soon: Soon = at_once,
    ) -> None:
        self._layout = layout
        self._hostname = hostname
        self._in_thread = in_thread
        self._clock = clock
        self._domains = domains
        files = files or Files()
        self._writer = Writer(files, token or f"{os.getpid():x}_{secrets.token_hex(4)}")
        self._deliveries = Deliveries(
            layout=layout,
            hostname=hostname,
            in_thread=in_thread,
            clock=clock,
            writer=self._writer,
            soon=soon,
        )
        self._mailboxes = Mailboxes(files, in_thread)

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
            Target(
                index=index,
                recipient=recipient,
                mailbox=route.mailbox,
                stem=delivery_stem(job.envelope.arrived, job.id, recipient),
            )
            for index, (recipient, route) in enumerate(zip(job.recipients, job.routes, strict=True))
            if isinstance(route, Local)
        ]
        outcomes: dict[str, Outcome] = {}  # by stem: a recipient named twice gets one copy
        for target in targets:
            if not self._has_place(target.mailbox):
                outcomes[target.stem] = Postponed(where=str(target.mailbox), reply=_NO_PLACE)
        waiting = {t.stem: t for t in targets if t.stem not in outcomes}
        if waiting:
            try:
                job = await self._as_lines(job)
            except Unconvertible as error:
                reply = Reply(554, error.status, f"the mailbox can't hold it: {error}")
                for stem, target in waiting.items():
                    outcomes[stem] = Refused(where=str(target.mailbox), reply=reply)
            else:
                outcomes.update(await self._deliveries.deliver(job, list(waiting.values())))
        return [outcomes[target.stem] for target in targets]

    async def _as_lines(self, job: Job) -> Job:
        """Encode binary content: a file whose lines end in LF can't tell its line ends apart."""
        if job.envelope.body != "BINARYMIME":
            return job
        conversion = await plan_conversion(job.open, self._in_thread, eight_bit=True, binary=True)
        return attrs.evolve(job, open=conversion.open)

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

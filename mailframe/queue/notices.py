"""The notices that tell a sender what became of a message (RFC 3461 §5.2, §6).

A notice is a message of our own with a null reverse-path (RFC 5321 §4.5.5), so that nothing ever
answers it and no notice is written about a notice. Of the original it repeats the headers. Only a
failure notice returns the whole, and only when the sender asked for it and the message is small:
what was sent under a forged name is not passed on for nothing (RFC 3464 §4.3).

How many notices one sender gets within an hour is limited. One that is beyond that is not written,
and the history of its message says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from random import Random

import attrs
from twisted.logger import Logger

from mailframe.address import Address
from mailframe.entry import Entry, Event, EventKind, Notice, Step
from mailframe.envelope import Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue import report
from mailframe.queue.asked import Action
from mailframe.queue.dsn import MessageStatus, RecipientStatus, delivery_status, status_code
from mailframe.queue.notice_rate import NoticeRate
from mailframe.queue.notice_text import subject, text
from mailframe.queue.progress import Progress, times_of
from mailframe.queue.schedule import Schedule, Times
from mailframe.units import Octets

log = Logger()

_KIND: dict[Action, EventKind] = {
    "failed": "bounced",
    "delayed": "warned",
    "delivered": "notified",
    "relayed": "notified",
    "expanded": "notified",
}
_ATTEMPTS: frozenset[EventKind] = frozenset(("postponed", "throttled", "refused", "expired"))
# RFC 2852 §4: delivery time expired.
_TOO_LATE = "5.4.7"


@attrs.frozen(kw_only=True)
class NoticeSettings:
    """What of ``[queue]`` concerns notices.

    :ivar return_up_to: the size of the largest message that a failure notice returns whole where
        the sender asked for it; 0 is never
    :ivar notices_per_sender: how many notices may go to one address within an hour
    """

    return_up_to: Octets = Octets(50_000)
    notices_per_sender: int = attrs.field(default=1000, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class NoticeWriter:
    """Writes the notices of one server.

    :ivar hostname: our own name, an A-label
    :ivar random: where Message-IDs and boundaries come from
    :ivar schedule: says until when a delayed message is tried
    :ivar settings: the limits
    :ivar local_domains: those whose mail is delivered here
    :ivar rate: counts; to be handed on to the writer that takes this one's place
    """

    hostname: str
    random: Random
    schedule: Schedule
    settings: NoticeSettings = attrs.Factory(NoticeSettings)
    local_domains: frozenset[str] = frozenset()
    rate: NoticeRate = attrs.Factory(NoticeRate)

    def returns_whole(self, entry: Entry, progress: Progress) -> bool:
        """Whether `write` wants the whole message, or the beginning that has its headers."""
        envelope = entry.envelope
        return (
            "failed" in progress.notices
            and envelope.ret == "FULL"
            and entry.size <= self.settings.return_up_to
            and envelope.body != "BINARYMIME"
            and not envelope.require_tls  # RFC 8689 §5
        )

    def write(
        self, entry: Entry, progress: Progress, content: bytes, now: float
    ) -> tuple[Step, Sequence[Notice]]:
        """Write the notices that a step calls for: one for each action.

        :param entry: the message before the step
        :param content: the message, or the beginning that has its headers, as `returns_whole` asks;
            empty when it can't be read
        :param now: POSIX seconds
        :returns: the step with the events that tell of its notices, and the notices
        """
        sender = entry.envelope.sender
        if sender is None or not progress.notices:
            return progress.step, ()
        after = attrs.evolve(entry, recipients=progress.step.recipients)
        is_whole = bool(content) and self.returns_whole(entry, progress)
        ways, ends = _ways(progress.step.events), progress.give_up_at
        notices: list[Notice] = []
        events: list[Event] = []
        for action, indices in progress.notices.items():
            kind, reason = _KIND[action], f"a notice ({action}) goes to {sender}"
            if self.rate.take(sender, self.settings.notices_per_sender, now):
                whole = is_whole and action == "failed"
                notices.append(
                    self._notice(action, after, sender, indices, content, whole, now, ways, ends)
                )
            else:
                kind, reason = "dropped", f"{sender} got too many notices within an hour"
                log.warn(
                    "no notice ({action}) about {id}: {sender!r} got more than {limit} in an hour",
                    action=action,
                    id=entry.id,
                    sender=str(sender),
                    limit=self.settings.notices_per_sender,
                )
            events += [
                Event(at=now, kind=kind, recipient=after.recipients[index].address, reason=reason)
                for index in indices
            ]
        return attrs.evolve(progress.step, events=(*progress.step.events, *events)), notices

    def _notice(
        self,
        action: Action,
        entry: Entry,
        sender: Address,
        indices: Sequence[int],
        content: bytes,
        is_whole: bool,
        now: float,
        ways: Mapping[Address, str],
        ends: Mapping[int, float],
    ) -> Notice:
        times = times_of(entry, self.schedule)
        until = min(ends.get(index, times.give_up_at) for index in indices)
        # A server that is told of an address beyond ASCII offers SMTPUTF8 and thereby 8BITMIME
        # (RFC 6531 §3.1); mailboxes here take everything. Of other ways nothing is known.
        utf8 = not str(sender).isascii()
        carries = report.Carries(eight_bit=utf8 or sender.domain in self.local_domains, utf8=utf8)
        returned = report.whole(content, carries) if is_whole else None
        is_whole = returned is not None
        if returned is None:
            returned = report.headers(report.header_section(content), carries)
        fields = delivery_status(
            self._message_status(entry),
            [self._recipient_status(action, entry, i, times, now, ends.get(i)) for i in indices],
            utf8,
        )
        words = text(action, entry, indices, self.hostname, until, is_whole, now, ways)
        parts = (
            report.explanation(words, carries),
            report.status(fields, carries),
            returned,
        )
        octets = report.compose(self._top(action, sender, now), parts, self.random)
        evidence = Permit(reason=f"a notice about {entry.id}", rule="notice")
        envelope = Envelope(
            sender=None,
            recipients=(Recipient(address=sender, evidence=evidence),),
            client=None,
            arrived=now,
            body="7BIT" if octets.isascii() else "8BITMIME",
            smtputf8=utf8,
            require_tls=entry.envelope.require_tls,  # RFC 8689 §5
        )
        return Notice(envelope=envelope, content=octets)

    def _top(self, action: Action, sender: Address, now: float) -> list[str]:
        return [
            f"From: Mail Delivery System <MAILER-DAEMON@{self.hostname}>",
            f"To: <{sender}>",
            f"Subject: {subject(action)}",
            f"Date: {formatdate(now)}",
            f"Message-ID: <{self.random.getrandbits(96):024x}@{self.hostname}>",
            "Auto-Submitted: auto-replied",
        ]

    def _message_status(self, entry: Entry) -> MessageStatus:
        envelope, client = entry.envelope, entry.envelope.client
        return MessageStatus(
            hostname=self.hostname,
            queue_id=entry.id,
            arrived=envelope.arrived,
            envid=envelope.envid,
            received_from=(
                (client.helo or f"[{client.address}]")
                if client is not None and client.protocol != "local"
                else None
            ),
            deliver_by=envelope.deliver_by.at if envelope.deliver_by is not None else None,
        )

    def _recipient_status(
        self,
        action: Action,
        entry: Entry,
        index: int,
        times: Times,
        now: float,
        end: float | None,
    ) -> RecipientStatus:
        recipient = entry.recipients[index]
        reply = recipient.last_reply
        status = status_code(reply, action)
        if action == "failed" and times.is_deadline and reply is not None and reply.is_temporary:
            status = _TOO_LATE
        return RecipientStatus(
            recipient=recipient.address,
            action=action,
            status=status,
            reply=reply if action != "expanded" else None,
            where=recipient.where,
            attempted=now if recipient.attempts else None,
            retry_until=(end or times.give_up_at) if action == "delayed" else None,
            original=entry.original(index).orcpt,
        )


def _ways(events: Sequence[Event]) -> Mapping[Address, str]:
    """Why mail went the way it went, by recipient: what the history says of it."""
    ways: dict[Address, str] = {}
    for event in events:
        if event.recipient is not None and event.reason and event.kind in _ATTEMPTS:
            by = " ".join(word for word in (event.plugin, event.rule) if word)
            ways[event.recipient] = f"{event.reason} ({by})" if by else event.reason
    return ways

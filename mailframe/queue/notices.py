"""The notices that tell a sender what became of a message: not delivered, or delayed.

A notice is a message of our own with a null reverse-path (RFC 5321 §4.5.5), so that nothing ever
answers it and no notice is written about a notice. It repeats the headers of the original, never
its body: what was sent under a forged name is not passed on (RFC 3464 §2, §4.3).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from email.utils import formatdate
from random import Random

import attrs

from mailframe.address import Address
from mailframe.entry import Entry, Notice, QueuedRecipient
from mailframe.envelope import Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue.dsn import (
    Action,
    RecipientStatus,
    compose,
    delivery_status,
    header_section,
    one_line,
)
from mailframe.queue.schedule import Schedule
from mailframe.units import duration_text


@attrs.frozen(kw_only=True)
class NoticeWriter:
    """Writes the notices of one server.

    :ivar hostname: our own name, an A-label
    :ivar random: where Message-IDs and boundaries come from
    :ivar schedule: says until when a delayed message is tried
    """

    hostname: str
    random: Random
    schedule: Schedule

    def failure(
        self, entry: Entry, recipients: Sequence[QueuedRecipient], headers: bytes, now: float
    ) -> Notice | None:
        """Tell the sender that the message will not reach some recipients.

        :param entry: the message
        :param recipients: those that failed, at least one, with what was said at their last attempt
        :param headers: the message's header section, or the beginning of its content
        :param now: POSIX seconds
        :returns: the notice, or ``None`` when the reverse-path is null
        """
        return self._notice("failed", entry, recipients, headers, now)

    def warning(
        self, entry: Entry, recipients: Sequence[QueuedRecipient], headers: bytes, now: float
    ) -> Notice | None:
        """Tell the sender that the message has not reached some recipients yet; as `failure`."""
        return self._notice("delayed", entry, recipients, headers, now)

    def _notice(
        self,
        action: Action,
        entry: Entry,
        recipients: Sequence[QueuedRecipient],
        headers: bytes,
        now: float,
    ) -> Notice | None:
        sender = entry.envelope.sender
        if sender is None:
            return None
        arrived = entry.envelope.arrived
        until = arrived + self.schedule.give_up_after if action == "delayed" else None
        statuses = [
            RecipientStatus(
                recipient=recipient.address,
                action=action,
                reply=recipient.last_reply,
                where=recipient.where,
                attempted=now if recipient.attempts else None,
                retry_until=until,
            )
            for recipient in recipients
        ]
        content = compose(
            self._top(action, sender, now),
            self._explanation(action, entry, recipients, now),
            delivery_status(self.hostname, entry.id, arrived, statuses),
            header_section(headers),
            self.random,
        )
        evidence = Permit(reason=f"a notice about {entry.id}", rule="notice")
        envelope = Envelope(
            sender=None,
            recipients=(Recipient(address=sender, evidence=evidence),),
            client=None,
            arrived=now,
        )
        return Notice(envelope=envelope, content=content)

    def _top(self, action: Action, sender: Address, now: float) -> list[str]:
        subject = (
            "Undelivered mail returned to sender"
            if action == "failed"
            else "Delayed mail (still being tried)"
        )
        return [
            f"From: Mail Delivery System <MAILER-DAEMON@{self.hostname}>",
            f"To: <{sender}>",
            f"Subject: {subject}",
            f"Date: {formatdate(now)}",
            f"Message-ID: <{self.random.getrandbits(96):024x}@{self.hostname}>",
            "Auto-Submitted: auto-replied",
        ]

    def _explanation(
        self, action: Action, entry: Entry, recipients: Sequence[QueuedRecipient], now: float
    ) -> str:
        """The part that a person reads."""
        age = duration_text(max(60, (now - entry.envelope.arrived) // 60 * 60))
        if action == "failed":
            opening = (
                "Your message could not be delivered to the recipients below, and it is not tried "
                "any more. If it matters, check the addresses or reach them in another way."
            )
        else:
            until = formatdate(entry.envelope.arrived + self.schedule.give_up_after)
            opening = (
                f"Your message has been waiting for {age} and could not be delivered to the "
                "recipients below yet. You need not send it again: it is tried until "
                f"{until}. If it has not been delivered by then, you will be told."
            )
        paragraphs = [
            f"This is the mail server {self.hostname}.",
            textwrap.fill(opening, 76),
            *(_told_of(action, entry, recipient, age) for recipient in recipients),
            textwrap.fill(
                "The headers of your message are attached. The administrator of this server knows "
                f"the message as {entry.id}.",
                76,
            ),
        ]
        return "\n\n".join(paragraphs) + "\n"


def _told_of(action: Action, entry: Entry, recipient: QueuedRecipient, age: str) -> str:
    """What became of one recipient, in words."""
    who = f"<{recipient.address}>"
    if recipient.parent is not None:
        who += f"\n(to whom <{entry.recipients[recipient.parent].address}> is redirected)"
    reply = recipient.last_reply
    if reply is None:
        return f"{who}\n    It has not been tried yet."
    said = one_line(str(reply))
    where = one_line(recipient.where, 200)
    at = f" at {where}" if where else ""
    if action == "delayed" or reply.is_temporary:
        times = "once" if recipient.attempts <= 1 else f"{recipient.attempts} times"
        what = f"It was tried {times} in {age}. The last attempt{at} ended with:"
    else:
        what = f"It was refused{at} with:"
    lines = textwrap.wrap(what, 76, initial_indent="    ", subsequent_indent="    ")
    lines += textwrap.wrap(said, 76, initial_indent="      ", subsequent_indent="      ")
    return "\n".join([who, *lines])

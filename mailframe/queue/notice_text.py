"""What a notice says to people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from email.utils import formatdate

from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient
from mailframe.queue.asked import Action
from mailframe.queue.dsn import one_line
from mailframe.units import duration_text

MAX_TOLD = 100  # recipients that the text for people names; the part for software names all

_SUBJECTS: Mapping[Action, str] = {
    "failed": "Undelivered mail returned to sender",
    "delayed": "Delayed mail (still being tried)",
    "delivered": "Delivered mail",
    "relayed": "Mail passed on to another server",
    "expanded": "Mail passed on to several addresses",
}
_OPENINGS: Mapping[Action, str] = {
    "failed": (
        "Your message could not be delivered to the recipients below, and it is not tried "
        "any more. If it matters, check the addresses or reach them in another way."
    ),
    "delayed": (
        "Your message has been waiting for {age} and could not be delivered to the "
        "recipients below yet. You need not send it again: it is tried until "
        "{until}. If it has not been delivered by then, you will be told."
    ),
    "delivered": (
        "Your message is in the mailboxes of the recipients below. You asked to be told. "
        "Whether somebody reads it is another matter."
    ),
    "relayed": (
        "Your message for the recipients below has been taken by another server. You asked to "
        "be told of its delivery, and whether that server will tell you is not known."
    ),
    "expanded": (
        "Your message has reached the addresses below, each of which stands for others, and is "
        "on its way to them. You asked to be told of its delivery; of each of the others you are "
        "told only if it fails, and only if you asked for that."
    ),
}
# RFC 2852 §4.1.4: of a message with a deadline it is told without having been asked for.
_RELAYED_WITH_DEADLINE = (
    "Your message for the recipients below has been taken by another server. You set a time by "
    "which it is to be delivered; what that server makes of it is not known here."
)


def subject(action: Action) -> str:
    """The notice's subject."""
    return _SUBJECTS[action]


def text(
    action: Action,
    entry: Entry,
    indices: Sequence[int],
    hostname: str,
    give_up_at: float,
    is_whole: bool,
    now: float,
    ways: Mapping[Address, str] | None = None,
) -> str:
    """The explanation: printable, short lines that end with ``\\n``.

    :param entry: the message after the attempt
    :param indices: of the recipients that the notice is about
    :param hostname: our own name
    :param give_up_at: until when a delayed message is tried, POSIX seconds
    :param is_whole: whether the message is attached, or its headers
    :param now: POSIX seconds
    :param ways: why their mail went the way it went, by recipient
    """
    ways = ways or {}
    age = duration_text(max(60, (now - entry.envelope.arrived) // 60 * 60))
    opening = _OPENINGS[action]
    if action == "relayed" and entry.envelope.deliver_by is not None:
        opening = _RELAYED_WITH_DEADLINE
    opening = opening.format(age=age, until=formatdate(give_up_at))
    attached = "Your message is" if is_whole else "The headers of your message are"
    paragraphs = [
        f"This is the mail server {hostname}.",
        textwrap.fill(opening, 76),
        *(_told_of(action, entry, entry.recipients[i], age, ways) for i in indices[:MAX_TOLD]),
    ]
    if len(indices) > MAX_TOLD:
        paragraphs.append(f"And {len(indices) - MAX_TOLD} more, whom the report attached names.")
    paragraphs.append(
        textwrap.fill(
            f"{attached} attached. The administrator of this server knows the message as "
            f"{entry.id}.",
            76,
        )
    )
    return "\n\n".join(paragraphs) + "\n"


def _tries(recipient: QueuedRecipient, age: str, at: str) -> str:
    if not recipient.attempts:
        return "It has not been tried, because:"
    times = "once" if recipient.attempts == 1 else f"{recipient.attempts} times"
    since = ""
    if recipient.throttled is not None:
        since = (
            f", and not since {formatdate(recipient.throttled)}, because limits of this server "
            "left no room"
        )
    return f"It was tried {times} in {age}{since}. The last attempt{at} ended with:"


def _not_handed_over(where: str) -> str:
    if where:
        return f"This server could not hand it over at {where}:"
    return "It was refused by this server with:"


def _told_of(
    action: Action,
    entry: Entry,
    recipient: QueuedRecipient,
    age: str,
    ways: Mapping[Address, str],
) -> str:
    """What became of one recipient, in words."""
    who = f"<{recipient.address}>"
    if recipient.parent is not None:
        who += f"\n(to whom <{entry.recipients[recipient.parent].address}> is redirected)"
    if action == "expanded":
        return who
    reply = recipient.last_reply
    if reply is None:
        return f"{who}\n    It has not been tried yet."
    said = one_line(str(reply))
    where = one_line(recipient.where, 200)
    at = f" at {where}" if where else ""
    if action == "delivered":
        return who
    if action == "relayed":
        what = f"It was taken{at} with:"
    elif action == "delayed" or reply.is_temporary:
        what = _tries(recipient, age, at)
    else:
        what = f"It was refused{at} with:" if reply.is_remote else _not_handed_over(where)
    lines = textwrap.wrap(what, 76, initial_indent="    ", subsequent_indent="    ")
    lines += textwrap.wrap(said, 76, initial_indent="      ", subsequent_indent="      ")
    way = ways.get(recipient.address)
    if way and action in ("delayed", "failed"):
        told = f"It was to go this way: {one_line(way)}"
        lines += textwrap.wrap(told, 76, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([who, *lines])

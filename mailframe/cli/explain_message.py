"""``mailframe explain --message``: what a message of the queue waits for, and where it goes now.

The route is asked as the next attempt will ask it; what was decided before stands in the message's
history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import click

from mailframe.assembly import Parts
from mailframe.backoff import Backoff
from mailframe.cli.destinations import Followed, Follower
from mailframe.cli.explain_text import Field, verdict_fields, waits, way_fields
from mailframe.cli.not_in_force import note_if_not_in_force
from mailframe.cli.options import Refusal
from mailframe.cli.output import print_fields, print_json
from mailframe.cli.parts import with_parts
from mailframe.cli.queued import not_there
from mailframe.cli.trace import why
from mailframe.delivery.dispatch import begun, known_of
from mailframe.documents import (
    Document,
    entry_details,
    event_document,
    time_text,
    times_document,
    verdict_document,
)
from mailframe.entry import Entry, Event
from mailframe.outcome import Relay
from mailframe.settings import Settings

_SETTLED = {"delivered", "relayed", "refused", "expired", "redirected"}
_SHOWN = 4  # attempts that a person is shown
_NOWHERE: Document = {"route": None, "aliases": [], "destinations": []}


@attrs.frozen(kw_only=True)
class Waiting:
    """A message of the queue with all decisions about it.

    :ivar followed: for each recipient, in their order, where its mail goes now; ``None`` where it
        is settled
    :ivar events: the message's history
    :ivar now: POSIX seconds
    """

    entry: Entry
    followed: Sequence[Followed | None]
    events: Sequence[Event]
    now: float

    @property
    def is_yes(self) -> bool:
        """Whether no part of what waits would bounce at the next attempt."""
        return all(each is None or each.is_reachable for each in self.followed)


def explain_message(settings: Settings, id: str, as_json: bool) -> None:
    """Show it.

    :raises Refusal: the message is not in the queue
    :raises click.exceptions.Exit: with 1, when a part of it would bounce
    """
    seams = ("accounts", "routing", "queue")
    waiting = with_parts(settings, seams, lambda parts: examine_message(parts, id))
    document = message_document(waiting, settings)
    if as_json:
        print_json(document)
    else:
        _print(document)
    note_if_not_in_force(settings)
    if not waiting.is_yes:
        raise click.exceptions.Exit(1)


async def examine_message(parts: Parts, id: str) -> Waiting:
    """Have every decision about a message of the queue taken.

    :param parts: accounts, routing and queue
    :raises Refusal: the message is not in the queue
    """
    storage = parts.queue.part
    entry = await storage.find(id)
    events = await storage.history(id)
    if entry is None:
        if events:
            raise Refusal(
                f"{id} left the queue at {time_text(events[-1].at)}; "
                f"`mailframe trace {id}` tells what became of it"
            )
        raise await not_there(storage, id)
    follower = Follower(parts)
    followed: list[Followed | None] = []
    for index, recipient in enumerate(entry.recipients):
        if recipient.state != "pending":
            followed.append(None)
        elif recipient.ready is not None:
            agent = parts.settings.chosen["delivery"].part.name
            followed.append(Followed.at_once(recipient.address, begun(recipient.ready, agent)))
        else:
            followed.append(
                await follower.follow(
                    entry.envelope.sender,
                    recipient.address,
                    entry.envelope.client,
                    known_of(entry, index),
                    entry.envelope,
                )
            )
    now = parts.site.reactor.seconds()
    return Waiting(entry=entry, followed=followed, events=events, now=now)


def message_document(waiting: Waiting, settings: Settings) -> Document:
    """The document of ``explain --message --json``."""
    entry = waiting.entry
    document = entry_details(entry)
    for index, shown in enumerate(document["recipients"]):
        followed = waiting.followed[index]
        shown.pop("evidence", None)
        shown["authorised"] = True
        shown["authorisation"] = verdict_document(entry.original(index).evidence)
        shown.update(_NOWHERE if followed is None else followed.documents())
        events = [e for e in waiting.events if e.recipient == entry.recipients[index].address]
        shown["history"] = [event_document(event) for event in events if event.kind != "authorised"]
        ends = [event.at for event in events if event.kind in _SETTLED]
        shown["settled"] = time_text(ends[-1]) if followed is None and ends else None
        retry, opens = _asked_of_times(followed)
        shown["retry"] = times_document(entry, index, settings.schedule, waiting.now, retry, opens)
    return document


def _asked_of_times(followed: Followed | None) -> tuple[Backoff | None, float | None]:
    """The waits that a recipient's route asks for, and when its way opens.

    What a redirect leads to is tried right after it, so it is as if the recipient's own route led
    there; unless there are several.
    """
    ends = () if followed is None else followed.destinations
    route = ends[0].route if len(ends) == 1 else None
    return (route.retry, route.not_before) if isinstance(route, Relay) else (None, None)


def _print(document: Document) -> None:
    sender, client = document["sender"] or "<>", document["client"]
    came_from = f"{client['address']} at {client['server']}" if client else "ourselves"
    print_fields(
        [
            ("id", document["id"]),
            ("from", sender),
            ("arrived", f"{document['arrived']} from {came_from}"),
            *_held(document),
        ]
    )
    for recipient in document["recipients"]:
        click.echo()
        print_fields(_recipient_fields(recipient))


def _held(document: Document) -> Iterator[Field]:
    if document["held"]:
        yield "held", f"`mailframe queue release {document['id']}` lets it go on"


def _time_fields(retry: Document) -> Iterator[Field]:
    if not retry["next_attempts"]:
        return
    for number, at in enumerate(retry["next_attempts"][:_SHOWN]):
        yield "" if number else "tried next", at
    yield "", f"then {waits(retry['waits'])}"
    if retry["warn_at"]:
        yield "warning", retry["warn_at"]
    yield "given up", retry["give_up_at"]


def _recipient_fields(recipient: Document) -> Iterator[Field]:
    yield "to", recipient["address"]
    if recipient["redirected_from"]:
        yield "instead of", recipient["redirected_from"]
    yield "state", f"{recipient['state']}, {_times(recipient['attempts'])}"
    if recipient["settled"]:
        yield "settled", recipient["settled"]
    if recipient["where"]:
        yield "where", recipient["where"]
    if recipient["last_reply"]:
        yield "last reply", recipient["last_reply"]
    yield from verdict_fields(recipient)
    yield from way_fields(recipient)
    for number, event in enumerate(recipient["history"]):
        told = " ".join(each for each in (event["where"], event["reply"]) if each)
        reason = why(event["reason"], event["plugin"], event["rule"])
        said = "; ".join(each for each in (told, reason) if each)
        yield "" if number else "so far", f"{event['at']} {event['event']}: {said}"
    yield from _time_fields(recipient["retry"])


def _times(attempts: int) -> str:
    return {0: "not tried yet", 1: "tried once"}.get(attempts, f"tried {attempts} times")

"""The console's pages, made from the same documents as its JSON. Templates escape every value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.web.template import Tag, tags

from mailframe.documents import Document


@attrs.frozen(kw_only=True)
class Counts:
    """How many messages and recipients wait.

    :ivar complete: whether the whole queue was counted; a long one is counted in part only
    """

    messages: int
    recipients: int
    held: int
    complete: bool

    def text(self, number: int) -> str:
        """One of the numbers, marked when there may be more."""
        return f"{number}" if self.complete else f"{number}+"


def queue_page(hostname: str, counts: Counts, page: Document, following: str | None) -> Tag:
    """The queue: how much waits, and a page of its messages.

    :param page: a document of `mailframe.documents.queue_document`
    :param following: the id after which the next page begins, or ``None`` at the end
    """
    numbers = (
        ("messages", counts.messages),
        ("recipients waiting", counts.recipients),
        ("held", counts.held),
    )
    body: list[Any] = [
        tags.ul(*(tags.li(tags.b(counts.text(n)), name) for name, n in numbers), class_="counts"),
    ]
    if page["messages"]:
        body.append(
            _table(
                ("message", "from", "to", "state", "attempts", "last reply", "next attempt"),
                [row for message in page["messages"] for row in _message_rows(message)],
            )
        )
    else:
        body.append(tags.p("Nothing is waiting."))
    if following is not None:
        body.append(tags.p(tags.a("further messages", href=f"/?after={following}")))
    return _page(f"Queue of {hostname}", body)


def _message_rows(message: Document) -> list[list[Any]]:
    link = tags.a(message["id"], href=f"/message/{message['id']}")
    rows = []
    for number, recipient in enumerate(message["recipients"]):
        waits = message["held"] and recipient["state"] == "pending"
        rows.append(
            [
                tags.td(link if number == 0 else "", class_="id"),
                tags.td(_sender(message["sender"]) if number == 0 else ""),
                tags.td(recipient["address"]),
                tags.td("held" if waits else recipient["state"]),
                tags.td(str(recipient["attempts"])),
                tags.td(recipient["last_reply"] or "", class_="reply"),
                tags.td(recipient["next_attempt"] or "", class_="time"),
            ]
        )
    return rows


def message_page(trace: Document) -> Tag:
    """One message's life so far.

    :param trace: a document of `mailframe.documents.trace_document`
    """
    body: list[Any] = []
    message = trace["message"]
    if message is None:
        body.append(tags.p("This message has left the queue."))
    else:
        facts = f"{message['size']} octets from {_sender(message['sender'])}"
        body.append(tags.p(f"{facts}, arrived {message['arrived']}"))
        body.append(
            _table(
                ("message", "from", "to", "state", "attempts", "last reply", "next attempt"),
                _message_rows(message),
            )
        )
    rows = [
        [
            tags.td(event["at"], class_="time"),
            tags.td(event["event"]),
            tags.td(event["recipient"] or ""),
            tags.td(event["where"]),
            tags.td(event["reply"] or "", class_="reply"),
            tags.td(_why(event)),
            tags.td(event["next_attempt"] or "", class_="time"),
        ]
        for event in trace["events"]
    ]
    body.append(
        _table(("time", "event", "recipient", "where", "reply", "why", "next attempt"), rows)
    )
    return _page(f"Message {trace['id']}", body)


def fault_page(title: str, text: str) -> Tag:
    """Why there is nothing to show."""
    return _page(title, [tags.p(text)])


def _why(event: Document) -> str:
    names = " ".join(event[key] for key in ("plugin", "rule") if event[key])
    return f"{event['reason']} ({names})" if names else event["reason"]


def _sender(sender: str | None) -> str:
    return "<>" if sender is None else sender


def _table(headings: Sequence[str], rows: Sequence[Sequence[Tag]]) -> Tag:
    return tags.table(
        tags.thead(tags.tr(*(tags.th(heading) for heading in headings))),
        tags.tbody(*(tags.tr(*row) for row in rows)),
    )


def _page(title: str, body: Sequence[Any]) -> Tag:
    return tags.html(
        tags.head(
            tags.meta(charset="utf-8"),
            tags.title(title),
            tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
            tags.link(rel="stylesheet", href="/style.css"),
        ),
        tags.body(tags.h1(tags.a("mailframe", href="/"), f" · {title}"), *body),
        lang="en",
    )

"""JSON documents with stable keys: what ``--json`` and the web console show of a value.

Times are RFC 3339 in UTC with whole seconds, replies one line of text, addresses as on the wire;
the null reverse-path, a time that won't come and a reply that wasn't given are ``null``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.entry import Entry, Event
from mailframe.envelope import Client
from mailframe.hop_documents import hop_document
from mailframe.outcome import (
    Decision,
    Deny,
    Hold,
    Local,
    Permit,
    Redirect,
    Relay,
    Route,
    RuleSeen,
    Unroutable,
    Verdict,
)
from mailframe.queue.asked import is_asked
from mailframe.queue.schedule import Schedule, Times
from mailframe.reply import Reply

if TYPE_CHECKING:
    from mailframe.delivery.targets import PlannedHop

Document: TypeAlias = dict[str, Any]


def time_text(at: float) -> str:
    """A time as RFC 3339 §5.6 writes it.

    :param at: POSIX seconds UTC
    :returns: ``2026-03-01T12:00:00Z``
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def address_text(address: Address | None) -> str | None:
    """The address as it stands on the wire, ``None`` for the null reverse-path."""
    return None if address is None else str(address)


def reply_text(reply: Reply | None) -> str | None:
    """The reply on one line."""
    return None if reply is None else str(reply)


def decision_document(decision: Decision) -> Document:
    """What every decision tells of itself."""
    return {"reason": decision.reason, "rule": decision.rule, "plugin": decision.plugin}


def entry_document(entry: Entry) -> Document:
    """One message of the queue, as in ``mailframe queue list``."""
    return {
        "id": entry.id,
        "sender": address_text(entry.envelope.sender),
        "size": entry.size,
        "arrived": time_text(entry.envelope.arrived),
        "held": entry.held,
        "recipients": [_recipient_document(entry, index) for index in range(len(entry.recipients))],
    }


def _recipient_document(entry: Entry, index: int) -> Document:
    recipient = entry.recipients[index]
    waiting = recipient.state == "pending"
    return {
        "address": str(recipient.address),
        "state": recipient.state,
        "attempts": recipient.attempts,
        "next_attempt": time_text(entry.next_attempt_of(index)) if waiting else None,
        "last_reply": reply_text(recipient.last_reply),
    }


def queue_document(entries: Iterable[Entry]) -> Document:
    """The queue, or a page of it."""
    return {"messages": [entry_document(entry) for entry in entries]}


def entry_details(entry: Entry) -> Document:
    """Everything that the queue knows of a message, its history apart."""
    document = entry_document(entry)
    for shown, recipient in zip(document["recipients"], entry.recipients, strict=True):
        shown["where"] = recipient.where
        shown["redirected_from"] = (
            None if recipient.parent is None else str(entry.recipients[recipient.parent].address)
        )
    envelope = entry.envelope
    for shown, original in zip(document["recipients"], envelope.recipients, strict=False):
        shown["evidence"] = _permit_document(original.evidence)
        shown["notify"] = list(original.notify)
        shown["orcpt"] = original.orcpt
    document["body"] = envelope.body
    document["warned"] = entry.warned
    document["client"] = client_document(envelope.client)
    document["smtputf8"] = envelope.smtputf8
    document["require_tls"] = envelope.require_tls
    document["ret"] = envelope.ret
    document["envid"] = envelope.envid
    by = envelope.deliver_by
    document["deliver_by"] = by and {"at": time_text(by.at), "mode": by.mode, "trace": by.trace}
    document["not_before"] = envelope.not_before and time_text(envelope.not_before)
    return document


def _permit_document(permit: Permit) -> Document:
    return {**decision_document(permit), "provider": permit.provider}


def client_document(client: Client | None) -> Document | None:
    """Who handed a message over; ``None`` for a notice of our own."""
    if client is None:
        return None
    return {
        "server": client.server,
        "protocol": client.protocol,
        "address": client.address,
        "helo": client.helo,
        "login": client.login,
        "tls": client.tls,
    }


def event_document(event: Event) -> Document:
    """One line of a message's history."""
    return {
        "at": time_text(event.at),
        "event": event.kind,
        "recipient": address_text(event.recipient),
        "reason": event.reason,
        "rule": event.rule,
        "plugin": event.plugin,
        "where": event.where,
        "reply": reply_text(event.reply),
        "next_attempt": None if event.next_attempt is None else time_text(event.next_attempt),
    }


def trace_document(id: str, entry: Entry | None, events: Sequence[Event]) -> Document:
    """One message's life so far.

    :param id: the queue id
    :param entry: the message, or ``None`` when it has left the queue
    :param events: its history, oldest first
    """
    return {
        "id": id,
        "queued": entry is not None,
        "message": None if entry is None else entry_details(entry),
        "events": [event_document(event) for event in events],
    }


def verdict_document(verdict: Verdict) -> Document:
    """The decision whether a recipient is taken, with what a refused client is told."""
    return {
        **decision_document(verdict),
        "provider": verdict.provider,
        "reply": reply_text(verdict.reply) if isinstance(verdict, Deny) else None,
    }


def route_document(route: Route, planned: Sequence[PlannedHop] = ()) -> Document:
    """The decision where mail goes.

    :param planned: what the relay agent would do about the hops of a `Relay`
    """
    document: Document = {"kind": route_kind(route), **decision_document(route)}
    told = route.reverse_path if isinstance(route, Relay) else None
    document["reverse_path"] = address_text(told)
    opens = route.not_before if isinstance(route, Relay) else None
    document["not_before"] = None if opens is None else time_text(opens)
    document["mailbox"] = str(route.mailbox) if isinstance(route, Local) else None
    redirected = route.addresses if isinstance(route, Redirect) else ()
    document["addresses"] = [str(address) for address in redirected]
    document["reply"] = reply_text(route.reply) if isinstance(route, Unroutable) else None
    # A host with several addresses is one host.
    hosts = [
        target.host if target.address else target.where for p in planned for target in p.targets
    ]
    document["hosts"] = list(dict.fromkeys(hosts))
    document["hops"] = [hop_document(each) for each in planned]
    return document


def rules_document(seen: Sequence[RuleSeen]) -> list[Document]:
    """How each rule of the routing table fares, up to the one that decides."""
    return [{"rule": each.rule, "matches": each.matches, "reason": each.reason} for each in seen]


def route_kind(route: Route) -> str:
    """``local``, ``relay``, ``redirect``, ``reject`` or ``hold``."""
    kinds = {
        Local: "local",
        Relay: "relay",
        Redirect: "redirect",
        Unroutable: "reject",
        Hold: "hold",
    }
    return kinds[type(route)]


def schedule_document(
    schedule: Schedule, retry: Backoff | None = None, opens: float = 0.0, shown: int = 8
) -> Document:
    """When a message that can't be delivered is tried again; all in seconds after its arrival.

    Of which part of a wait chance takes nothing can be said before there is a queue id, so the
    attempts listed are the latest that come true.

    :param retry: the waits that its route asks for
    :param opens: when its way opens, seconds after the arrival
    :param shown: how many attempts are listed
    """
    waits = retry or schedule.backoff
    times = schedule.times(0.0, retry=attrs.evolve(waits, jitter=0.0))
    return {
        "retry_every": schedule.retry_every,
        "waits": _waits_document(waits),
        "warn_after": times.warn_at,
        "give_up_after": times.give_up_at,
        "first_attempts": list(islice(_attempts(times, 0.0, opens), shown)),
    }


def _waits_document(waits: Backoff) -> Document:
    return {
        "first": waits.first,
        "factor": waits.factor,
        "longest": waits.longest,
        "jitter": waits.jitter,
    }


def times_document(
    entry: Entry,
    index: int,
    schedule: Schedule,
    now: float,
    retry: Backoff | None = None,
    opens: float | None = None,
    shown: int = 8,
) -> Document:
    """When a recipient of a queued message is tried again, if each attempt fails.

    :param index: its place in the entry's recipients
    :param now: POSIX seconds
    :param retry: the waits that its route asks for
    :param opens: when its way opens, POSIX seconds; ``None``: it is open
    :param shown: how many attempts are listed
    """
    times = schedule.times(entry.envelope.due, entry.envelope.deliver_by, entry.id, retry)
    coming: Iterable[float] = ()
    if not entry.held and entry.recipients[index].state == "pending":
        first = max(entry.next_attempt_of(index), now)
        made, since = entry.recipients[index].attempts, entry.recipients[index].throttled
        coming = _attempts(times, first, opens, made, entry.warned, since)
    is_told = entry.envelope.sender is not None and is_asked("delayed", entry.original(index))
    warn_at = times.warn_at if is_told and not entry.warned else None
    return {
        "waits": _waits_document(times.retry),
        "next_attempts": [time_text(at) for at in islice(coming, shown)],
        "warn_at": None if warn_at is None else time_text(warn_at),
        "give_up_at": time_text(times.give_up_at),
    }


def _attempts(
    times: Times,
    first: float,
    opens: float | None,
    made: int = 0,
    warned: bool = False,
    since: float | None = None,
) -> Iterable[float]:
    """The attempts that are to come, none of them before the way opens.

    Until then a message may come up, for its warning is due, but nothing is tried.

    :param since: when the recipient was kept from being tried first
    """
    if opens is None or opens <= first:
        return times.attempts(first, made, warned)
    if opens > times.last_chance(first if since is None else since):
        return ()  # it is given up before
    return times.attempts(opens, made, warned)

"""Which messages of the queue would go elsewhere.

Routes are asked at each attempt, so a changed table moves what is queued by itself. This tells
beforehand what it moves, and needs nothing but routing decisions: no name is looked up in DNS, and
nobody is connected to. Messages pass through by pages, so that the queue may be of any length.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import attrs
from twisted.internet.defer import gatherResults

from mailframe.assembly import Parts
from mailframe.cli.queued import last_routes, wanted
from mailframe.delivery.dispatch import known_of
from mailframe.documents import Document, decision_document, route_document, route_kind
from mailframe.entry import Entry, QueuedRecipient
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, Known
from mailframe.outcome import Decision, Hold, Local, Redirect, Relay, Route, Unroutable
from mailframe.routing.dns import IS_LOCAL, TO_EXCHANGERS
from mailframe.routing.resolution import Router
from mailframe.routing.rule import WAITS

AT_ONCE = 50  # messages whose routes are asked at a time

_OF_A_MAP = re.compile(r' \(map "[^"]*"\)$')
# How the route is told that is taken where no rule matches, and one of a rule that is the same.
_USUAL = {TO_EXCHANGERS: "mx", IS_LOCAL: "local"}

# Where parts of one recipient's mail end up: each address with its way.
Ends: TypeAlias = frozenset[tuple[str, object]]


@attrs.frozen(kw_only=True)
class Change:
    """A recipient whose mail would go elsewhere.

    :ivar before: the decision so far
    :ivar old: where that sends it, in words
    :ivar after: the first decision from now on
    :ivar new: where its mail ends up, in words
    """

    recipient: str
    before: Decision
    old: str
    after: Route
    new: str

    def document(self) -> Document:
        """What ``--json`` shows of it."""
        before = self.before if isinstance(self.before, Route) else None
        after = route_document(self.after)
        for name in ("hosts", "hops"):  # nothing was looked up
            del after[name]
        return {
            "address": self.recipient,
            "before": {
                "kind": None if before is None else route_kind(before),
                **decision_document(self.before),
                "where": self.old,
            },
            "after": {**after, "where": self.new},
        }


class Rerouting:
    """Compares routes.

    :param parts: accounts, routing and queue in force
    :param changed: accounts and routing that may be in force later; ``None``: what is asked is
        whether those of ``parts`` decide otherwise than at each message's last attempt
    """

    def __init__(self, parts: Parts, changed: Parts | None) -> None:
        self.storage: IQueueStorage = parts.queue.part
        self._clock = parts.site.reactor
        self._now = parts.router()
        self._later = None if changed is None else changed.router()

    def now(self) -> float:
        """POSIX seconds."""
        return float(self._clock.seconds())

    async def entries(
        self, ids: Sequence[str], refused: list[str]
    ) -> AsyncIterator[Sequence[Entry]]:
        """The messages in question, some at a time.

        :param ids: these; empty: all
        :param refused: gets a line for each that is not there
        """
        async for some in wanted(self.storage, ids, refused):
            for first in range(0, len(some), AT_ONCE):
                yield some[first : first + AT_ONCE]

    async def changes(self, entries: Sequence[Entry]) -> Sequence[Sequence[Change]]:
        """What would go elsewhere of each message."""
        return await gatherResults([as_deferred(self._changes(entry)) for entry in entries])

    async def _changes(self, entry: Entry) -> Sequence[Change]:
        pending = [i for i in entry.pending if entry.recipients[i].ready is None]
        if self._later is not None:
            found = [await self._compared(entry, index, self._later) for index in pending]
        else:
            if not any(_has_gone(entry.recipients[i]) for i in pending):
                return ()
            last = last_routes(await as_deferred(self.storage.history(entry.id)))
            found = [
                await self._since(entry, index, last[address])
                for index in pending
                if (address := str(entry.recipients[index].address)) in last
            ]
        return [change for change in found if change is not None]

    async def _compared(self, entry: Entry, index: int, later: Router) -> Change | None:
        """Compare the decisions of two configurations."""
        before, old, old_words = await self._ends(entry, index, self._now)
        after, new, new_words = await self._ends(entry, index, later)
        if old == new:
            return None
        address = str(entry.recipients[index].address)
        return Change(recipient=address, before=before, old=old_words, after=after, new=new_words)

    async def _since(self, entry: Entry, index: int, before: Decision) -> Change | None:
        """Compare a decision with the one that was recorded."""
        known = known_of(entry, index)
        if entry.held and known.released:
            known = attrs.evolve(known, released=False)  # it is held still
        after, _, words = await self._ends(entry, index, self._now, known)
        if isinstance(after, Hold) and entry.held:
            return None
        if _way_told(after) == _way_told(before) and not _opened(before, after):
            return None
        address = str(entry.recipients[index].address)
        return Change(recipient=address, before=before, old=before.reason, after=after, new=words)

    async def _ends(
        self, entry: Entry, index: int, router: Router, known: Known | None = None
    ) -> tuple[Route, Ends, str]:
        """The first decision, where all the mail ends up, and that in words."""
        envelope, recipient = entry.envelope, entry.recipients[index].address
        known = known or known_of(entry, index)
        now = self.now()
        route = await router.route(envelope.sender, recipient, envelope.client, now, known)
        if not isinstance(route, Redirect):
            return route, frozenset([(str(recipient), way(route))]), where(route)
        steps = await router.resolve_fully(envelope.sender, recipient, envelope.client, now, known)
        ends = [(str(each), end) for each, end in steps if not isinstance(end, Redirect)]
        words = "; ".join(f"{each}: {where(end)}" for each, end in ends)
        return route, frozenset((each, way(end)) for each, end in ends), words


def _has_gone(recipient: QueuedRecipient) -> bool:
    """Whether a route has been taken, be it one that keeps the mail waiting."""
    return bool(recipient.attempts or recipient.held) or recipient.throttled is not None


def _way_told(decision: Decision) -> tuple[str, str, str]:
    """What a decision tells of the way, whatever the rule is called that decided: rules without a
    name are numbered, and one that is put before them renames them all."""
    reason = decision.reason
    for label in (f'rule "{decision.rule}"', decision.rule):
        told = reason.removeprefix(f"{label} matches: ")
        if told != reason:
            return "", "", _OF_A_MAP.sub("", _first_clause(told))
    told = _first_clause(reason)
    for usual in _USUAL:
        if told.endswith(usual):
            return "", "", _USUAL[usual]
    return decision.plugin, decision.rule, told


def _first_clause(reason: str) -> str:
    # It says where to; others may tell of the time of day, or until when mail waits.
    return reason.partition("; ")[0]


def _opened(before: Decision, after: Route) -> bool:
    """Whether mail that was to wait for its hours need not wait any more."""
    return WAITS in before.reason and isinstance(after, Relay) and after.not_before is None


def way(route: Route) -> object:
    """What two routes have in common that send mail the same way, whatever their reasons are."""
    if isinstance(route, Relay):
        # A password may be kept elsewhere without the mail going elsewhere.
        return "relay", tuple(attrs.evolve(hop, password_file=None) for hop in route.hops)
    if isinstance(route, Local):
        return "local", route.mailbox
    if isinstance(route, Redirect):
        return "redirect", frozenset(route.addresses)
    if isinstance(route, Unroutable):
        return "reject", str(route.reply)
    return ("hold",)


def where(route: Route) -> str:
    """Where a route sends mail, in few words."""
    if isinstance(route, Relay):
        return ", then ".join(
            " ".join(
                (
                    hop.where,
                    *(() if hop.protocol == "smtp" else (hop.protocol,)),
                    *(() if hop.tls == "opportunistic" else (f"tls {hop.tls}",)),
                    *(() if hop.login is None else (f"as {hop.login}",)),
                    *(() if hop.source is None else (f"source {hop.source}",)),
                )
            )
            for hop in route.hops
        )
    if isinstance(route, Local):
        return f"mailbox {route.mailbox}"
    if isinstance(route, Redirect):
        return "redirected to " + ", ".join(map(str, route.addresses))
    if isinstance(route, Hold):
        return "held"
    return f"nowhere: {route.reply}"

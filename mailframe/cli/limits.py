"""The limits in force for a next hop, as ``mailframe explain`` shows them.

What the configuration sets is known at any time. What a running server has learned of the next hop
it tells itself (`mailframe.delivery.live_limits`), each of its processes for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from mailframe.delivery.live_limits import LiveHop
from mailframe.delivery.shaping import HopLimits, RateLimit
from mailframe.documents import Document, time_text


@attrs.frozen(kw_only=True)
class InForce:
    """What bounds mail to one next hop now.

    :ivar limits: those of the configuration
    :ivar live: what each process of a running server has learned
    """

    limits: HopLimits
    live: Sequence[LiveHop] = ()

    def document(self) -> Document:
        """What ``--json`` shows of it: each limit with the table that sets it."""
        limits = self.limits
        recipients = {"most": limits.recipients, "table": limits.recipients_by}
        return {
            "connections": {"most": limits.connections, "table": limits.connections_by},
            "first_connections": limits.first_connections,
            "messages_per_connection": {
                "most": limits.reuse_messages,
                "table": limits.reuse_messages_by,
            },
            "recipients": None if limits.recipients is None else recipients,
            "rates": [_rate_document(rate) for rate in (*limits.rates, *limits.connection_rates)],
            "now": [_live_document(each) for each in self.live],
        }


def _rate_document(limit: RateLimit) -> Document:
    return {
        "rate": str(limit.rate),
        "what": limit.what,
        "table": limit.table,
        "by_destination": limit.by_destination,
        "by_provider": limit.by_provider,
    }


def _live_document(live: LiveHop) -> Document:
    until = live.left_alone_until
    return {
        "process": live.pid,
        "at": time_text(live.written),
        "connections": live.connections,
        "in_use": live.in_use,
        "waiting": live.waiting,
        "left_alone_until": None if until is None else time_text(until),
        "reason": live.reason,
        "rates": [{"limit": limit, "room": room} for limit, room in live.rates.items()],
    }


def limits_fields(limits: Document) -> Iterator[tuple[str, object]]:
    """The same for a person."""
    connections, messages = limits["connections"], limits["messages_per_connection"]
    yield (
        "limits",
        f"{connections['most']} connections at once{_by(connections)}, "
        f"{limits['first_connections']} at first",
    )
    yield "", f"{messages['most']} messages over one connection{_by(messages)}"
    if limits["recipients"] is not None:
        recipients = limits["recipients"]
        yield "", f"{recipients['most']} recipients at once{_by(recipients)}"
    for rate in limits["rates"]:
        yield "", f"{rate['rate']} {rate['what']}{_by(rate)}{_counted(rate)}"
    for live in limits["now"]:
        yield (
            "now",
            f"{live['connections']} of {connections['most']} connections, {live['in_use']} in use, "
            f"{live['waiting']} messages waiting (process {live['process']})",
        )
        if live["left_alone_until"]:
            yield "", f"left alone until {live['left_alone_until']}: {live['reason']}"
        for rate in live["rates"]:
            yield "", f"room for {rate['room']}: {rate['limit']}"


def _by(limit: Document) -> str:
    return f" ({limit['table']})" if limit["table"] else ""


def _counted(rate: Document) -> str:
    by = [name for name in ("destination", "provider") if rate[f"by_{name}"]]
    return f", for each {' and '.join(by)}" if by else ", all together"

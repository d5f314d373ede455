"""JSON documents of what the relay client would do about a next hop; see `mailframe.documents`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailframe.reply import Reply

if TYPE_CHECKING:
    from mailframe.delivery.targets import PlannedHop, Target
    from mailframe.delivery.tls_demand import TlsDemand
    from mailframe.documents import Document


def hop_document(planned: PlannedHop) -> Document:
    """A next hop, with the servers that it stands for in the order in which they are tried."""
    hop = planned.hop
    # What can't be planned has no demands.
    demands = planned.demands or (None,) * len(planned.targets)
    return {
        "where": hop.where,
        "protocol": hop.protocol,
        "tls": hop.tls,
        "login": hop.login,
        "servers": [
            _server_document(target, demand)
            for target, demand in zip(planned.targets, demands, strict=True)
        ],
        "reply": _reply_text(planned.reply),
    }


def _server_document(target: Target, demand: TlsDemand | None) -> Document:
    source = target.source
    return {
        "host": target.host,
        "address": target.address or None,
        "port": target.port,
        "source": None if source is None else source.address,
        "helo": None if source is None else source.hostname,
        "tls": None if demand is None else _demand_document(demand),
    }


def _demand_document(demand: TlsDemand) -> Document:
    return {
        "policy": demand.policy,
        "reason": demand.reason,
        "names": list(demand.names),
        "tried_out": demand.is_tried_out,
        "reply": _reply_text(demand.refusal),
    }


def _reply_text(reply: Reply | None) -> str | None:
    return None if reply is None else str(reply)

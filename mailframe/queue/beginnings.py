"""How a message's history begins: what its envelope already tells, as events."""

from __future__ import annotations

from mailframe.entry import Event
from mailframe.envelope import Envelope


def first_events(envelope: Envelope) -> tuple[Event, ...]:
    """``accepted``, then ``authorised`` with its evidence for each recipient."""
    client = envelope.client
    if client is None:
        source = "made here"
    elif client.protocol == "local":
        source = "from a program on this machine"
    else:
        login = f", logged in as {client.login}" if client.login else ""
        source = f"from {client.address} on server {client.server}{login}"
    return (
        Event(at=envelope.arrived, kind="accepted", reason=source),
        *(
            Event(
                at=envelope.arrived,
                kind="authorised",
                recipient=recipient.address,
                reason=recipient.evidence.reason,
                rule=recipient.evidence.rule,
                plugin=recipient.evidence.plugin,
            )
            for recipient in envelope.recipients
        ),
    )

"""Messages that are never to go over a connection without verified TLS (RFC 8689 §4.2.1).

Their hops are those of the route with ``tls = "verify"``, unless the route asks for DANE, and of a
kind of their own, so that they never share a connection that was not verified for them. A
certificate is good for the name of an exchanger, and proves nothing when anybody may have put that
name into DNS: DNSSEC or the domain's MTA-STS has to vouch for it (`mailframe.delivery.tls_demand`).

Notices, whose reverse-path is null, are asked to be sent in the same way where that is possible,
and go over the route as it is where not (§5).
"""

from __future__ import annotations

import attrs

from mailframe.delivery.tls_demand import StrictHop
from mailframe.envelope import Envelope
from mailframe.outcome import NextHop
from mailframe.reply import Reply
from mailframe.wire.sender_events import Failed

_NO_TLS = ("4.7.5", "4.7.10")  # what our own replies say of TLS that did not come about


def hop_for(hop: NextHop, envelope: Envelope) -> NextHop:
    """The next hop for a message."""
    if not _is_strict(envelope):
        return hop
    values = {field.name: getattr(hop, field.name) for field in attrs.fields(NextHop)}
    return StrictHop(**{**values, "tls": "dane" if hop.tls == "dane" else "verify"})


def reason(failed: Failed, envelope: Envelope) -> Reply:
    """Why a server did not let us in, as it counts for a message: without TLS, for good."""
    reply = failed.reply
    if _is_strict(envelope) and failed.stage in ("starttls", "tls") and reply.status in _NO_TLS:
        text = f"no verified TLS, which the sender asks for: {' '.join(reply.text)}"
        return Reply(550, "5.7.10", text)
    return reply


def _is_strict(envelope: Envelope) -> bool:
    return envelope.require_tls and envelope.sender is not None

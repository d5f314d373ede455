"""What is asked of TLS with one server, and the one place that decides it.

A route says what it wants of TLS, but it is not alone: the domain that mail goes to may have
published that its exchangers speak TLS, and how they prove who they are. `TlsDemands` asks each
source of such policies in turn and makes one `TlsDemand` of what they say and of the route's own
wish:

1. ``tls = "none"`` in the route is the operator's word and wins over every policy of the domain;
2. a source that says that the server is not to be used at all is always heeded;
3. the route's ``verify`` is never weakened, whatever a source asks;
4. else the first source that has something to ask decides, then the route; where it is content
   with any certificate, a further one that is not;
5. for messages that demand TLS somebody has to vouch for the name of an exchanger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from twisted.logger import Logger

from mailframe.delivery.tls_fault import TlsFault
from mailframe.outcome import NextHop, TlsPolicy
from mailframe.reply import Reply

if TYPE_CHECKING:
    from mailframe.delivery.targets import Target

log = Logger()


@attrs.frozen(kw_only=True)
class Published:
    """A policy that a domain has published, as reports name it (RFC 8460 §4.4).

    :ivar kind: ``sts`` or ``tlsa``
    :ivar domain: the policy domain
    :ivar lines: the policy as it was found, or the TLSA records in textual form
    :ivar mx: the patterns of the exchangers' names, of MTA-STS
    """

    kind: Literal["sts", "tlsa"]
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TlsDemand:
    """What is asked of TLS with one server.

    :ivar policy: as a route has it; or ``dane``: STARTTLS, with a certificate that fits `tlsa`
    :ivar names: those that the certificate may be good for, where it is looked at
    :ivar tlsa: TLSA records (RFC 6698) that the certificate must fit; empty unless it is ``dane``
    :ivar reason: one clause for logs, replies and explanations, without a final dot
    :ivar refusal: why the server is not to be used at all, or ``None``
    :ivar is_tried_out: the policy behind it is only tried out by the domain: the certificate is
        looked at, but what is wrong with it is counted and nothing else
    :ivar published: the policy behind it, for reports; ``None`` when it is the route's own wish
    :ivar fault: what is wrong before anything is connected to, for reports, or ``None``
    :ivar doubt: why there may be a policy that is not known at present; ``""``: there is no doubt
    """

    policy: TlsPolicy
    names: tuple[str, ...] = ()
    tlsa: tuple[Any, ...] = ()
    reason: str
    refusal: Reply | None = None
    is_tried_out: bool = False
    published: Published | None = None
    fault: TlsFault | None = None
    doubt: str = ""

    @property
    def may_go_clear(self) -> bool:
        """Whether the message may go out in clear where TLS can't be had."""
        return self.policy in ("none", "opportunistic")

    @property
    def wish(self) -> TlsPolicy:
        """What the dialogue with the server has to know of it."""
        return "verify" if self.policy == "dane" else self.policy


@attrs.frozen(kw_only=True)
class StrictHop(NextHop):
    """A next hop for messages that demand TLS (RFC 8689), and no equal of any other."""


class DemandSource(Protocol):
    """Knows policies that domains publish for their exchangers."""

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        """What the policy asks of TLS with a server of a next hop.

        Asked for each server before it is connected to, so what takes long is to be kept, and
        what can't be found out within bounds is to be a refusal with a 4yz reply.

        :returns: ``None`` when there is no policy
        """


class TlsDemands:
    """Decides what is asked of TLS with each server.

    :param sources: of the policies that domains publish, the most preferred first
    :param look_after: sees that what is kept of them does not run out
    :ivar look_after: as given: to be called now and then, whether mail goes or not
    """

    def __init__(
        self,
        sources: Sequence[DemandSource] = (),
        look_after: Callable[[], None] | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self.look_after = look_after

    async def of(self, hop: NextHop, target: Target) -> TlsDemand:
        """What is asked of TLS with one server of a next hop."""
        if target.is_local:
            # Nobody could listen in, and there is no name for a certificate.
            return TlsDemand(policy="none", reason="the server is a UNIX socket of this machine")
        demand = _own_wish(hop, target)
        asked = await self._published(hop, target)
        if asked is not None:
            demand = _together(hop, target, demand, asked)
        return _strict(hop, target, demand) if isinstance(hop, StrictHop) else demand

    async def _published(self, hop: NextHop, target: Target) -> TlsDemand | None:
        asked: TlsDemand | None = None
        for source in self._sources:
            found = await source.demand(hop, target)
            if found is None or (asked is not None and found.may_go_clear):
                continue
            asked = found
            # TLSA records of which none is usable don't say who the server is (RFC 7672 §2.2):
            # they must not keep anybody else from being heard.
            if asked.policy != "require":
                break
        return asked


# What most messages ask, each time anew over a connection that is kept: made once.
_ROUTE_ASKS = "the route asks for it"
_NOBODY_ASKS = TlsDemand(policy="opportunistic", reason="nobody asks for more")
_NO_TLS = TlsDemand(policy="none", reason=_ROUTE_ASKS)


def _own_wish(hop: NextHop, target: Target) -> TlsDemand:
    """What the route asks, or an endpoint that begins with TLS and verifies it."""
    if target.is_verified:
        reason = "the endpoint verifies the certificate"
        return TlsDemand(policy=hop.tls, names=(target.host,), reason=reason)
    if hop.tls == "verify":
        return TlsDemand(policy="verify", names=(target.host,), reason=_ROUTE_ASKS)
    if hop.tls == "dane":
        text = f"the route asks for DANE, and {target.host} has no usable TLSA records"
        return TlsDemand(
            policy="dane",
            reason=_ROUTE_ASKS,
            refusal=Reply(451, "4.7.5", text),
            fault=TlsFault("dane-required", text),
        )
    if hop.tls == "opportunistic":
        return _NOBODY_ASKS
    return _NO_TLS if hop.tls == "none" else TlsDemand(policy=hop.tls, reason=_ROUTE_ASKS)


def _together(hop: NextHop, target: Target, own: TlsDemand, asked: TlsDemand) -> TlsDemand:
    if own.policy == "none":
        if asked.may_go_clear:
            return own
        log.warn(
            "no TLS with {where}: the route's word is taken over the policy that is published"
            " ({reason})",
            where=str(target),
            reason=asked.reason,
        )
        return attrs.evolve(own, reason=f"the route asks for it, against {asked.reason}")
    if own.policy == "dane" and asked.policy != "dane":
        return own
    if asked.refusal is not None or (own.policy != "verify" and not asked.may_go_clear):
        return asked
    if isinstance(hop, StrictHop) and asked.policy == "dane":
        return asked  # RFC 8689 §4.2.1: as good as a certificate that an authority has signed
    if own.policy == "opportunistic":
        return asked
    is_tried_out = own.policy == "require" and asked.is_tried_out
    return attrs.evolve(
        own,
        names=asked.names if is_tried_out else own.names,
        reason=f"{own.reason}, besides {asked.reason}",
        is_tried_out=is_tried_out,
        published=asked.published,
        fault=asked.fault,
        doubt=asked.doubt,
    )


def _strict(hop: NextHop, target: Target, demand: TlsDemand) -> TlsDemand:
    """What messages that demand TLS ask of an exchanger besides: that it is one (RFC 8689 §4.2.1).

    A certificate is good for a name, which anybody may have put into the MX records.
    """
    if demand.refusal is not None or not hop.where.startswith("mx:"):
        return demand
    published, fault = demand.published, demand.fault
    is_named = published is not None and published.kind == "sts" and fault is None
    if is_named or target.is_genuine or target.host == hop.where.removeprefix("mx:").strip("[]"):
        return demand
    text = (
        f"neither DNSSEC nor MTA-STS vouches for {target.host}, and the sender asks for TLS with a"
        " server that is known to be an exchanger of the domain"
    )
    reply = Reply(550, "5.7.10", text)
    doubt = demand.doubt if fault is None else fault.text
    if doubt:
        reply = Reply(454, "4.7.10", f"{text}: {doubt}")  # that may be otherwise later
    return attrs.evolve(demand, refusal=reply)

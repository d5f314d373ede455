"""MTA-STS: what a domain asks of TLS with its exchangers (RFC 8461).

A domain is the policy domain of mail that goes to it by its MX records. What is known of its policy
is kept up by `mailframe.delivery.mta_sts_upkeep`.
"""

from __future__ import annotations

from mailframe.address import AddressError, normal_domain
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts_cache import PolicyFiles
from mailframe.delivery.mta_sts_upkeep import Fetch, PolicyUpkeep
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import Published, TlsDemand
from mailframe.delivery.tls_fault import TlsFault
from mailframe.interfaces import Site
from mailframe.outcome import NextHop
from mailframe.reply import Reply


class MtaSts:
    """A `mailframe.delivery.tls_demand.DemandSource`.

    :param site: lends clock and threads
    :param lookup: asks DNS
    :param files: keeps policies
    :param fetch: fetches them
    :ivar policies: what is known
    """

    def __init__(self, *, site: Site, lookup: Lookup, files: PolicyFiles, fetch: Fetch) -> None:
        self._reactor = site.reactor
        self.policies = PolicyUpkeep(site=site, lookup=lookup, files=files, fetch=fetch)

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        """See `mailframe.delivery.tls_demand.DemandSource`."""
        domain = _domain(hop)
        if domain is None:
            return None
        known = await self.policies.known(domain)
        if isinstance(known, str):
            return _cannot_tell(domain, target, known)
        stored = known.stored
        policy = stored.in_force(self._reactor.seconds())
        if policy is None and stored.fault is not None:
            return TlsDemand(
                policy="opportunistic",
                reason=f"nobody asks for more; the MTA-STS policy of {domain} could not be had:"
                f" {stored.fault.text}",
                published=Published(kind="sts", domain=domain),
                fault=stored.fault,
            )
        if policy is None and known.doubt:
            doubt = f"whether {domain} has an MTA-STS policy can't be told now: {known.doubt}"
            reason = f"nobody asks for more; {doubt}"
            return TlsDemand(policy="opportunistic", reason=reason, doubt=doubt)
        if policy is None or policy.mode == "none":
            return None
        reason = f"MTA-STS of {domain}, mode {policy.mode}"
        published = Published(kind="sts", domain=domain, lines=policy.lines, mx=policy.mx)
        fault = refusal = None
        if not policy.names(target.host):
            text = f"{target.host} is not among the exchangers that the MTA-STS of {domain} names"
            fault = TlsFault("validation-failure", text)
            refusal = Reply(451, "4.7.5", text)
        is_tried_out = policy.mode == "testing"
        return TlsDemand(
            policy="opportunistic" if is_tried_out else "verify",
            names=(target.host,),
            reason=reason,
            refusal=None if is_tried_out else refusal,
            is_tried_out=is_tried_out,
            published=published,
            fault=fault,
        )


def _cannot_tell(domain: str, target: Target, why: str) -> TlsDemand:
    """Asked where it is not known whether the domain has a policy."""
    text = f"whether {domain} has an MTA-STS policy can't be told now: {why}"
    return TlsDemand(
        policy="verify",
        names=(target.host,),
        reason=text,
        refusal=Reply(451, "4.7.5", text),
    )


def _domain(hop: NextHop) -> str | None:
    """The policy domain of a next hop, if it can have a policy."""
    if hop.protocol != "smtp" or not hop.where.startswith("mx:"):
        return None
    try:
        domain = normal_domain(hop.where.removeprefix("mx:"))
    except AddressError:
        return None
    return None if domain.startswith("[") else domain

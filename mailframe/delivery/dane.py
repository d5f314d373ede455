"""DANE: which TLS a mail exchanger asks for in DNS, where DNSSEC vouches for it (RFC 7672).

It is asked about only where all that led to the host is genuine: the MX records of the domain and
the addresses of the host (`mailframe.delivery.lookup`). If the host has TLSA records then, TLS is a
must. Its certificate has to fit one of them; if none of them is of a kind that can be used here,
any certificate will do. If the records can't be had, the host is not used: whoever keeps them from
us may be whoever waits for us to go on without (RFC 7672 §2.1.2).
"""

from __future__ import annotations

from twisted.logger import Logger

from mailframe.address import normal_domain
from mailframe.delivery.exchanges import LookupFault
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.targets import Target
from mailframe.delivery.tls_demand import Published, TlsDemand
from mailframe.delivery.tls_fault import TlsFault
from mailframe.delivery.tlsa import Tlsa, read_all, usable
from mailframe.outcome import NextHop
from mailframe.reply import Reply

log = Logger()
_MX = "mx:"


class Dane:
    """Knows what TLSA records ask for: a `mailframe.delivery.tls_demand.DemandSource`.

    :param lookup: asks DNS
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def demand(self, hop: NextHop, target: Target) -> TlsDemand | None:
        """See `mailframe.delivery.tls_demand.DemandSource`."""
        for base in target.tlsa_bases:
            domain = normal_domain(hop.where.removeprefix(_MX))
            name = f"_{target.port}._tcp.{base}"
            found = await self._lookup.tlsa(name)
            if isinstance(found, LookupFault):
                return _not_had(domain, name, found)
            if found:
                names = base, domain, target.alias_of  # RFC 7672 §3.2.2
                return _asked(domain, names, name, read_all(found))
        return None


def _not_had(domain: str, name: str, fault: LookupFault) -> TlsDemand:
    text = f"the TLSA records at {name} can't be had, so that nobody knows whom to trust"
    log.warn("DANE: {text}: {reason}", text=text, reason=fault.reason)
    return TlsDemand(
        policy="dane",
        reason=f"DANE: {text}",
        refusal=Reply(451, "4.4.3", f"{text}: {fault.reason}"),
        published=Published(kind="tlsa", domain=domain),
        fault=TlsFault("dnssec-invalid", text),
    )


def _asked(domain: str, names: tuple[str, ...], name: str, records: tuple[Tlsa, ...]) -> TlsDemand:
    published = Published(kind="tlsa", domain=domain, lines=tuple(map(str, records)))
    good = usable(records)
    if not good:  # RFC 7672 §2.2: TLS nevertheless
        return TlsDemand(
            policy="require",
            reason=f"DANE: TLSA records at {name}, none of them usable",
            published=published,
            fault=TlsFault("tlsa-invalid", f"none of the TLSA records at {name} is usable"),
        )
    count = f"{len(good)} usable TLSA record" + ("s" if len(good) > 1 else "")
    return TlsDemand(
        policy="dane",
        # the first is also the server's name in the handshake (RFC 7672 §8.1)
        names=tuple([each for each in dict.fromkeys(names) if each]),
        tlsa=good,
        reason=f"DANE: {count} at {name}",
        published=published,
    )

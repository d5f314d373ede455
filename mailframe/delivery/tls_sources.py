"""Where the relay client looks for what domains publish about TLS with their exchangers."""

from __future__ import annotations

from mailframe.delivery.lookup import Lookup
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.tls_demand import DemandSource, TlsDemands
from mailframe.interfaces import Site


def make_demands(*, settings: RelaySettings, site: Site, lookup: Lookup) -> TlsDemands:
    """Decides what is asked of TLS with each server, by all that is to be asked.

    :param settings: the ``[relay]`` table, which says what is asked at all
    :param lookup: asks DNS
    """
    sources: list[DemandSource] = []  # in order of preference (RFC 8461 §2: DANE before MTA-STS)
    return TlsDemands(sources)

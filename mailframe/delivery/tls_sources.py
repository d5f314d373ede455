"""Where the relay client looks for what domains publish about TLS with their exchangers."""

from __future__ import annotations

import os
from typing import Any

from mailframe.delivery.addresses import is_prohibited
from mailframe.delivery.dane import Dane
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts import MtaSts
from mailframe.delivery.mta_sts_cache import PolicyFiles
from mailframe.delivery.mta_sts_fetch import PolicyFetch
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.tls_demand import DemandSource, TlsDemands
from mailframe.delivery.tls_policy import TlsPolicies
from mailframe.interfaces import Site

POLICIES = "mta-sts"  # the folder of policies, in state_dir


def make_demands(
    *,
    settings: RelaySettings,
    site: Site,
    lookup: Lookup,
    trust_root: Any = None,
    keeps: bool = True,
) -> TlsDemands:
    """Decides what is asked of TLS with each server, by all that is to be asked.

    :param settings: the ``[relay]`` table, which says what is asked at all
    :param lookup: asks DNS
    :param trust_root: whom a web server that publishes a policy must be trusted by; ``None`` means
        the platform's authorities
    :param keeps: whether what was published is kept for later
    """
    sources: list[DemandSource] = []  # in order of preference (RFC 8461 §2: DANE before MTA-STS)
    if settings.dane is not False:  # nothing is asked where the name servers don't validate
        sources.append(Dane(lookup))
    if settings.mta_sts:
        fetch = PolicyFetch(
            reactor=site.reactor,
            lookup=lookup,
            policies=TlsPolicies(trust_root),
            prohibited=_nothing if settings.allow_private else is_prohibited,
        )
        files = PolicyFiles(os.path.join(site.state_dir, POLICIES), keeps)
        sts = MtaSts(site=site, lookup=lookup, files=files, fetch=fetch)
        return TlsDemands((*sources, sts), sts.policies.look_after)
    return TlsDemands(sources)


def _nothing(_address: str) -> bool:
    return False

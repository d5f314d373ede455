"""What the server lends to its parts, all virtual."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from mailframe.interfaces import Site
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver, Zone
from mailframe.testing.threads import in_thread


def make_site(
    *,
    state_dir: str,
    reactor: Any = None,
    zone: Zone | None = None,
    hostname: str = "mx.here.example",
    local_domains: Iterable[str] = ("here.example",),
    seed: int = 0,
) -> Site:
    """A site under virtual time, for the ``build(settings, site)`` of a plugin.

    :param state_dir: a folder that the test may write to, such as ``self.mktemp()``
    :param reactor: a `VirtualReactor` or one of its hosts; one is made when there is none
    :param zone: what DNS answers, see `FakeResolver`
    :param seed: of the randomness, which is the same in every run
    """
    reactor = reactor or VirtualReactor()
    return Site(
        hostname=hostname,
        local_domains=frozenset(local_domains),
        state_dir=state_dir,
        reactor=reactor,
        resolver=FakeResolver(zone, reactor),
        in_thread=in_thread,
        random=Random(seed),
    )

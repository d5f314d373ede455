"""What a server remembers of its clients beyond one connection and one configuration."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mailframe.server.recent import Recent, RecentHere
from mailframe.server.tally import Tally

MAX_FAILURES = 10_000  # addresses, and as many logins, that are remembered
MAX_OPENED = 100_000  # mailboxes that are remembered


def _make_tally(server: str) -> Tally:
    return Tally()


@attrs.frozen(kw_only=True, eq=False)
class ClientRecords:
    """One for all listening servers, as long as the process lives.

    What is not given is kept for this process alone.

    :ivar failed_addresses: from where logins failed
    :ivar failed_logins: whose they were
    :ivar opened: the mailboxes that were opened
    :ivar make_tally: makes the tally of a listening server, by its name
    """

    failed_addresses: Recent = attrs.field(factory=lambda: RecentHere(MAX_FAILURES))
    failed_logins: Recent = attrs.field(factory=lambda: RecentHere(MAX_FAILURES))
    opened: Recent = attrs.field(factory=lambda: RecentHere(MAX_OPENED))
    make_tally: Callable[[str], Tally] = _make_tally
    _tallies: dict[str, Tally] = attrs.field(factory=dict, init=False)

    def tally(self, server: str) -> Tally:
        """The connections of a listening server, by its name."""
        tally = self._tallies.get(server)
        if tally is None:
            tally = self._tallies[server] = self.make_tally(server)
        return tally

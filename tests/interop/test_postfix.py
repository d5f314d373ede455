"""Postfix sends to us, and is our next hop."""

from __future__ import annotations

from tests.interop import neighbours


class PostfixTests(neighbours.NeighbourTests):
    """What every neighbour is put through."""

    spool = "postfix/spool/[aid][cne][tcf]*"  # active, incoming, deferred
    neighbour = neighbours.NeighbourTests.start_postfix

"""Exim sends to us, and is our next hop."""

from __future__ import annotations

from tests.interop import neighbours
from tests.interop.exim import EximCase


class EximTests(EximCase, neighbours.NeighbourTests):
    """What every neighbour is put through."""

    neighbour = EximCase.start_exim

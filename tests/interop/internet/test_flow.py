"""Messages flow through the chain while it is cut and our server is killed."""

from __future__ import annotations

from random import Random

from tests.interop.internet import flow
from tests.interop.internet.copies import Counts


class FlowTests(flow.Flow):
    """A round of `flow.Flow`; for more of them there is a command."""

    def test_a_round(self) -> None:
        """What a client was told 250 for is lost, or comes twice without an excuse."""
        counts = Counts()
        self.round(messages=40, strikes=6, random=Random("angelo"), counts=counts)
        self.assertEqual(counts.broken, [], str(counts))
        self.assertEqual(counts.messages, 40)
        self.assertGreater(counts.kills, 0)
        self.assertGreater(counts.cuts, 0)

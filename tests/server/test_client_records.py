"""Covers mailframe.server.client_records."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.client_records import ClientRecords
from mailframe.server.recent import RecentHere
from mailframe.server.tally import Tally


class RecordsTests(SynchronousTestCase):
    """What is remembered, and by whom."""

    def test_tallies(self) -> None:
        """After a reload a client could have all its connections once more."""
        records = ClientRecords()
        self.assertIs(records.tally("mx"), records.tally("mx"))
        self.assertIsNot(records.tally("mx"), records.tally("pop"))
        self.assertIsNot(ClientRecords().tally("mx"), records.tally("mx"))

    def test_given(self) -> None:
        """Several processes would count each for itself."""
        made: list[str] = []

        def make(server: str) -> Tally:
            made.append(server)
            return Tally()

        opened = RecentHere(1)
        records = ClientRecords(opened=opened, make_tally=make)
        self.assertIs(records.opened, opened)
        records.tally("mx")
        records.tally("mx")
        self.assertEqual(made, ["mx"])

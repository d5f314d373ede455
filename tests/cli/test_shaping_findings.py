"""What ``mailframe check`` finds in the shaping tables."""

from __future__ import annotations

from typing import Any

import attrs

from mailframe.cli.check import examine
from mailframe.cli.findings import Finding
from mailframe.cli.shaping_findings import of_shaping
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.routing.maps import MapSettings
from mailframe.routing.table import RuleSettings, TableSettings
from mailframe.units import FilePath
from tests.cli.test_findings import FindingsCase


class ShapingFindingsTests(FindingsCase):
    """`of_shaping`."""

    routing: Any = TableSettings(rule=(RuleSettings(via=("tcp:127.0.0.1:2600", "mx:x.example")),))

    def found(self, processes: int = 1, **keys: Any) -> list[Finding]:
        table = ShapingTable(name="a", **keys)
        chosen = attrs.evolve(self.settings.chosen["routing"], settings=self.routing)
        self.changed = attrs.evolve(
            self.settings,
            processes=processes,
            relay=RelaySettings(shaping=(table,)),
            chosen={**self.settings.chosen, "routing": chosen},
        )
        return list(of_shaping(self.changed))

    def test_never(self) -> None:
        """A limit would be believed in that holds for no message."""
        local = self.settings.local_domains[0]
        for destination, words in (
            ("tcp:127.0.0.1:2601", "no routing rule has"),
            (local, "is a local domain"),
            (f"mx:{local}", "is a local domain"),
        ):
            (finding,) = self.found(destinations=(destination,), connections=1)
            self.assertEqual((finding.level, finding.subject), ("warn", "shaping a"))
            self.assertIn(words, finding.message)
        self.assertIn(finding, examine(self.changed))

    def test_without_effect(self) -> None:
        """An operator would wonder why there are never more connections."""
        (finding,) = self.found(connections=30)
        self.assertIn("connections_per_destination = 20 is less", finding.message)
        (finding,) = self.found(reuse_messages=300)
        self.assertIn("reuse_messages = 100 is less", finding.message)

    def test_processes(self) -> None:
        """Several processes would send more than the rate says, and nobody know."""
        (finding,) = self.found(processes=4, rate="3/1m")
        self.assertIn("each of 4 processes sends one", finding.message)
        (finding,) = self.found(processes=4, connection_rate="1/1m")
        self.assertEqual(self.found(processes=4, rate="4/1m"), [])

    def test_well(self) -> None:
        """Warnings about what is well teach people to read none."""
        for destination in ("tcp:127.0.0.1:2600", "x.example", "*.y.example", "*", "mx:z.example"):
            self.assertEqual(self.found(destinations=(destination,), connections=1), [])
        self.assertEqual(self.found(connections=20, reuse_messages=100, recipients=5000), [])

    def test_not_known(self) -> None:
        """The same, where next hops come from a map or from another plugin."""
        map_ = MapSettings(name="m", file=FilePath("/m"))
        self.routing = TableSettings(rule=(RuleSettings(via="map:m"),), map=(map_,))
        self.assertEqual(self.found(destinations=("tcp:127.0.0.1:2601",), connections=1), [])
        self.routing = object()
        self.assertEqual(self.found(destinations=("tcp:127.0.0.1:2601",), connections=1), [])

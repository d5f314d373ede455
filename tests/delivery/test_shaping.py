"""Which limits are in force for a next hop, and what the rates leave room for."""

from __future__ import annotations

import os
import random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.config_errors import SettingsError
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.shaping import Rates, limits_for
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.outcome import Throttled
from mailframe.settings import load


def table(name: str = "a", **keys: Any) -> ShapingTable:
    return ShapingTable(name=name, **keys)


class LimitsTests(SynchronousTestCase):
    """`limits_for`."""

    def connections(self, where: str, *destinations: str) -> int:
        shaping = (table(destinations=destinations, connections=3),)
        return limits_for(RelaySettings(shaping=shaping), where).connections

    def test_patterns(self) -> None:
        """A table would hold for other servers than those it names."""
        for where, destinations, fits in (
            ("mx:blu.example", ("blu.example",), True),
            ("mx:blu.example", ("BLU.example",), True),
            ("mx:blu.example", ("mx:blu.example",), True),
            ("mx:blu.example", ("*",), True),
            ("mx:blu.example", ("other.example", "blu.example"), True),
            ("mx:blu.example", ("*.blu.example", "*.lu.example"), False),
            ("mx:x.blu.example", ("*.blu.example",), True),
            ("mx:y.x.blu.example", ("*.blu.example",), True),
            ("mx:x.blu.example", ("blu.example",), False),
            ("tcp:Smart.example:587", ("smart.example",), True),
            ("tcp:127.0.0.1:2600", ("tcp:127.0.0.1:2600",), True),
            ("tcp:127.0.0.1:2600", ("tcp:127.0.0.1:2601",), False),
            ("tcp:127.0.0.1:2600", ("127.0.0.1",), True),
            ("unix:/run/lmtp", ("unix:/run/lmtp",), True),
            ("unix:/run/lmtp", ("*.run",), False),
        ):
            found = self.connections(where, *destinations)
            self.assertEqual(found, 3 if fits else 20, (where, destinations))

    def test_smallest(self) -> None:
        """A table could allow more than another one, or than ``[relay]``, does."""
        settings = RelaySettings(
            connections_per_destination=10,
            reuse_messages=50,
            shaping=(
                table("wide", connections=30, reuse_messages=70, recipients=40),
                table("narrow", connections=4, reuse_messages=20, recipients=10),
                table("other", connections=6, reuse_messages=30, recipients=20),
            ),
        )
        limits = limits_for(settings, "mx:blu.example")
        self.assertEqual((limits.connections, limits.connections_by), (4, "narrow"))
        self.assertEqual((limits.reuse_messages, limits.reuse_messages_by), (20, "narrow"))
        self.assertEqual((limits.recipients, limits.recipients_by), (10, "narrow"))
        self.assertEqual(limits.first_connections, 4)
        limits = limits_for(RelaySettings(), "mx:blu.example")
        self.assertEqual((limits.connections, limits.connections_by), (20, ""))
        self.assertEqual((limits.recipients, limits.rates), (None, ()))

    def test_text(self) -> None:
        """An explanation would not tell which table it is."""
        settings = RelaySettings(shaping=(table("slowly", rate="60/60s"),))
        (limit,) = limits_for(settings, "mx:blu.example").rates
        self.assertEqual(str(limit), "60/1m messages (slowly)")


class RatesTests(SynchronousTestCase):
    """`Rates`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rates = Rates(self.clock, random.Random(1))

    def send(self, where: str, provider: str | None, *tables: ShapingTable) -> bool:
        limits = limits_for(RelaySettings(shaping=tables), where)
        taken = self.rates.take(limits.rates, where, provider)
        return not isinstance(taken, Throttled)

    def test_by_destination(self) -> None:
        """Mail for one destination would use up the rate of another."""
        each = table(destinations=("*",), rate="1/1m")
        self.assertTrue(self.send("mx:one.example", None, each))
        self.assertTrue(self.send("mx:two.example", "blu", each))
        self.assertFalse(self.send("mx:one.example", "blu", each))
        self.clock.advance(60)
        self.assertTrue(self.send("mx:one.example", "blu", each))

    def test_by_provider(self) -> None:
        """One provider's customers would use up the rate of another's."""
        some = table(providers=("blu", "rosse"), rate="1/1m")
        self.assertTrue(self.send("mx:one.example", "blu", some))
        self.assertFalse(self.send("mx:two.example", "blu", some))
        self.assertTrue(self.send("mx:two.example", "rosse", some))
        for _ in range(3):
            self.assertTrue(self.send("mx:one.example", "verde", some))
            self.assertTrue(self.send("mx:one.example", None, some))
        every = table("every", providers=("*",), rate="1/1m")
        self.assertTrue(self.send("mx:one.example", "verde", every))
        self.assertFalse(self.send("mx:one.example", "verde", every))
        self.assertTrue(self.send("mx:one.example", None, every))

    def test_together(self) -> None:
        """What is meant for all would be allowed to each."""
        for changes in ({}, {"destinations": ("*",), "together": True}):
            self.rates = Rates(self.clock, random.Random(1))
            all_ = table(rate="1/1m", **changes)
            self.assertTrue(self.send("mx:one.example", None, all_))
            self.assertFalse(self.send("mx:two.example", "blu", all_))
        both = table("b", providers=("*",), rate="1/1m", together=True)
        self.assertTrue(self.send("mx:one.example", "verde", both))
        self.assertFalse(self.send("mx:one.example", "blu", both))

    def test_all_hold(self) -> None:
        """A message that one rate has no room for would use up the others."""
        wide, narrow = table("wide", rate="2/1h"), table("narrow", rate="1/1m")
        self.assertTrue(self.send("mx:one.example", None, wide, narrow))
        for _ in range(5):
            self.assertFalse(self.send("mx:one.example", None, wide, narrow))
        self.clock.advance(1800)
        self.assertTrue(self.send("mx:one.example", None, wide, narrow))

    def test_words(self) -> None:
        """Nobody could find out which limit keeps a message waiting."""
        some = table("trial customers", providers=("blu",), rate="1/1m")
        limits = limits_for(RelaySettings(shaping=(some,)), "mx:one.example").rates
        self.rates.take(limits, "mx:one.example", "blu")
        throttled = self.rates.refusal(limits, "mx:one.example", "blu")
        self.assertEqual(
            str(throttled.reply),
            "451 4.4.5 the limit 1/1m messages (trial customers) for blu has no room now",
        )
        self.assertEqual((throttled.where, throttled.seconds), ("", 60.0))

    def test_bounded(self) -> None:
        """Memory would grow with each domain that mail was ever sent to."""
        each = table(destinations=("*",), rate="1/1m")
        self.send("mx:busy.example", None, table("b", destinations=("*",), rate="1/1h"))
        for number in range(500):
            self.send(f"mx:{number}.example", None, each)
            self.clock.advance(1)
        self.assertLess(len(self.rates._buckets), 130)

    def test_room(self) -> None:
        """An operator would not see what is left of a rate."""
        each = table(destinations=("*",), rate="40/1m")
        of_blu = table("b", providers=("*",), rate="40/1m")
        limits = limits_for(RelaySettings(shaping=(each, of_blu)), "mx:one.example").rates
        self.assertEqual(list(self.rates.room(limits, "mx:one.example")), [])
        self.rates.take(limits, "mx:one.example", "blu")
        self.assertEqual(list(self.rates.room(limits, "mx:one.example")), [(limits[0], 1)])


class FileTests(SynchronousTestCase):
    """``[[relay.shaping]]`` in a configuration file."""

    def load(self, text: str) -> tuple[ShapingTable, ...]:
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write('hostname = "mx.rosse.example"\n' + text)
        return load(path).relay.shaping

    def test_read(self) -> None:
        """What the manual shows could not be used."""
        tables = self.load(
            '[[authorisation.provider]]\nname = "blu"\nnetworks = ["192.0.2.0/24"]\n'
            '[[relay.shaping]]\nname = "a"\ndestinations = "*.example"\nconnections = 3\n'
            '[[relay.shaping]]\nname = "b"\nproviders = ["blu"]\nrate = "100/1m"\n'
        )
        self.assertEqual(tables[0], table(destinations=("*.example",), connections=3))
        self.assertEqual(tables[1], table("b", providers=("blu",), rate="100/1m"))

    def test_mistakes(self) -> None:
        """A limit that is written wrongly would silently be none."""
        for text, wanted in (
            ('name = "a"', "sets no limit; allowed: connections, rate"),
            ('name = ""\nconnections = 1', 'name: found ""; allowed: a name'),
            ("connections = 1", "is missing"),
            ('name = "a"\nconnections = 0', "found 0; allowed: at least 1"),
            ('name = "a"\nrate = "often"', 'rate: found "often"; allowed: a number and a duration'),
            ('name = "a"\nconnection_rate = "0/1m"', 'such as "100/1m"'),
            ('name = "a"\nrat = "1/1m"', '"rate"'),
            ('name = "a"\nconnections = 1\ndestinations = []', "nothing would match"),
            ('name = "a"\nconnections = 1\ndestinations = ["a b"]', "which is no destination"),
            ('name = "a"\nconnections = 1\ndestinations = ["mx:a b"]', "which is no destination"),
            ('name = "a"\nrate = "1/1m"\nproviders = []', "nothing would match"),
            ('name = "a"\nrate = "1/1m"\nproviders = ["blue"]', 'did you mean "blu"'),
            ('name = "a"\nconnections = 1\nproviders = ["blu"]', "sets a rate only"),
            ('name = "a"\nconnections = 1\ntogether = true', "is about rates"),
            (
                'name = "a"\nconnections = 1\n[[relay.shaping]]\nname = "a"\nconnections = 2',
                'two tables of the name "a"',
            ),
        ):
            provider = '[[authorisation.provider]]\nname = "blu"\nnetworks = ["192.0.2.0/24"]\n'
            error = self.assertRaises(
                SettingsError, self.load, f"{provider}[[relay.shaping]]\n{text}\n"
            )
            self.assertIn(wanted, str(error), text)

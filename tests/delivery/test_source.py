"""The addresses of ours that mail goes out from."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.source import Source, Sources, family_of

DOMAINS = [f"d{number}.example" for number in range(200)]


class SourceTests(SynchronousTestCase):
    """One ``[[relay.source]]``."""

    def test_mistakes(self) -> None:
        """A misspelt address would show only when no mail goes out."""
        for key, value in (
            ("address", "mx.example"),
            ("address", ""),
            ("address", "0.0.0.0"),
            ("address", "::"),
            ("address", "ff02::1"),
            ("hostname", "a b"),
            ("name", ""),
            ("name", "a\nb"),
        ):
            with self.assertRaises(ValueError) as caught:
                Source(**{"address": "192.0.2.7", key: value})
            self.assertIn(f"'{key}'", str(caught.exception))

    def test_family(self) -> None:
        """IPv4 addresses would be used for IPv6."""
        self.assertEqual(Source(address="2001:db8::7").family, "ipv6")
        self.assertEqual(family_of("192.0.2.7"), "ipv4")


class SourcesTests(SynchronousTestCase):
    """Which one is taken."""

    def test_none(self) -> None:
        """Without sources the operating system could not choose as ever."""
        sources = Sources([Source(name="bulk", address="192.0.2.7")])
        self.assertIsNone(sources.of(None, "blu.example"))
        self.assertIsNone(Sources(()).of(None, "blu.example"))
        with self.assertRaises(KeyError):
            sources.of("other", "blu.example")

    def test_by_name_and_family(self) -> None:
        """Mail of a route would go out from the address of another."""
        bulk4 = Source(name="bulk", address="192.0.2.7")
        bulk6 = Source(name="bulk", address="2001:db8::7")
        common = Source(address="192.0.2.1")
        sources = Sources([common, bulk4, bulk6])
        self.assertEqual(sources.of("bulk", "x.example"), {"ipv4": bulk4, "ipv6": bulk6})
        self.assertEqual(sources.of(None, "x.example"), {"ipv4": common})

    def test_spread(self) -> None:
        """One domain would see its mail come from everywhere, or one address do all the work."""
        pool = [Source(address=f"192.0.2.{number}") for number in range(1, 5)]
        chosen = [Sources(pool).of(None, domain) for domain in DOMAINS]
        self.assertEqual(chosen, [Sources(pool[::-1]).of(None, domain) for domain in DOMAINS])
        for source in pool:
            self.assertGreater(chosen.count({"ipv4": source}), 20)

    def test_one_more(self) -> None:
        """Every domain would see its mail come from elsewhere when an address is added."""
        pool = [Source(address=f"192.0.2.{number}") for number in range(1, 6)]
        before, after = Sources(pool[:4]), Sources(pool)
        moved = [d for d in DOMAINS if before.of(None, d) != after.of(None, d)]
        self.assertLess(len(moved), 80)
        for domain in moved:
            self.assertEqual(after.of(None, domain), {"ipv4": pool[4]})

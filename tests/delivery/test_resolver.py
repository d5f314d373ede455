"""The DNS resolver as users configure it."""

from __future__ import annotations

from twisted.internet import task
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.resolver import make_resolver, parse_server


class ResolverTests(SynchronousTestCase):
    """``[dns] servers``."""

    def test_servers(self) -> None:
        """Questions would go to other name servers than the configured ones."""
        resolver = make_resolver(["127.0.0.1:5353", "192.0.2.1"], task.Clock())
        self.assertEqual(resolver.servers, [("127.0.0.1", 5353), ("192.0.2.1", 53)])
        self.assertEqual(list(resolver.dynServers), [])

    def test_system(self) -> None:
        """Without configuration the server would know no name server at all."""
        clock = task.Clock()
        resolver = make_resolver([], clock)
        self.assertTrue(resolver.dynServers)
        self.assertEqual(len(clock.getDelayedCalls()), 1)  # which looks at the file again

    def test_forms(self) -> None:
        """A name server could not be written as an IPv6 address."""
        for text, expected in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5300", ("192.0.2.1", 5300)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5300", ("2001:db8::1", 5300)),
        ):
            self.assertEqual(parse_server(text), expected)

    def test_mistakes(self) -> None:
        """A misspelt name server would show only when mail does not go out."""
        for text in ("", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "1.2.3:x"):
            with self.assertRaises(ValueError) as caught:
                parse_server(text)
            self.assertIn(repr(text), str(caught.exception))

"""Who may look at the console."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.console.access import refusal

HOST = "mx.rosse.example"


class Access(SynchronousTestCase):
    """Loopback clients that name this machine, and nobody else."""

    def test_loopback_clients_may(self) -> None:
        """The operator could not open the console on the machine itself."""
        for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None):
            for host in ("localhost:8025", "localhost", "127.0.0.1:8025", "[::1]:8025"):
                self.assertIsNone(refusal(peer, host, HOST), (peer, host))

    def test_own_names(self) -> None:
        """The console could not be reached under the server's own name."""
        for host in (HOST, "MX.rosse.example:8025", "mx.rosse.example.", "a.localhost"):
            self.assertIsNone(refusal("127.0.0.1", host, HOST), host)

    def test_others_may_not(self) -> None:
        """Everybody on the network could read who writes to whom."""
        for peer in ("192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "", "fe80::1%e"):
            self.assertIn("no login", refusal(peer, "localhost", HOST) or "", peer)

    def test_rebound_names_may_not(self) -> None:
        """A web page could rebind its name to 127.0.0.1 and read the queue."""
        for host in (
            None,
            "",
            "evil.example",
            "evil.example:8025",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "mx.rosse.example.evil.example",
            "evil.example/localhost",
            "localhost@evil.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "localhost:8025:8025",
            "localhost\nx",
        ):
            self.assertIn("Host header", refusal("127.0.0.1", host, HOST) or "", host)

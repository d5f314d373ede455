"""Envelopes and clients: `mailframe.envelope`."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.envelope import Client, Envelope
from mailframe.testing.samples import make_envelope


class ClientTests(SynchronousTestCase):
    def test_loopback(self) -> None:
        """A password is taken in clear from another machine, or not from a program on this one."""
        for address, expected in (
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("::1", True),
            ("192.0.2.1", False),
            ("2001:db8::1", False),
            ("", False),
            ("localhost", False),
            ("127.0.0.1.example", False),
        ):
            client = Client(server="mx", protocol="smtp", address=address)
            self.assertEqual(client.is_loopback, expected, address)


class EnvelopeTests(SynchronousTestCase):
    def test_needs_a_recipient(self) -> None:
        """A message for nobody lies in the queue for ever."""
        self.assertRaises(
            ValueError, Envelope, sender=None, recipients=(), client=None, arrived=0.0
        )

    def test_due(self) -> None:
        """A message that its sender put off goes out at once, or one from the past never."""
        envelope = make_envelope(arrived=1000.0)
        for not_before, due in ((None, 1000.0), (2000.0, 2000.0), (500.0, 1000.0)):
            self.assertEqual(attrs.evolve(envelope, not_before=not_before).due, due)

"""Whether what a server showed in its handshake is good enough."""

from __future__ import annotations

from typing import Any

from service_identity import VerificationError
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.handshake import Handshake
from mailframe.delivery.tls_fault import TlsFault
from mailframe.delivery.tls_policy import TlsPolicies
from tests.delivery.test_tls_policy import asked


def bad(_connection: Any) -> None:
    raise VerificationError([])


class HandshakeTests(SynchronousTestCase):
    """`Handshake`; `tests.delivery.test_sessions` shakes hands."""

    connection: Any = None

    def test_nothing_asked(self) -> None:
        """Servers without a good certificate would get no mail at all."""
        handshake = Handshake()
        self.assertTrue(handshake.is_good(self.connection))
        self.assertIsNone(handshake.fault)

    def test_checked(self) -> None:
        """A certificate for another name would do; or what is wrong would not be known."""
        for lenient in (False, True):
            handshake = Handshake(None, bad, lenient=lenient)
            self.assertEqual(handshake.is_good(self.connection), lenient)
            assert handshake.fault
            self.assertEqual(handshake.fault.kind, "certificate-host-mismatch")
        self.assertTrue(Handshake(None, lambda _: None).is_good(self.connection))

    def test_chain_first(self) -> None:
        """An expired certificate would be told of as some error of OpenSSL's."""
        handshake = Handshake.under(asked("require"), "mx.example", TlsPolicies())
        assert handshake.creator
        expired = handshake.creator.fault = TlsFault("certificate-expired", "it has expired")
        self.assertIs(handshake.broke(ValueError()), expired)
        self.assertTrue(handshake.is_good(self.connection))
        self.assertIs(handshake.fault, expired)

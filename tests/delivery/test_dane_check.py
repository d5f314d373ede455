"""What servers show in handshakes, and whether it fits their TLSA records."""

from __future__ import annotations

import contextlib
from unittest import mock

from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.dane_check import _is_for_servers, check_dane
from mailframe.delivery.tls_fault import BadHandshake
from mailframe.delivery.tlsa import Tlsa
from tests.delivery.chains import CLIENTS_ONLY, Party, party


def shaken(server: SSL.Context) -> SSL.Connection:
    """A client's connection after the handshake, in which it looked at nothing."""
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    other = SSL.Connection(server, None)
    client.set_connect_state()
    other.set_accept_state()
    for _ in range(5):
        for one, two in ((client, other), (other, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                two.bio_write(one.bio_read(65_536))
    return client


class CheckCase(SynchronousTestCase):
    """Asks about one handshake."""

    def fault(
        self, server: Party, *tlsa: Tlsa, shown: tuple[Party, ...] | None = None
    ) -> str | bool:
        """The kind of what is wrong; else whether the name matters."""
        try:
            return check_dane(shaken(server.context(shown=shown)), tlsa)
        except BadHandshake as error:
            return error.fault.kind


class OwnCertificateTests(CheckCase):
    """DANE-EE(3)."""

    def test_fits(self) -> None:
        """A server that does as it says would get no mail."""
        server = party()
        for selector in (0, 1):
            for matching in (0, 1, 2):
                self.assertIs(self.fault(server, server.tlsa(3, selector, matching)), False)

    def test_another(self) -> None:
        """Somebody in between could read all mail to a domain that uses DANE."""
        server, other = party(), party()
        self.assertEqual(self.fault(server, other.tlsa()), "validation-failure")

    def test_rollover(self) -> None:
        """A domain that changes its certificate would get no mail for a while (RFC 7671 §8.1)."""
        old, new = party(), party()
        for server in (old, new):
            self.assertIs(self.fault(server, old.tlsa(), new.tlsa()), False)

    def test_expired(self) -> None:
        """A certificate that DNS vouches for would be refused for its date (RFC 7671 §5.1)."""
        server = party(days=(-9, -2))
        self.assertIs(self.fault(server, server.tlsa()), False)

    def test_not_its_authority(self) -> None:
        """Whoever can show an authority's certificate along with his own would be trusted."""
        authority = party(authority=True)
        server = party("mx.blu.example")
        self.assertEqual(
            self.fault(server, authority.tlsa(3), shown=(authority,)), "validation-failure"
        )


class AuthorityTests(CheckCase):
    """DANE-TA(2)."""

    def setUp(self) -> None:
        self.root = party(authority=True, common_name="root")
        self.middle = party(authority=True, by=self.root, common_name="middle")
        self.server = party("mx.blu.example", by=self.middle)

    def test_fits(self) -> None:
        """A domain with an authority of its own would get no mail."""
        for authority in (self.root, self.middle):
            for selector in (0, 1):
                for matching in (0, 1, 2):
                    record = authority.tlsa(2, selector, matching)
                    self.assertIs(self.fault(self.server, record), True)

    def test_not_shown(self) -> None:
        """An authority that nobody knows would be trusted, or one that is published would not."""
        shown = (self.middle,)
        self.assertIs(self.fault(self.server, self.root.tlsa(2, 0, 0), shown=shown), True)
        self.assertEqual(
            self.fault(self.server, self.root.tlsa(2, 0, 1), shown=shown), "validation-failure"
        )

    def test_another(self) -> None:
        """Anybody's authority would do."""
        other = party(authority=True, common_name="root")
        self.assertEqual(self.fault(self.server, other.tlsa(2, 0, 1)), "validation-failure")

    def test_shown_but_not_its_own(self) -> None:
        """Whoever shows the right authority beside a certificate of his own would be trusted."""
        liar = party("mx.blu.example")
        for record in (self.root.tlsa(2, 0, 1), self.root.tlsa(2, 1, 1), self.root.tlsa(2, 0, 0)):
            self.assertEqual(
                self.fault(liar, record, shown=(self.root,)), "certificate-not-trusted"
            )

    def test_same_names_other_key(self) -> None:
        """Who calls his authority as the right one is called would be trusted."""
        imposter = party(authority=True, common_name="root")
        liar = party("mx.blu.example", by=imposter)
        self.assertEqual(
            self.fault(liar, self.root.tlsa(2, 0, 1), shown=(self.root,)),
            "certificate-not-trusted",
        )
        self.assertEqual(
            self.fault(liar, self.root.tlsa(2, 0, 1), shown=(imposter, self.root)),
            "certificate-not-trusted",
        )

    def test_signed_by_a_customer(self) -> None:
        """Every customer of the authority could pass for every other one."""
        customer = party("customer.example", by=self.root, common_name="customer")
        liar = party("mx.blu.example", by=customer)
        self.assertEqual(self.fault(liar, self.root.tlsa(2, 0, 1)), "certificate-not-trusted")

    def test_itself(self) -> None:
        """A certificate would vouch for itself as its own authority."""
        alone = party("mx.blu.example")
        self.assertEqual(
            self.fault(alone, alone.tlsa(2, 1, 1), shown=(alone,)), "validation-failure"
        )
        self.assertEqual(self.fault(alone, alone.tlsa(2, 0, 0)), "validation-failure")

    def test_times(self) -> None:
        """What the authority no longer vouches for would be good for ever."""
        late = party("mx.blu.example", by=self.root, days=(-9, -2))
        early = party("mx.blu.example", by=self.root, days=(2, 9))
        ended = party(authority=True, common_name="ended", days=(-9, -2))
        under = party("mx.blu.example", by=ended)
        for server, authority in ((late, self.root), (early, self.root), (under, ended)):
            self.assertEqual(self.fault(server, authority.tlsa(2, 0, 1)), "certificate-expired")

    def test_use(self) -> None:
        """A certificate that is for clients alone would do for a server."""
        client = party("mx.blu.example", by=self.root, usage=CLIENTS_ONLY)
        self.assertEqual(self.fault(client, self.root.tlsa(2, 0, 1)), "certificate-not-trusted")

    def test_one_of_several(self) -> None:
        """A domain that changes its authority would get no mail for a while."""
        other = party(authority=True, common_name="other")
        for records in (
            (other.tlsa(2, 0, 1), self.root.tlsa(2, 0, 1)),
            (other.tlsa(2, 0, 0), self.root.tlsa(2, 0, 1)),
            (party().tlsa(3), self.root.tlsa(2, 1, 1)),
        ):
            self.assertIs(self.fault(self.server, *records), True)
        self.assertIs(self.fault(self.server, self.root.tlsa(2, 0, 1), self.server.tlsa(3)), False)

    def test_long_chain(self) -> None:
        """A server that shows very many certificates would keep us busy."""
        others = tuple(party(common_name=f"x{number}") for number in range(30))
        self.assertEqual(
            self.fault(self.server, self.root.tlsa(2, 0, 1), shown=(*others, self.root)),
            "validation-failure",
        )


class OddExtensionsTests(SynchronousTestCase):
    """Extensions that can't be read."""

    def test_for_servers(self) -> None:
        """One odd certificate would break the delivery to all exchangers of a domain."""
        oid = x509.ObjectIdentifier("2.5.29.37")
        for error in (
            ValueError("not DER"),
            x509.DuplicateExtension("twice", oid),
            x509.UnsupportedGeneralNameType("x400Address"),
        ):
            with self.subTest(error=error):
                odd = mock.Mock()
                type(odd).extensions = mock.PropertyMock(side_effect=error)
                self.assertFalse(_is_for_servers(odd))

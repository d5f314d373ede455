"""The Received field: `mailframe.server.trace`."""

from __future__ import annotations

import email.utils
import re

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.envelope import Client, Recipient
from mailframe.outcome import Permit
from mailframe.server.trace import USUAL, Shown, protocol, received

CLIENT = Client(
    server="mx", protocol="smtp", address="192.0.2.1", port=1, helo="client.example", esmtp=True
)
LOCAL = Permit(reason="mail for a local domain", rule="local")
JSMITH = Recipient(address=Address("jsmith", "here.example"), evidence=LOCAL)


class ReceivedTests(SynchronousTestCase):
    """Every message tells where it came from, in a form that every reader knows."""

    def test_field(self) -> None:
        """Who, to whom, how, when (RFC 5321 §4.4)."""
        self.assertEqual(
            received(CLIENT, "mx.here.example", "q1", [JSMITH], 1795435200.9),
            b"Received: from client.example ([192.0.2.1])\r\n"
            b"\tby mx.here.example with ESMTP id q1\r\n"
            b"\t(let in by rule local: mail for a local domain)\r\n"
            b"\tfor <jsmith@here.example>;\r\n"
            b"\tMon, 23 Nov 2026 12:00:00 +0000\r\n",
        )

    def test_tls(self) -> None:
        """How it was protected on its way here."""
        client = attrs.evolve(CLIENT, tls="TLSv1.3 TLS_AES", login="a@b.c", address="2001:db8::1")
        field = received(client, "mx.here.example", "q1", [JSMITH, JSMITH], 0)
        self.assertIn(b"client.example ([IPv6:2001:db8::1])", field)
        self.assertIn(b"with ESMTPSA\r\n\t(TLSv1.3 TLS_AES) id q1", field)
        self.assertNotIn(b"for <", field)
        self.assertIn(b"Thu, 1 Jan 1970 00:00:00 +0000", field)

    def let_in(self, verdict: Permit, shown: Shown = USUAL) -> str:
        """What the field says of a verdict on a client that has logged in."""
        client = attrs.evolve(CLIENT, login="a@b.example")
        recipient = attrs.evolve(JSMITH, evidence=verdict)
        text = received(client, "h", "q1", [recipient, recipient], 0, shown=shown).decode()
        self.assertTrue(all(len(line) < 79 for line in text.split("\r\n")), text)
        return " ".join(text.partition(" id q1")[2].rpartition(";")[0].split())

    def test_why_it_was_let_in(self) -> None:
        """Nobody could tell from the message which rule carried it."""
        verdict = Permit(
            reason="customer of provider poste (rosse): a@b.example has logged in",
            rule="poste: login",
            plugin="providers",
            provider="poste (rosse)",
        )
        opening = "(let in by providers, rule poste: login: customer of provider poste ?rosse?: "
        self.assertEqual(self.let_in(verdict), f"{opening}the client has logged in)")
        named = self.let_in(verdict, Shown(login=True))
        self.assertEqual(named, f"{opening}a@b.example has logged in)")
        discreet = self.let_in(verdict, Shown(reason=False))
        self.assertEqual(discreet, "(carried for a customer of poste ?rosse?)")
        self.assertEqual(self.let_in(attrs.evolve(verdict, provider=None), Shown(reason=False)), "")
        plain = Permit(reason="mail for a local domain", rule="local")
        self.assertEqual(self.let_in(plain), "(let in by rule local: mail for a local domain)")
        plain = Permit(reason="it is Monday", plugin="weekdays")
        self.assertEqual(self.let_in(plain), "(let in by weekdays: it is Monday)")

    def test_different_reasons(self) -> None:
        """Recipients let in for different reasons give none away."""
        other = attrs.evolve(JSMITH, evidence=Permit(reason="x", provider="p"))
        self.assertNotIn(b"let in", received(CLIENT, "h", "q1", [JSMITH, other], 0))

    def test_protocols(self) -> None:
        """The keywords of RFC 3848."""
        bare = attrs.evolve(CLIENT, esmtp=False)
        for client, keyword in (
            (bare, "SMTP"),
            (CLIENT, "ESMTP"),
            (attrs.evolve(CLIENT, tls="x"), "ESMTPS"),
            (attrs.evolve(bare, protocol="lmtp"), "LMTP"),
            (attrs.evolve(CLIENT, protocol="lmtp", tls="x", login="a@b.c"), "LMTPSA"),
            (attrs.evolve(CLIENT, login="a@b.c"), "ESMTPA"),
            (attrs.evolve(bare, tls="x", login="a@b.c"), "ESMTPSA"),
        ):
            self.assertEqual(protocol(client), keyword)
        for client, keyword in (
            (CLIENT, "UTF8SMTP"),
            (attrs.evolve(CLIENT, tls="x", login="a@b.c"), "UTF8SMTPSA"),
            (attrs.evolve(CLIENT, protocol="lmtp"), "UTF8LMTP"),
        ):
            self.assertEqual(protocol(client, smtputf8=True), keyword)

    @settings(deadline=None, max_examples=100)
    @given(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255),
        st.integers(0, 2**32),
    )
    def test_nothing_breaks_it(self, helo: str, now: int) -> None:
        """Whatever name a client gives, the field stays one field with the true address in it."""
        client = attrs.evolve(CLIENT, helo=helo)
        field = received(client, "mx.here.example", "q1", [JSMITH], now).decode("ascii")
        self.assertRegex(
            field,
            r"\AReceived: from [\w.:\[\]-]+ \(\[192\.0\.2\.1\]\)\r\n"
            r"\tby mx\.here\.example with ESMTP id q1\r\n"
            r"\t\(let in by rule local: mail for a local domain\)\r\n"
            r"\tfor <jsmith@here\.example>;\r\n\t[^\r\n]+\r\n\Z",
        )
        date = re.findall(r"\t(.*)\r\n", field)[-1]
        self.assertEqual(email.utils.parsedate_to_datetime(date).timestamp(), now)

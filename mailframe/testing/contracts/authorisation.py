"""What the server relies upon in a relay authorisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.guard import as_deferred
from mailframe.interfaces import IRelayAuthorisation
from mailframe.outcome import Deny, Permit, Verdict
from mailframe.testing.contracts.contract import Contract
from mailframe.testing.contracts.decisions import check_decision
from mailframe.testing.samples import make_client

# How spammers have written addresses to be let through (nmap's smtp-open-relay, DSBL).
RELAY_PROBES = (
    "victim@elsewhere.example",
    "victim%elsewhere.example@here.example",
    '"victim@elsewhere.example"@here.example',
    '"victim%elsewhere.example"@here.example',
    "elsewhere.example!victim@here.example",
    "victim@[192.0.2.1]",
    "victim@[127.0.0.1]",
)


class RelayAuthorisationContract(Contract):
    """Mix into a test case that says how the authorisation is made.

    Where one is meant to serve everybody, override ``stranger`` with a client that it refuses.
    """

    stranger: Client = make_client("203.0.113.99", login=None)

    def make_authorisation(self) -> IRelayAuthorisation:
        """The authorisation to test."""
        raise AssertionError("override make_authorisation()")

    def clients(self) -> Sequence[Client]:
        """Who asks. Add those that reach every rule of the authorisation under test."""
        return [
            self.stranger,
            make_client("192.0.2.9"),
            make_client("2001:db8::9"),
            make_client("192.0.2.9", login="angelo@rosse.example"),
            make_client("203.0.113.99", server="submission", protocol="submission"),
            make_client("127.0.0.1", server="local", protocol="local"),
            make_client("203.0.113.99", server="pop", protocol="pop3", login="x@y.example"),
        ]

    def verdicts(self) -> Iterator[Verdict]:
        """The answers to all sorts of questions."""
        authorisation = self.make_authorisation()
        for client in self.clients():
            for sender in (Address.parse("angelo@rosse.example"), None):
                for probe in RELAY_PROBES:
                    recipient = Address.parse(probe)
                    yield self.get(
                        authorisation.authorise(client=client, sender=sender, recipient=recipient)
                    )
            yield self.get(authorisation.admit(client=client))

    def test_provides_interface(self) -> None:
        """The server can't call the authorisation."""
        verifyObject(IRelayAuthorisation, self.make_authorisation())

    def test_every_answer_is_a_verdict(self) -> None:
        """A client that the authorisation does not expect costs its mail a 451, for ever."""
        for verdict in self.verdicts():
            self.assertIsInstance(verdict, (Permit, Deny))
            check_decision(self, verdict)

    def test_denial_is_a_refusal(self) -> None:
        """A refused client is told that all is well."""
        for verdict in self.verdicts():
            if isinstance(verdict, Deny):
                self.assertFalse(verdict.reply.is_positive)
                self.assertTrue("".join(verdict.reply.text).strip())

    def test_stranger_is_denied(self) -> None:
        """The server is an open relay."""
        authorisation = self.make_authorisation()
        for probe in RELAY_PROBES:
            for sender in (None, Address.parse("angelo@rosse.example"), Address.parse(probe)):
                verdict = self.get(
                    authorisation.authorise(
                        client=self.stranger, sender=sender, recipient=Address.parse(probe)
                    )
                )
                self.assertIsInstance(verdict, Deny, probe)

    def test_senseless_address_is_denied(self) -> None:
        """A fault in the server that loses the client's address opens the relay."""
        authorisation = self.make_authorisation()
        for address in ("", "unknown", "999.1.1.1"):
            asked = as_deferred(
                authorisation.authorise(
                    client=make_client(address),
                    sender=None,
                    recipient=Address.parse("victim@elsewhere.example"),
                )
            )
            answers: list[object] = []
            asked.addBoth(answers.append)
            self.reactor.advance(0)
            self.assertNotIsInstance(answers[0], Permit)

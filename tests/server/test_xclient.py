"""Who is spoken for: `mailframe.server.xclient`."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.authorisation.networks import Networks
from mailframe.envelope import Client
from mailframe.server.xclient import NOBODY, client_of, greeted, in_force

FILTER = Client(
    server="mx", protocol="smtp", address="127.0.0.1", port=9, helo="filter", esmtp=True, login="f"
)


class ClientTests(SynchronousTestCase):
    def test_said(self) -> None:
        """The filter's address, greeting or login count for the client's."""
        attributes = {
            "ADDR": "192.0.2.7",
            "PORT": "25",
            "PROTO": "ESMTP",
            "HELO": "x",
            "LOGIN": "angelo@rosse.example",
        }
        self.assertEqual(
            client_of(attributes, FILTER),
            Client(
                server="mx",
                protocol="smtp",
                address="192.0.2.7",
                port=25,
                helo="x",
                esmtp=True,
                login="angelo@rosse.example",
            ),
        )

    def test_not_said(self) -> None:
        """What nobody said is made up; a login of before stays in force."""
        anew = attrs.evolve(FILTER, helo=None, esmtp=False, login=None)
        self.assertEqual(client_of({}, FILTER), anew)
        unknown = {"ADDR": None, "PORT": None, "LOGIN": None, "HELO": None}
        self.assertEqual(client_of(unknown, FILTER), attrs.evolve(anew, address=NOBODY, port=0))

    def test_greeting(self) -> None:
        """The trace names the filter instead of the client, or one client for another."""
        said: dict[str, str | None] = {"HELO": "true", "PROTO": "SMTP", "LOGIN": "a@b.example"}
        for attributes, helo, esmtp in (
            ({}, "filter", True),
            (said, "true", False),
            ({"HELO": None, "PROTO": "ESMTP"}, "filter", True),
        ):
            client = greeted(FILTER, "filter", True, attributes)
            self.assertEqual((client.helo, client.esmtp), (helo, esmtp))

    def test_in_several_commands(self) -> None:
        """What is too long for one line gets lost; or one client's login is the next one's."""
        said = in_force({}, {"ADDR": "192.0.2.7", "LOGIN": "a@b.example"})
        said = in_force(said, {"HELO": "x"})
        client = client_of(said, FILTER)
        self.assertEqual(
            (client.address, client.helo, client.login), ("192.0.2.7", "x", "a@b.example")
        )
        client = client_of(in_force(said, {"ADDR": "192.0.2.8"}), client)
        self.assertEqual((client.address, client.helo, client.login), ("192.0.2.8", None, None))

    def test_unknown_address(self) -> None:
        """A client of whom nothing is known may do what the filter may, such as relay."""
        client = client_of({"ADDR": None}, FILTER)
        self.assertFalse(client.is_loopback)
        self.assertIsNone(Networks(["127.0.0.0/8", "10.0.0.0/8"]).find(client.address))

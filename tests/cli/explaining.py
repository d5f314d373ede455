"""What the tests of ``mailframe explain`` share: a configuration, and DNS in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.names import dns
from twisted.names.error import DNSNameError

from mailframe import assembly
from tests.cli.commands import CommandCase

ANGELO = "angelo@rosse.example"
JSMITH = "jsmith@mindspring.com"


class Resolver:
    """DNS as these tests need it: two exchangers for one domain, and nothing else."""

    def lookupMailExchange(self, name: str, timeout: object = None) -> Any:
        if name != "mindspring.com":
            return fail(DNSNameError())
        records = [
            dns.RRHeader(name, dns.MX, dns.IN, 60, dns.Record_MX(preference, host))
            for preference, host in ((20, "mx2.mindspring.com"), (10, "mx1.mindspring.com"))
        ]
        return succeed((records, [], []))

    def lookupAddress(self, name: str, timeout: object = None) -> Any:
        addresses = {"mx1.mindspring.com": "198.51.100.1", "mx2.mindspring.com": "198.51.100.2"}
        if name not in addresses:
            return fail(DNSNameError())
        record = dns.RRHeader(name, dns.A, dns.IN, 60, dns.Record_A(addresses[name]))
        return succeed(([record], [], []))

    def lookupText(self, name: str, timeout: object = None) -> Any:
        return fail(DNSNameError())

    def lookupIPV6Address(self, name: str, timeout: object = None) -> Any:
        return succeed(([], [], []))


class ExplainCase(CommandCase):
    """A configuration with one account, and DNS in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(assembly, "make_resolver", lambda *_: Resolver())
        # documentation addresses, which an exchanger must not have in earnest
        self.configure("[queue]", "[relay]\nallow_private = true\n\n[queue]")
        self.add_account()

    def explain(self, *arguments: str, server: str = "mx", status: int = 0) -> Any:
        return self.document(
            "explain", "--server", server, "--from-ip", "192.0.2.1", *arguments, status=status
        )

"""Our reverse-paths for forwarded mail (SRS) beside those of postsrsd, a forwarder like us."""

from __future__ import annotations

import socket
import time

from mailframe.address import Address
from mailframe.routing.srs import DAY, Srs
from tests.interop.programs import InteropCase, free_ports

OURS = "rosse.example"
THEIRS = "blu.example"
SENDERS = ("jsmith@mindspring.com", "J.Smith+lunch@mindspring.com", "a=b=c@x.example")


class PostsrsdTests(InteropCase):
    """Mail that both forward, one after the other, and the bounce that goes back."""

    def setUp(self) -> None:
        super().setUp()
        secret = self.folder / "secret"
        secret.write_text("a secret of theirs, of some length\n")
        self.ports = free_ports(2)
        process = self.start(
            self.program("postsrsd", "postsrsd"),
            *("-4", f"-s{secret}", f"-d{THEIRS}", "-l127.0.0.1"),
            *(f"-f{self.ports[0]}", f"-r{self.ports[1]}"),
        )
        for port in self.ports:
            self.wait_for_port(port, process)
        self.srs = Srs(OURS, [b"a secret of ours, of some length"], 21.0 * DAY)

    def ask(self, port: int, address: str) -> str:
        """What their table has for an address, by the protocol of Postfix's tcp_table(5)."""
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(f"get {address}\n".encode())
            answer = connection.makefile("rb").readline().decode().rstrip("\n")
        code, _, value = answer.partition(" ")
        self.assertEqual(code, "200", answer)
        return value

    def theirs(self, sender: str) -> Address:
        """The reverse-path with which they forward."""
        return Address.parse(self.ask(self.ports[0], sender))

    def test_ours_after_theirs(self) -> None:
        """What another forwarder rewrote comes back to it changed, and it refuses the bounce."""
        for sender in SENDERS:
            first = self.theirs(sender)
            self.assertEqual(first.domain, THEIRS)
            second = self.srs.forward(first, time.time())
            self.assertTrue(second.local_part.startswith("SRS1="), second)
            back = self.srs.reverse(second, time.time())
            self.assertEqual(back, first)
            self.assertEqual(self.ask(self.ports[1], str(back)).lower(), sender.lower())

    def test_theirs_after_ours(self) -> None:
        """What we rewrote comes back from another forwarder, and we refuse the bounce."""
        for sender in SENDERS:
            first = self.srs.forward(Address.parse(sender), time.time())
            second = self.theirs(str(first))
            self.assertTrue(second.local_part.startswith("SRS1="), second)
            back = Address.parse(self.ask(self.ports[1], str(second)))
            self.assertTrue(self.srs.is_meant(back))
            self.assertEqual(str(self.srs.reverse(back, time.time())).lower(), sender.lower())

    def test_a_longer_chain(self) -> None:
        """Addresses grow with each forwarder, until one of them can't be sent on."""
        theirs = Address.parse(self.ask(self.ports[0], SENDERS[0]))
        ours = self.srs.forward(theirs, time.time())
        third = Srs("third.example", [b"the secret of a third server"], 21.0 * DAY)
        last = third.forward(ours, time.time())
        self.assertLess(len(last.local_part), len(ours.local_part) + len(THEIRS))
        self.assertEqual(third.reverse(last, time.time()), theirs)

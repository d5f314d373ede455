"""Servers that behave as ``smtp-sink`` can't, against the whole server."""

from __future__ import annotations

import smtplib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import trustme

from tests.interop.ourselves import PASSWORD
from tests.interop.programs import free_ports
from tests.interop.relaying import TEXT
from tests.interop.scenarios.faulty_servers import FaultyServersCase
from tests.interop.scenarios.odd_cases import ODD, POSTPONED, RELAYED, Odd

ODD_SERVER = Path(__file__).with_name("odd_server.py")
TIMEOUTS = "[relay.timeouts]\n" + "".join(
    f'{stage} = "5s"\n' for stage in ("greeting", "command", "data", "final", "tls")
)


class OddServersCase(FaultyServersCase):
    """Starts the odd servers."""

    def start_odd(self, *ways: str) -> dict[str, int]:
        """Start one program with a port for each way; what it takes lies in ``self.dump``."""
        self.make_certificate()
        for name in ("chain.pem", "key.pem"):
            (self.dump / name).write_bytes((self.folder / name).read_bytes())
        ports = dict(zip(ways, free_ports(len(ways)), strict=True))
        process = self.start(
            *(sys.executable, ODD_SERVER, self.dump),
            *(f"{way}={port}" for way, port in ports.items()),
        )
        for port in ports.values():
            self.wait_for_port(port, process)
        return ports

    def odd_taken(self, way: str) -> Counter[str]:
        """How often each recipient is in the contents that a server has acknowledged."""
        return Counter(
            recipient
            for path in self.dump.glob(f"{way}-*")
            for recipient in path.read_bytes().partition(b"\n")[0].decode().split()
        )

    def submit_to(self, *recipients: str) -> str:
        """Submit a message; gives its id."""
        options = ["BODY=8BITMIME", *([] if "".join(recipients).isascii() else ["SMTPUTF8"])]
        with smtplib.SMTP("127.0.0.1", self.submission, "client.example", timeout=30) as client:
            client.login("angelo@demo.example", PASSWORD)
            client.mail("angelo@demo.example", options)
            for recipient in recipients:
                self.assertEqual(client.rcpt(recipient)[0], 250, recipient)
            code, text = client.data(TEXT)
            self.assertEqual(code, 250)
            return text.decode().split()[-1]


class OddServerTests(OddServersCase):
    """Every odd server."""

    def test_every_odd_server(self) -> None:
        """An odd server loses a message, doubles it, is told wrongly, or reads what it may not."""
        ports = self.start_odd(*sorted({odd.way for odd in ODD}))
        rules = "".join(
            self.rule(
                f"tcp:127.0.0.1:{ports[odd.way]}",
                f"*@{odd.name}.example",
                name=odd.name,
                more=odd.route,
            )
            for odd in ODD
        )
        self.write("smarthost.password", "secret\n")
        self.serve_mail(TIMEOUTS, rules=rules, queue='retry_every = "1h"')
        self.ids: dict[str, list[str]] = {}
        for turn in range(max(odd.messages for odd in ODD)):
            for odd in ODD:
                if turn < odd.messages:
                    recipients = self.recipients(odd)
                    self.ids.setdefault(odd.name, []).append(self.submit_to(*recipients))
            time.sleep(0.5)  # connections are kept meanwhile, or not
        self.wait_for("an attempt at each", self.all_were_tried, 60)
        wrong = [problem for odd in ODD for problem in self.problems(odd)]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def recipients(self, odd: Odd) -> list[str]:
        return [f"{odd.local_part}{n}@{odd.name}.example" for n in range(len(odd.outcomes))]

    def all_were_tried(self) -> bool:
        self.told = self.traces([id for ids in self.ids.values() for id in ids])
        return all(
            recipient["state"] != "pending" or recipient["attempts"]
            for told in self.told.values()
            if told["queued"]
            for recipient in told["message"]["recipients"]
        )

    def problems(self, odd: Odd) -> Iterator[str]:
        """What does not agree with what should have become of the messages."""
        for id in self.ids[odd.name]:
            events = self.told[id]["events"]
            for recipient, outcome in zip(self.recipients(odd), odd.outcomes, strict=True):
                told = [
                    (event["event"], event["reply"])
                    for event in events
                    if event["recipient"] == recipient and event["reply"]
                ]
                if outcome not in [kind for kind, _ in told]:
                    yield f"{odd.name}: {recipient} is not {outcome}, but {told}"
                if not all(reply.isprintable() for _, reply in told):
                    yield f"{odd.name}: not printable: {told}"
            replies = " ".join(str(event["reply"]) for event in events)
            if odd.reply not in replies:
                yield f"{odd.name}: it is not told that {odd.reply!r}, but {replies}"
            if self.told[id]["queued"] != (POSTPONED in odd.outcomes):
                yield f"{odd.name}: in the queue: {self.told[id]['queued']}"
        taken = self.odd_taken(odd.way)
        for recipient, outcome in zip(self.recipients(odd), odd.outcomes, strict=True):
            expected = odd.messages if outcome == RELAYED or odd.way == "lmtp" else 0
            if taken[recipient] != expected:
                yield f"{odd.name}: {recipient} was taken {taken[recipient]} times"


class InternationalTests(OddServersCase):
    """A domain in letters of its own, reached over TLS that is verified."""

    exchanger = "mx.xn--bcher-kva.example"

    def make_certificate(self) -> None:
        """One for the exchanger's name alone."""
        authority = trustme.CA()
        certificate = authority.issue_cert(self.exchanger, key_type=self.key_type)
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        with (self.folder / "chain.pem").open("wb") as chain:
            for blob in certificate.cert_chain_pems:
                chain.write(blob.bytes())
        self.environment["SSL_CERT_FILE"] = str(self.folder / "ca.pem")

    def test_starttls(self) -> None:
        """Mail to a domain that is written with an umlaut can't be sent over verified TLS."""
        port = self.start_odd("secure")["secure"]
        dns = self.start_dns(
            f"mx-host=xn--bcher-kva.example,{self.exchanger},10",
            f"host-record={self.exchanger},127.0.0.1",
        )
        self.serve_mail(
            f'[dns]\nservers = ["127.0.0.1:{dns}"]\n[relay]\nport = {port}\nallow_private = true\n',
            rules=self.rule("mx", "*@bücher.example", more='tls = "verify"\n'),
        )
        recipients = ("kim@xn--bcher-kva.example", "kim@bücher.example")
        ids = [self.submit_to(recipient) for recipient in recipients]
        self.wait_for("both to arrive", lambda: len(self.dumped("secure")) == 2)
        self.wait_for(
            "an empty queue",
            lambda: not any(told["queued"] for told in self.traces(ids).values()),
        )
        self.assertEqual((self.dump / "names").read_text().splitlines()[0], self.exchanger)
        self.assertEqual(self.odd_taken("secure"), {"kim@xn--bcher-kva.example": 2})

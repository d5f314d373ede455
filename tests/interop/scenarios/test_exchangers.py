"""Exchangers that are found in the DNS and fail in the middle, and what an operator can do then."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from click.testing import CliRunner

from mailframe.cli.root import command
from tests.interop.programs import free_ports
from tests.interop.scenarios.faulty_servers import FaultyServersCase

ATTEMPT = 0.5  # seconds that one may take, before another one is asked for
# The exchangers of one domain, best first. That at 127.0.0.2 is not there at all.
BROKEN: Sequence[tuple[str, Sequence[str]]] = (
    ("127.0.0.3", ("-Q", "CONNECT")),
    ("127.0.0.4", ("-q", "EHLO")),
    ("127.0.0.5", ("-Q", "MAIL")),
    ("127.0.0.6", ("-q", "DATA")),
    ("127.0.0.7", ()),
)


class ExchangersTests(FaultyServersCase):
    """Mail goes by the DNS."""

    def setUp(self) -> None:
        super().setUp()
        (self.port,) = free_ports(1)
        (self.dns,) = free_ports(1)

    def start_names(self) -> subprocess.Popen[bytes]:
        """The name server, which can be stopped and started again."""
        records = [
            "host-record=mx2.broken.example,127.0.0.2",
            "mx-host=broken.example,mx2.broken.example,2",
        ]
        for address, _ in BROKEN:
            number = address[-1]
            records += [
                f"host-record=mx{number}.broken.example,{address}",
                f"mx-host=broken.example,mx{number}.broken.example,{number}",
            ]
        process = self.start(
            *(self.program("dnsmasq", "dnsmasq-base"), "--keep-in-foreground"),
            *("--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--port={self.dns}"),
            *("--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--user=root"),
            *("--local=/example/", "--log-facility=-", *(f"--{record}" for record in records)),
        )
        self.wait_for_port(self.dns, process)
        return process

    def serve_by_names(self, rules: str = "") -> None:
        self.serve_mail(
            f'[dns]\nservers = ["127.0.0.1:{self.dns}"]\n'
            f"[relay]\nport = {self.port}\nallow_private = true\n"
            '[relay.timeouts]\nlookup = "2s"\n',
            rules=rules,
            queue='retry_every = "1h"',
        )

    def last_reply(self, id: str) -> str:
        """Of the only recipient of a message that waits, after an attempt."""
        (recipient,) = self.traces([id])[id]["message"]["recipients"]
        return str(recipient["last_reply"] or "")

    def operate(self, *words: str) -> None:
        """An operator's command about the queue; run here, which is quicker."""
        done = CliRunner().invoke(command, ["queue", *words, "-c", str(self.configuration)])
        self.assertEqual(done.exit_code, 0, done.output)

    def arrives_now(self, id: str, count: int) -> bool:
        """Ask for another attempt, as the name server may not have answered in time; and whether
        so many have arrived."""
        CliRunner().invoke(command, ["queue", "retry", "-c", str(self.configuration), id])
        time.sleep(ATTEMPT)
        return self.taken("good")["kim@broken.example"] == count

    def test_one_after_the_other(self) -> None:
        """Mail waits for a domain one of whose exchangers works."""
        self.start_names()
        for address, options in BROKEN:
            self.start_sinks([options], f"mx{address[-1]}", [self.port], address)
        self.serve_by_names()
        id = self.submit(["kim@broken.example"]).split()[-1]
        self.wait_for("the last one to have it", lambda: self.taken("mx7"))
        self.wait_for("an empty queue", lambda: not self.traces([id])[id]["queued"])
        self.assertEqual(self.taken("mx7"), {"kim@broken.example": 1})
        self.assertEqual([self.taken(f"mx{number}") for number in range(3, 6)], [{}] * 3)
        attempts = [e for e in self.traces([id])[id]["events"] if e["event"] == "relayed"]
        self.assertEqual(
            [event["where"] for event in attempts], [f"mx7.broken.example [127.0.0.7]:{self.port}"]
        )

    def test_name_server_is_away(self) -> None:
        """Mail is returned because a name server was rebooted; or goes though it is held."""
        self.start_sinks([()], "good", [self.port], "127.0.0.7")
        names = self.start_names()
        self.end(names)
        self.serve_by_names()
        ids = [self.submit(["kim@broken.example"]).split()[-1] for _ in range(2)]
        for id in ids:
            self.wait_for("an attempt", lambda id=id: self.last_reply(id).startswith("451 4.4.3"))
        self.operate("hold", ids[0])
        self.start_names()
        self.wait_for("the one to arrive", lambda: self.arrives_now(ids[1], 1))
        self.wait_for("it to be gone", lambda: not self.traces([ids[1]])[ids[1]]["queued"])
        self.assertEqual(self.taken("good"), {"kim@broken.example": 1})
        self.operate("release", ids[0])
        self.wait_for("the other", lambda: self.arrives_now(ids[0], 2))

    def test_a_destination_is_suspended(self) -> None:
        """An operator can't keep mail from a server in trouble, and then send it another way."""
        (port,), _ = self.start_sinks([()], "good")
        self.serve_by_names(self.rule("hold:they asked us to wait", "*@broken.example"))
        id = self.submit(["kim@broken.example"]).split()[-1]
        self.wait_for("it to be held", lambda: self.traces([id])[id]["message"]["held"])
        assert self.server is not None
        text = self.configuration.read_text()
        self.configuration.write_text(
            text.replace("hold:they asked us to wait", f"tcp:127.0.0.1:{port}")
        )
        os.kill(self.server.pid, signal.SIGHUP)
        self.operate("release", id)
        self.wait_for("it to arrive over the new route", lambda: self.taken("good"))
        self.wait_for("an empty queue", lambda: not self.traces([id])[id]["queued"])
        self.assertEqual(self.taken("good"), {"kim@broken.example": 1})

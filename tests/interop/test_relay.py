"""Mail for other domains, relayed to real servers."""

from __future__ import annotations

import json

from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import JSMITH, RelayCase
from tests.interop.servers import refuses, sunk


class NextHopTests(RelayCase):
    """Where relayed mail goes."""

    def test_smtp_sink_by_table(self) -> None:
        """A routing rule names the next hop."""
        (port,) = free_ports(1)
        _, dump = self.start_sink(port)
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"))
        self.submit([JSMITH])
        self.wait_for("the sink to have the message", lambda: sunk(dump))
        (message,) = sunk(dump)
        self.assertIn(b"X-Mail-Args: <angelo@demo.example>", message)
        self.assertIn(b"X-Rcpt-Args: <jsmith@mindspring.example>", message)
        self.assertIn(b"\n.\n..dots and all\n", message)

    def test_postfix_by_table(self) -> None:
        """A real Postfix takes the message, and its replies decide about each recipient."""
        (port,) = free_ports(1)
        there = self.start_postfix(port, "mindspring.example")
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"), queue='retry_every = "5m"')
        self.submit([JSMITH, "gone@mindspring.example", "later@mindspring.example"])
        self.wait_for("Postfix to deliver", lambda: maildir(there))
        self.assertIn(b"\n.\n..dots and all\n", maildir(there)[0])
        self.wait_for("the bounce", self.inbox)
        (bounce,) = self.inbox()
        self.assertIn(b"550 5.1.6", bounce)
        self.assertIn(b"Status: 5.1.6", bounce)
        self.assertIn(b"gone@mindspring.example", bounce)
        self.assertNotIn(b"later@mindspring.example", bounce.split(b"text/rfc822-headers")[0])
        (waiting,) = self.queued()
        states = {r["address"]: (r["state"], r["last_reply"]) for r in waiting["recipients"]}
        self.assertEqual(states[JSMITH][0], "relayed")
        self.assertEqual(states["gone@mindspring.example"][0], "failed")
        self.assertEqual(states["later@mindspring.example"][0], "pending")
        self.assertIn("4.2.1", states["later@mindspring.example"][1])

    def test_exchangers_found_in_the_dns(self) -> None:
        """The best exchanger is down, the second takes the mail; null MX and NXDOMAIN are final."""
        (port,) = free_ports(1)
        _, dump = self.start_sink(port)
        dns = self.start_dns(
            "mx-host=mindspring.example,dead.example,5",
            "mx-host=mindspring.example,alive.example,10",
            "host-record=dead.example,127.0.0.2",
            "host-record=alive.example,127.0.0.1",
            "host-record=plain.example,127.0.0.1",
            "mx-host=nomail.example,.,0",
        )
        self.serve_mail(
            f'[dns]\nservers = ["127.0.0.1:{dns}"]\n[relay]\nport = {port}\nallow_private = true\n'
        )
        self.submit([JSMITH])
        self.wait_for("the second exchanger to have it", lambda: len(sunk(dump)) == 1)
        self.submit(["kim@plain.example"])
        self.wait_for("the address record to be used", lambda: len(sunk(dump)) == 2)
        self.submit(["kim@nomail.example"])
        self.wait_for("the null MX bounce", lambda: len(self.inbox()) == 1)
        self.assertIn(b"5.1.10", self.inbox()[0])
        self.submit(["kim@nowhere.example"])
        self.wait_for("the bounce for an unknown domain", lambda: len(self.inbox()) == 2)
        self.assertTrue(any(b"Status: 5.1.2" in bounce for bounce in self.inbox()))

    def test_private_exchangers_are_refused(self) -> None:
        """A domain whose MX points to loopback must not make us talk to ourselves."""
        dns = self.start_dns(
            "mx-host=mindspring.example,inside.example,5", "host-record=inside.example,127.0.0.1"
        )
        self.serve_mail(f'[dns]\nservers = ["127.0.0.1:{dns}"]\n[relay]\nport = {self.smtp}\n')
        self.submit([JSMITH])
        self.wait_for("the bounce", self.inbox)
        self.assertIn(b"Status: 5.", self.inbox()[0])

    def test_smarthost_with_login_and_verified_tls(self) -> None:
        """Everything through a smarthost that wants a login, and nothing in clear text."""
        other = SmarthostCase()
        other.setUp()
        self.addCleanup(other.doCleanups)
        (port,) = free_ports(1)
        _, dump = self.start_sink(port)
        other.serve_mail(tls="starttls", rules=self.rule(f"tcp:127.0.0.1:{port}", "*"))
        self.write("smarthost.password", PASSWORD + "\n")
        login = 'login = "angelo@smart.example"\npassword_file = "smarthost.password"\n'
        self.serve_mail(
            rules=self.rule(f"tcp:127.0.0.1:{other.submission}", more=f'tls = "require"\n{login}')
        )
        self.submit([JSMITH])
        self.wait_for("the message behind the smarthost", lambda: sunk(dump))
        self.assertIn(b"with ESMTPSA", sunk(dump)[0])


class SmarthostCase(MailframeCase):
    """A second mailframe, used as a smarthost."""

    domain = "smart.example"

    def runTest(self) -> None:
        """Not a test of its own."""


class DownTests(RelayCase):
    """The next hop is down."""

    def test_the_message_waits_and_goes_when_the_hop_is_back(self) -> None:
        """A server that is rebooted must cost a delay and nothing else."""
        (port,) = free_ports(1)
        self.assertTrue(refuses(port))
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"))
        self.submit([JSMITH])
        self.wait_for("an attempt", lambda: self.queued()[0]["recipients"][0]["attempts"] >= 2)
        recipient = self.queued()[0]["recipients"][0]
        self.assertEqual(recipient["state"], "pending")
        self.assertTrue(recipient["last_reply"].startswith("4"), recipient)
        _, dump = self.start_sink(port)
        self.wait_for("the sink to have it", lambda: sunk(dump))
        self.wait_for("an empty queue", lambda: not self.queued())

    def test_warning_and_failure_notice(self) -> None:
        """The sender is told once of the delay, and once of the failure, in the standard form."""
        (port,) = free_ports(1)
        self.serve_mail(
            rules=self.rule(f"tcp:127.0.0.1:{port}"),
            queue='retry_every = "1s"\nwarn_after = "2s"\ngive_up_after = "4s"',
        )
        identity = self.submit([JSMITH]).split()[-1]
        self.wait_for("warning and failure notice", lambda: len(self.inbox()) == 2)
        self.wait_for("an empty queue", lambda: not self.queued())
        self.assertEqual(sum(b"Action: delayed" in notice for notice in self.inbox()), 1)
        (failure,) = (notice for notice in self.inbox() if b"Action: failed" in notice)
        self.assertIn(b"Content-Type: multipart/report", failure)
        self.assertIn(b"Subject: greetings", failure)
        self.assertIn(b"Return-Path: <>", failure)
        trace = json.loads(
            self.mailframe("trace", "-c", self.configuration, "--json", identity).stdout
        )
        text = json.dumps(trace)
        for word in ("accepted", "authorised", "routed", "postponed", "warned", "bounced"):
            self.assertIn(word, text)

    def test_a_4xx_retries(self) -> None:
        """smtp-sink that answers 4xx to everything keeps the message waiting."""
        (port,) = free_ports(1)
        self.start_sink(port, "-r", "RCPT")
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"))
        self.submit([JSMITH])
        self.wait_for("two attempts", lambda: self.queued()[0]["recipients"][0]["attempts"] >= 2)
        self.assertEqual(self.inbox(), [])
        self.mailframe("queue", "remove", "-c", self.configuration, self.queued()[0]["id"])
        self.assertEqual(self.queued(), [])

    def test_retry_now(self) -> None:
        """An operator who mended the network need not wait for a quarter of an hour."""
        (port,) = free_ports(1)
        self.serve_mail(rules=self.rule(f"tcp:127.0.0.1:{port}"), queue='retry_every = "15m"')
        self.submit([JSMITH])
        self.wait_for("an attempt", lambda: self.queued()[0]["recipients"][0]["attempts"] == 1)
        _, dump = self.start_sink(port)
        self.mailframe("queue", "retry", "-c", self.configuration, self.queued()[0]["id"])
        self.wait_for("the sink to have it", lambda: sunk(dump))

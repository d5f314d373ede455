"""The chain of the story: client, our server, a server in between, the destination, the reader."""

from __future__ import annotations

import email

from tests.interop.internet.case import (
    ADDRESSES,
    ANYWHERE,
    RECORDS,
    SMTP,
    InternetCase,
    OtherMailframe,
)
from tests.interop.ourselves import PASSWORD

BETWEEN = {  # who is in between, by the host and domain that it has
    "postfix": "198.51.100.1",
    "exim": "198.51.100.2",
    "opensmtpd": "198.51.100.3",
    "mailframe": "198.51.100.4",
}
HOSTS = {**ADDRESSES, **{name: (address,) for name, address in BETWEEN.items()}}
PROVIDER_MAY_RELAY = """plugin = "providers"
[[authorisation.provider]]
name = "rosse"
networks = ["192.0.2.0/25"]
"""


class StoryTests(InternetCase):
    """Angelo writes to jsmith, whose server is another one, and who reads it with a POP3 client."""

    hosts = HOSTS
    records = (
        *RECORDS,
        *(f"{name} MX 10 mx.{name}\nmx.{name} A {ip}" for name, ip in BETWEEN.items()),
    )

    def test_through_each_server_in_between(self) -> None:
        """Each hands it on as it is told to, jsmith reads it, and what is refused comes back."""
        self.start_all()
        people = [f"jsmith+{name}@mindspring.example" for name in BETWEEN]
        for name, person in zip(BETWEEN, people, strict=True):
            self.send(person, subject=f"by {name}")
        self.wait_for("jsmith's mail", lambda: len(self.there.mailbox_messages()) >= len(BETWEEN))
        fetched = self.fetch_with_fetchmail()
        for name in BETWEEN:
            (message,) = (m for m in fetched if f"Subject: by {name}\n" in m)
            of_fetchmail, *trace = email.message_from_string(message).get_all("Received", [])
            self.assertIn("POP3", of_fetchmail)
            self.assertIn("by mx.mindspring.example", trace[0])
            self.assertIn(BETWEEN[name], trace[0])
            self.assertRegex(trace[0], "with ESMTPS?\\s")
            self.assertIn("by mx.demo.example with ESMTPSA", trace[-1])
            self.assertEqual(len(trace), 3, trace)
        self.assertEqual(self.queued(), [])
        self.check_refusals()

    def check_refusals(self) -> None:
        """The failure notice of each server in between finds its way to Angelo."""
        for name in BETWEEN:
            self.send(f"gone+{name}@mindspring.example")
        self.wait_for("the failure notices", lambda: len(self.inbox()) >= len(BETWEEN))
        for name in BETWEEN:
            (notice,) = (m for m in self.inbox() if b"gone+%s@" % name.encode() in m)
            self.assertTrue(notice.startswith(b"Return-Path: <>\n"))
            self.assertIn(b"5.1.1", notice)
            self.assertIn(BETWEEN[name].encode(), notice)
        self.assertEqual(len(self.inbox()), len(BETWEEN))

    def fetch_with_fetchmail(self) -> list[str]:
        """What jsmith's fetchmail gets from the destination, over STLS."""
        fetched = self.folder / "fetched"
        sink = self.write("sink", f"#!/bin/sh\necho = >> {fetched}\ncat >> {fetched}\n", 0o755)
        control = self.write(
            "fetchmailrc",
            "poll mx.mindspring.example proto pop3 uidl user jsmith@mindspring.example "
            f'password "{PASSWORD}" sslproto "TLS1.2+" sslcertck '
            f'sslcertfile "{self.there.folder}/ca.pem" no rewrite mda "{sink}"\n',
        )
        with self.at("client"):
            self.run_program(
                *(self.program("fetchmail", "fetchmail"), "-f", control, "--nosyslog", "-N"),
                *("--pidfile", self.folder / "pid"),
            )
        self.assertEqual(self.there.mailbox_messages(), [])
        return fetched.read_text().split("=\n")[1:]

    def start_all(self) -> None:
        """Start everyone."""
        self.start_provider(
            rules="".join(
                self.rule(
                    f"mx:{name}.example",
                    *(f"{person}+{name}@mindspring.example" for person in ("jsmith", "gone")),
                    name=f"by {name}",
                )
                for name in BETWEEN
            )
        )
        self.there = OtherMailframe()
        self.there.serve_at(self, "destination", "mindspring.example")
        with self.at("postfix"):
            self.start_postfix(
                *(SMTP, "postfix.example"),
                interface=ANYWHERE,
                settings=("mynetworks = 192.0.2.0/25",),
            )
        with self.at("exim"):
            self.start_exim(SMTP, "exim.example", hop=None, interface=ANYWHERE)
        with self.at("opensmtpd"):
            self.start_opensmtpd(SMTP, "opensmtpd.example", hop=None, interface=ANYWHERE)
        between = OtherMailframe()
        between.serve_at(self, "mailframe", "mailframe.example", authorisation=PROVIDER_MAY_RELAY)

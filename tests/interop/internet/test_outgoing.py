"""How our server goes out into the internet: over which family, and from which address."""

from __future__ import annotations

import time

from tests.interop.internet.case import ADDRESSES, DESTINATIONS, RECORDS, SMTP, InternetCase
from tests.interop.internet.names import RESOLVER
from tests.interop.programs import maildir

FOUR, SIX = DESTINATIONS[0], "2001:db8:3::1"
OUT_FOUR, OUT_SIX = "192.0.2.9", "2001:db8:1::9"
MISTYPED = "192.0.2.77"
MANY = 40  # exchangers, whose records fill no UDP answer of 512 octets


class OutgoingTests(InternetCase):
    """Our server sends straight to Postfix, which has an IPv4 and an IPv6 address."""

    hosts = {**ADDRESSES, "provider": (*ADDRESSES["provider"], OUT_FOUR, OUT_SIX)}  # noqa: RUF012  # nobody changes it
    records = (
        *RECORDS,
        f"mx.mindspring AAAA {SIX}",
        *(f"many MX {number} no{number}.mindspring" for number in range(MANY)),
        *(f"no{number}.mindspring TXT nothing" for number in range(MANY)),
        f"many MX {MANY} mx.mindspring",
    )

    def start_both(self, more: str = "", rules: str = "") -> None:
        """Start our server, with the patience it has by default unless told more, and the other."""
        with self.at("provider"):
            self.serve_mail(
                f'[dns]\nservers = ["{RESOLVER}"]\n[relay]\nreuse_idle = 0\n{more}',
                tls="starttls",
                rules=rules,
            )
        with self.at("destination"):
            self.box = self.start_postfix(
                *(SMTP, "mindspring.example"),
                name="destination",
                interface="",
                settings=(
                    "inet_protocols = all",
                    "virtual_mailbox_domains = mindspring.example, many.example",
                ),
            )

    def send_and_wait(self, subject: str, domain: str = "mindspring.example") -> float:
        """Send a message; returns after how many seconds it was there."""
        count = len(maildir(self.box))
        began = time.monotonic()
        self.send(f"jsmith@{domain}", subject=subject)
        self.wait_for(subject, lambda: len(maildir(self.box)) > count)
        return time.monotonic() - began

    def newest(self) -> bytes:
        files = sorted((self.box / "new").iterdir(), key=lambda file: file.stat().st_mtime)
        return files[-1].read_bytes()

    def openings(self) -> tuple[int, int]:
        """How often IPv6 and IPv4 were tried."""
        return (
            self.internet.openings("provider", SIX),
            self.internet.openings("provider", FOUR),
        )

    def test_families(self) -> None:
        """IPv6 packets that are lost on the way would hold up every message for half a minute.

        A domain whose answer fills more than a datagram would get no mail, nor one of whose
        exchangers only a late one has an address.
        """
        self.start_both('[relay.timeouts]\nconnect = "5s"\n')
        self.assertEqual(self.internet.openings("provider", "resolver", 53), 0)
        self.send_and_wait("to many", "many.example")
        self.assertEqual(self.internet.openings("provider", "resolver", 53), 1)
        self.assertEqual(self.openings(), (1, 0))
        self.internet.cut("provider", SIX)
        self.assertLess(self.send_and_wait("IPv6 is lost"), 15)
        six, four = self.openings()
        self.assertGreater(six, 1)
        self.assertEqual(four, 1)
        self.send_and_wait("IPv6 is not tried again at once")
        self.assertEqual(self.openings(), (six, 2))
        self.internet.mend("provider", SIX)
        self.internet.cut("provider", FOUR)
        self.send_and_wait("IPv4 is lost, and IPv6 has all the time there is")
        self.assertGreater(self.openings()[0], six)

    def test_sources(self) -> None:
        """Mail would go out from an address that others don't know, or under another's name.

        Nobody would know why mail waits that is to go out from a mistyped address.
        """
        self.start_both(
            f'[[relay.source]]\naddress = "{OUT_FOUR}"\nhostname = "out4.demo.example"\n'
            f'[[relay.source]]\naddress = "{OUT_SIX}"\nhostname = "out6.demo.example"\n'
            f'[[relay.source]]\naddress = "{MISTYPED}"\nname = "bulk"\n',
            '[[routing.rule]]\nvia = "mx"\nsource = "bulk"\nrecipients = ["*@many.example"]\n',
        )
        self.send_and_wait("over IPv6")
        self.assertIn(f"from out6.demo.example (unknown [IPv6:{OUT_SIX}])".encode(), self.newest())
        self.internet.cut("provider", SIX)
        self.send_and_wait("over IPv4")
        self.assertIn(f"from out4.demo.example (unknown [{OUT_FOUR}])".encode(), self.newest())
        self.send("jsmith@many.example")
        self.wait_until_it_says("4.3.5", f"the source address {MISTYPED} is not this machine's")
        with self.at("provider"):
            done = self.mailframe("check", "-c", self.configuration, check=False)
        self.assertIn(f"{MISTYPED} can't be used".encode(), done.stdout)
        self.assertNotIn(f"{OUT_FOUR} can't be used".encode(), done.stdout)

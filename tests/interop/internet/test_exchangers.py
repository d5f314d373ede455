"""Mail exchangers as DNS tells of them: good ones, dead ones, and such as nobody may be sent to."""

from __future__ import annotations

import email
import json
import smtplib
import time

from tests.interop.internet.case import DESTINATIONS, RECORDS, InternetCase
from tests.interop.ourselves import PASSWORD
from tests.interop.programs import maildir

DEAD = DESTINATIONS[8]
V6, DEAD_V6 = "2001:db8:3::1", "2001:db8:4::1"
UMLAUT = "xn--bcher-kva"
GOOD = {  # domains that get their mail, and how they are found
    "mindspring": (),
    "plain": (f"plain A {DESTINATIONS[1]}",),
    "second": ("second MX 5 dead", "second MX 10 mx.mindspring", f"dead A {DEAD}"),
    "deaf": ("deaf MX 5 mx.carrier", "deaf MX 10 mx.mindspring"),  # nobody listens at the first
    "six": ("six MX 10 mx.six", f"mx.six AAAA {V6}"),
    "four": ("four MX 10 mx.four", f"mx.four AAAA {DEAD_V6}", f"mx.four A {DESTINATIONS[2]}"),
    "alias": ("alias CNAME mindspring",),
    "mxalias": ("mxalias MX 10 other-name", "other-name CNAME mx.mindspring"),
    "better": ("better MX 5 mx.mindspring", "better MX 10 mx.demo", "better MX 20 dead"),
    "half": ("half MX 5 mx.silent", "half MX 10 mx.mindspring"),
    "mixed": ("mixed MX 5 inside", "mixed MX 10 mx.mindspring"),
    UMLAUT: (f"{UMLAUT} MX 10 mx.{UMLAUT}", f"mx.{UMLAUT} A {DESTINATIONS[3]}"),
}
BAD = {  # domains whose mail is returned: the status, and how they are found
    "nomail": ("5.1.10", "nomail MX 0 ."),
    "nowhere": ("5.1.2",),
    "empty": ("5.1.2", "empty TXT nothing"),
    "private": ("5.4.4", "private MX 10 inside", "inside A 10.0.0.1"),
    "loop": ("5.4.6", "loop MX 10 localhost", "localhost A 127.0.0.1", "localhost AAAA ::1"),
    "local6": ("5.4.4", "local6 AAAA fd00::1"),
    "ours": ("5.4.6", "ours MX 10 mx.demo", "ours MX 20 mx.mindspring"),
    "ours-too": ("5.4.6", "ours-too MX 10 nickname", "nickname A 192.0.2.1"),
}
# All of those that can be reached are to be reached at the first attempt, however busy we are. Who
# was waited for in vain for five seconds would not be tried again for a minute.
PATIENCE = 'connect = "2s"\nlookup = "10s"\n'
RETRIED = 0.5  # seconds that an attempt may take, before another one is asked for
LITERAL = f"[{DESTINATIONS[4]}]"
VERIFIED = f"""[[routing.rule]]
name = "only to whom it says it is"
recipients = ["*@{UMLAUT}.example"]
via = "mx"
tls = "verify"
"""


class ExchangersTests(InternetCase):
    """Many domains, each with its own records; what waits is not tried again by itself."""

    names = (*InternetCase.names, f"mx.{UMLAUT}.example")
    records = (
        *RECORDS,
        *(record for records in GOOD.values() for record in records),
        *(record for _, *records in BAD.values() for record in records),
        "moves MX 10 dead",
        *(f"equal MX 10 mx{n}.equal\nmx{n}.equal A {DESTINATIONS[5 + n]}" for n in range(2)),
    )

    def setUp(self) -> None:
        super().setUp()
        self.make_certificate()
        self.environment["SSL_CERT_FILE"] = str(self.folder / "ca.pem")
        self.start_provider(rules=VERIFIED, queue='retry_every = "10m"', patience=PATIENCE)
        self.box = self.start_destination(
            "virtual_mailbox_domains = static:all",
            "local_transport = virtual",
            "local_recipient_maps =",
            tls=True,
        )
        self.internet.cut("provider", DEAD)

    def test_where_mail_goes(self) -> None:
        """Who can be reached gets it at the first attempt; of the others the sender is told why."""
        people = [f"{name}@{name}.example" for name in (*GOOD, *BAD)]
        name = self.send(
            *people, f"literal@{LITERAL}", "local@[127.0.0.1]", "later@mx.silent.example"
        )
        self.wait_for("all copies", lambda: len(maildir(self.box)) >= len(GOOD) + 1)
        self.wait_for("the failure notice", self.inbox)
        history = self.history(name)
        for domain in GOOD:
            self.assertEqual(history[f"{domain}@{domain}.example"], ["relayed"], domain)
        self.assertEqual(history[f"literal@{LITERAL}"], ["relayed"])
        self.check_notice(self.inbox())
        self.check_connections()
        self.wait_until_it_says("4.4.3", "mx.silent.example")
        self.check_certificate()
        self.check_equals()
        self.check_a_change()

    def check_notice(self, inbox: list[bytes]) -> None:
        """Every recipient that is not reached has a reason of its own."""
        (notice,) = inbox
        report = email.message_from_bytes(notice).get_payload(1)
        statuses = {
            str(part["Final-Recipient"]).removeprefix("rfc822; "): part["Status"]
            for part in report.get_payload()[1:]
        }
        expected = {f"{name}@{name}.example": status for name, (status, *_) in BAD.items()}
        self.assertEqual(statuses, expected | {"local@[127.0.0.1]": "5.4.6"})

    def check_connections(self) -> None:
        """Nobody was connected to who must not be, and the dead ones were tried."""
        for address in ("10.0.0.1", "127.0.0.1", "fd00::1"):
            self.assertEqual(self.internet.openings("provider", address), 0, address)
        for address in (DEAD, DEAD_V6, V6, "carrier"):
            self.assertGreater(self.internet.openings("provider", address), 0, address)

    def check_certificate(self) -> None:
        """The certificate for the A-labels of a domain beyond ASCII was found good."""
        (message,) = (
            m for m in maildir(self.box) if b"@%s." % UMLAUT.encode() in m.split(b"\n")[1]
        )
        self.assertIn(b"with ESMTPS", message)

    def history(self, name: str) -> dict[str, list[str]]:
        """What happened to each recipient, of what ends an attempt."""
        done = self.mailframe("trace", "-c", self.configuration, "--json", name)
        found: dict[str, list[str]] = {}
        for event in json.loads(done.stdout)["events"]:
            if event["event"] in ("relayed", "postponed", "refused", "failed"):
                found.setdefault(event["recipient"], []).append(event["event"])
        return found

    def check_a_change(self) -> None:
        """A domain's mail goes to the exchanger that it has at the next attempt."""
        name = self.send("kim@moves.example")
        self.wait_for("an attempt", lambda: "postponed" in self.trace(name))
        self.add_records("moves MX 5 mx.mindspring")
        before = len(maildir(self.box))
        self.wait_for("the other exchanger", lambda: self.is_gone_by_now(name))
        self.assertEqual(len(maildir(self.box)), before + 1)

    def is_gone_by_now(self, name: str) -> bool:
        """Try at once, and say whether that did it."""
        # It may be gone since the last look.
        self.mailframe("queue", "retry", "-c", self.configuration, name, check=False)
        time.sleep(RETRIED)
        return "relayed" in self.trace(name)

    def check_equals(self) -> None:
        """Exchangers of equal preference are both used."""
        before = len(maildir(self.box))
        with self.internet.at("client"), smtplib.SMTP("192.0.2.1", 587, "client") as client:
            client.starttls(context=self.trusting())
            client.login("angelo@demo.example", PASSWORD)
            for _ in range(20):
                client.sendmail("angelo@demo.example", ["kim@equal.example"], b"Subject: x\r\n\r\n")
        self.wait_for("all", lambda: len(maildir(self.box)) == before + 20)
        for address in DESTINATIONS[5:7]:
            self.assertGreater(self.internet.openings("provider", address), 0)

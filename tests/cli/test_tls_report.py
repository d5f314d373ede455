"""How sessions with other servers fared with TLS, as shown to an operator."""

from __future__ import annotations

import os
import time

from mailframe.delivery.tls_counts import Counted, CountFile, day_of
from tests.cli.commands import CommandCase

BAD = {
    "result": "certificate-expired",
    "host": "mx.x",
    "address": "192.0.2.1",
    "reason": "it has expired",
}


class TlsReport(CommandCase):
    """``mailframe tls-report``."""

    def setUp(self) -> None:
        super().setUp()
        self.state = self.path("state")
        os.makedirs(self.state, exist_ok=True)
        self.file = CountFile(self.state)

    def test_table(self) -> None:
        """Nobody could see which server's TLS is broken."""
        today = day_of(time.time())
        for day in (today, "2026-01-01"):
            self.file.add(
                {
                    Counted(day=day, kind="sts", domain="blu.example"): 5,
                    Counted(day=day, kind="sts", domain="blu.example", **BAD): 1,
                    Counted(day=day, kind="no-policy-found", domain="red.example"): 2,
                }
            )
        for arguments in ((), ("--day", "2026-01-01")):
            lines = self.run_here("tls-report", *arguments).stdout.splitlines()
            self.assertEqual(
                [line.split("\t") for line in lines[1:]],
                [
                    ["blu.example", "sts", "5", "ok", "", ""],
                    [
                        "blu.example",
                        "sts",
                        "1",
                        "certificate-expired",
                        "mx.x [192.0.2.1]",
                        "it has expired",
                    ],
                    ["red.example", "no-policy-found", "2", "ok", "", ""],
                ],
            )

    def test_report(self) -> None:
        """A report could not be sent to the domain that it is about."""
        day = "2026-11-23"
        self.file.add(
            {
                Counted(day=day, kind="sts", domain="blu.example", **BAD): 1,
                Counted(day=day, kind="no-policy-found", domain="red.example"): 2,
            }
        )
        document = self.document("tls-report", "--day", day, "--domain", "BLU.example")
        self.assertEqual(document["organization-name"], "mx.rosse.example")
        (policy,) = document["policies"]
        self.assertEqual(policy["policy"]["policy-domain"], "blu.example")
        self.assertEqual(policy["summary"]["total-failure-session-count"], 1)

    def test_nothing(self) -> None:
        """Who looks at a server that has sent nothing yet would be shown a traceback."""
        self.assertEqual(self.document("tls-report")["policies"], [])

    def test_mistakes(self) -> None:
        """A mistyped day would be taken for one without mail; a broken file for one."""
        said = self.run_here("tls-report", "--day", "x", status=2).stderr
        self.assertIn("--day 'x' is not a day such as 20", said)
        said = self.run_here("tls-report", "--domain", "not a domain", status=2).stderr
        self.assertIn("'--domain': 'not a domain'", said)
        with open(os.path.join(self.state, "tls-report.sqlite"), "w") as file:
            file.write("no database at all, " * 1000)
        text = self.run_here("tls-report", status=1).stderr
        self.assertIn("the counts can't be read: file is not a database", text)

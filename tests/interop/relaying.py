"""A mailframe that relays, and what its queue and mailboxes hold."""

from __future__ import annotations

import json
import smtplib
import subprocess
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mailframe.cli.root import command
from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import maildir, toml_list
from tests.interop.servers import ServersCase

# What a server might change: lines of dots, blanks at line ends and at the end, long lines, 8 bits.
TEXT = (
    b"From: Kim <kim@mindspring.example>\r\n"
    b"To: jsmith@demo.example\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
    b"Message-ID: <1@mindspring.example>\r\n"
    b"Subject: octet\r\n  for\toctet\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b".\r\n..\r\n.dot\r\n \r\nblanks \t \r\n"
    b"na\xc3\xafve \xff\xfe\r\nFrom here\r\n" + b"x" * 990 + b"\r\n" + b"." * 990 + b"\r\n\r\n\r\n"
)
JSMITH = "jsmith@mindspring.example"
PAUSE = 0.1  # seconds between two looks at the queue, which are not cheap
RULE = '[[routing.rule]]\nname = "{name}"\nrecipients = {recipients}\nvia = "{via}"\n'


class RelayCase(MailframeCase, ServersCase):
    """What the tests of relaying share."""

    def rule(self, via: str, *recipients: str, name: str = "next", more: str = "") -> str:
        recipients = recipients or ("*@mindspring.example",)
        return RULE.format(name=name, recipients=toml_list(recipients), via=via) + more

    def mailframe(
        self, *arguments: str | Path, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the ``mailframe`` command in this process, for it is asked often."""
        result = CliRunner().invoke(command, [str(word) for word in arguments], input=input)
        if check and result.exit_code:
            raise self.failureException(f"{arguments}: {result.output}") from result.exception
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout_bytes)

    def queued(self) -> list[dict[str, Any]]:
        """The messages in our queue."""
        time.sleep(PAUSE)
        done = self.mailframe("queue", "list", "-c", self.configuration, "--json")
        messages: list[dict[str, Any]] = json.loads(done.stdout)["messages"]
        return messages

    def inbox(self, name: str = "angelo") -> list[bytes]:
        return maildir(self.mailbox(name))

    def submit_octets(self, recipient: str = "jsmith@mindspring.example", *, tls: bool) -> None:
        """Submit `TEXT`."""
        with smtplib.SMTP("localhost", self.submission, "client.example", timeout=30) as client:
            if tls:
                client.starttls(context=self.trusting())
            client.login("angelo@demo.example", PASSWORD)
            client.sendmail("angelo@demo.example", [recipient], TEXT, ["BODY=8BITMIME"])

    def assert_same(self, message: bytes, text: bytes = TEXT) -> None:
        """Nothing but trace and comments was put in front, and nothing was changed."""
        kept = message[-len(_lf(text)) :]
        if kept != _lf(text):  # said without megabytes of it
            self.fail(f"the message was changed; it ends with {kept[-200:]!r}")


def _lf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")

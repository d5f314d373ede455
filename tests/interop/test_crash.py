"""The server is killed at random moments, and nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import smtplib
import threading
import time

from tests.interop.ourselves import MailframeCase
from tests.interop.programs import maildir

CRASHES = int(os.environ.get("MAILFRAME_CRASHES", "6"))
SENDERS = 4


class KillTests(MailframeCase):
    """kill -9, again and again, under load."""

    timeout = 60 + 20 * CRASHES

    def test_nothing_acknowledged_is_lost(self) -> None:
        """After 250 the message is ours: each one is in the mailbox in the end, whole."""
        self.serve_mail()
        acknowledged: set[bytes] = set()
        stop = threading.Event()

        def send(number: int) -> None:
            count = 0
            while not stop.is_set():
                with (
                    contextlib.suppress(OSError, smtplib.SMTPException),
                    smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=10) as client,
                ):
                    while not stop.is_set():
                        count += 1
                        mark = b"mark-%d-%d-" % (number, count)
                        size = (500, 5_000, 90_000)[count % 3]
                        text = b"Subject: " + mark + b"\r\n\r\n" + b"x" * 70 + b"\r\n"
                        text += (b"y" * 70 + b"\r\n") * (size // 72) + b"end of " + mark
                        client.sendmail("a@far.example", ["jsmith@demo.example"], text)
                        acknowledged.add(mark)
                time.sleep(0.02)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(SENDERS)]
        for thread in threads:
            thread.start()
        chance = random.Random(5)
        try:
            for _ in range(CRASHES):
                before = len(acknowledged)
                self.wait_for("some more mail", lambda b=before: len(acknowledged) > b + 20)
                time.sleep(chance.random() * 0.5)
                assert self.server is not None
                self.end(self.server, signal.SIGKILL)
                self.server = self.serve(self.configuration, self.smtp)
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        self.assertGreater(len(acknowledged), 20 * CRASHES)

        def missing() -> set[bytes]:
            whole = set()
            for message in maildir(self.mailbox("jsmith")):
                mark = message.split(b"\nSubject: ", 1)[1].split(b"\n", 1)[0]
                if message.rstrip().endswith(b"end of " + mark):
                    whole.add(mark)
                else:
                    self.fail(f"a torn message is visible: {mark!r}")
            return acknowledged - whole

        self.wait_for("every acknowledged message in the mailbox", lambda: not missing(), 60)

"""A server whose clock is set while it runs and while it is off, in one process and in two."""

from __future__ import annotations

import mmap
import os
import smtplib
import struct
import time

from tests.interop.ourselves import MailframeCase
from tests.interop.programs import free_ports, maildir
from tests.interop.servers import ServersCase, sunk

DAY = 86_400.0
# Python imports it by itself, before anything asks for the time.
SITE = """
import mmap, struct, time
with open({path!r}, "r+b") as file:
    set_by = mmap.mmap(file.fileno(), 8)
real = time.time
time.time = lambda: real() + struct.unpack_from("d", set_by)[0]
"""


class ClockTests(ServersCase, MailframeCase):
    """A mailframe in one process."""

    processes = 1
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        path = self.folder / "set-by"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self.set_by = mmap.mmap(file.fileno(), 8)
        self.addCleanup(self.set_by.close)
        self.write("python/sitecustomize.py", SITE.format(path=str(path)))
        before = os.environ.get("PYTHONPATH")
        self.environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(self.folder / "python"), before))
        )

    def serve_clock(self, rules: str = "") -> None:
        """Start a server that tries again every two seconds."""
        self.configure(queue='retry_every = "2s"', rules=rules)
        text = self.configuration.read_text()
        self.write("mailframe.toml", f"processes = {self.processes}\n{text}")
        self.server = self.serve(self.configuration, self.smtp, self.submission)
        self.box = self.mailbox("jsmith")

    def jump(self, seconds: float) -> None:
        """Set the server's clock, by so much from where it is."""
        (before,) = struct.unpack("d", self.set_by)
        struct.pack_into("d", self.set_by, 0, before + seconds)

    def send(self, count: int, recipient: str = "jsmith@demo.example") -> None:
        """Send messages."""
        with smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=30) as client:
            for number in range(count):
                text = b"Subject: n%d\r\n\r\nhello\r\n" % number
                client.sendmail("angelo@demo.example", [recipient], text)

    def block(self, blocked: bool) -> None:
        """Have deliveries fail, or not any more."""
        aside = self.box.with_name("aside")
        if blocked:
            self.box.rename(aside)
            self.box.touch()  # nothing can be delivered into a file
        else:
            self.box.unlink()
            aside.rename(self.box)

    def assert_arrived(self, count: int) -> None:
        """Wait until so many messages are in the mailbox."""
        self.wait_for("all delivered", lambda: len(maildir(self.box)) >= count)
        self.assertEqual(len(maildir(self.box)), count)

    def test_set(self) -> None:
        """Mail waits for as long as the clock was set back, comes twice, or is returned."""
        (port,) = free_ports(1)
        _, dump = self.start_sink(port, "-w", "3")  # seconds that it thinks about a message
        self.serve_clock(
            f'[[routing.rule]]\nrecipients = ["mary@demo.example"]\nvia = "tcp:127.0.0.1:{port}"\n'
            'tls = "none"\n'
        )
        assert self.server is not None
        self.send(1)
        self.assert_arrived(1)
        for round, jump in enumerate((-DAY, DAY / 8)):
            self.block(True)
            self.send(5)
            time.sleep(0.5)
            self.jump(jump)
            time.sleep(1.5)
            self.block(False)
            self.assert_arrived(6 + 5 * round)

        # What the next server is thinking about is not broken off, and not sent once more.
        self.send(2, "mary@demo.example")
        time.sleep(0.5)
        self.jump(10 * DAY)
        self.wait_for("all sent", lambda: len(sunk(dump)) == 2)

        self.block(True)
        self.send(5)
        time.sleep(0.5)
        self.end(self.server)
        self.jump(-40 * DAY)
        self.block(False)
        self.server = self.serve(self.configuration, self.smtp)
        self.assert_arrived(16)
        time.sleep(2.5)
        self.assert_arrived(16)
        self.assertEqual(len(sunk(dump)), 2)
        self.assertEqual(maildir(self.mailbox("angelo")), [])


class WorkerClockTests(ClockTests):
    """The same in two processes, of which each sees that the clock was set."""

    processes = 2

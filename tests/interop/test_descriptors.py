"""A server that has no file descriptors left."""

from __future__ import annotations

import contextlib
import os
import resource
import smtplib
import socket
import time

from tests.interop.ourselves import MailframeCase

SPARE = 8  # descriptors that the server may still open
LIMITS = "[limits]\nconnections_per_address = 1000\n"


class DescriptorTests(MailframeCase):
    """Clients that take every descriptor stop nobody for longer than they stay."""

    def test_survives(self) -> None:
        """One client with many connections silences the server for good, or has mail refused."""
        self.serve_mail(LIMITS)
        assert self.server is not None
        process = self.server.pid
        early = smtplib.SMTP("127.0.0.1", self.smtp, "client.example", timeout=30)
        early.ehlo()
        held = len(os.listdir(f"/proc/{process}/fd"))
        resource.prlimit(process, resource.RLIMIT_NOFILE, (held + SPARE, held + SPARE))
        clients = []
        for _ in range(4 * SPARE):
            with contextlib.suppress(OSError):
                clients.append(socket.create_connection(("127.0.0.1", self.smtp), 5))
        time.sleep(0.5)  # for the server to take them all, and to do without
        self.assertIsNone(self.server.poll(), "the server has ended")
        self.assertGreater(sum(map(turned_away, clients)), SPARE)

        # Who is in already is served, or told to come again.
        code, _ = early.mail("a@there.example")
        self.assertEqual(code, 250)
        early.rcpt("jsmith@demo.example")
        code, _ = early.data(b"Subject: x\r\n\r\nhello\r\n")
        self.assertIn(code // 100, (2, 4))
        early.close()

        for client in clients:
            client.close()
        self.wait_for("a server that serves again", self.is_served)
        self.submit(["jsmith@demo.example"])

    def is_served(self) -> bool:
        """Whether a new client gets a greeting."""
        try:
            with socket.create_connection(("127.0.0.1", self.smtp), 1) as client:
                return client.recv(100).startswith(b"220 ")
        except OSError:
            return False


def turned_away(client: socket.socket) -> bool:
    """Whether the server has closed a connection, or never took it."""
    client.settimeout(0.2)
    try:
        return not client.recv(100)
    except TimeoutError:
        return True
    except OSError:
        return True

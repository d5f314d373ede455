"""The internet of the tests itself: what it carries, what a cut is, and that it leaves nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

from twisted.trial.unittest import SkipTest

from tests.interop.internet.caretaker import inside
from tests.interop.internet.hosts import Internet
from tests.interop.internet.packets import parse
from tests.interop.internet.wires import after_octets, saying
from tests.interop.programs import InteropCase

HERE, THERE = ("192.0.2.1", "2001:db8:1::1"), ("198.51.100.1", "2001:db8:2::1")
SOON = 0.3  # seconds in which nothing arrives
PATIENCE = 20.0  # seconds for what does arrive
KILLED = f"""
import signal, subprocess, os
from tests.interop.internet.hosts import Internet
internet = Internet(here={HERE!r})
with internet.at("here"):
    subprocess.Popen(["sleep", "1000"])
print(internet.hosts["here"].namespace.inode, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class HostsTests(InteropCase):
    """Two hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.program("ip", "iproute2")
        try:
            self.internet = Internet(here=HERE, there=THERE)
        except OSError as error:
            raise SkipTest(f"no networks of our own here: {error}") from error
        self.addCleanup(self.internet.close)

    def listen(self) -> socket.socket:
        with self.internet.at("there"):
            listening = socket.create_server(
                ("::", 25), family=socket.AF_INET6, dualstack_ipv6=True
            )
        self.addCleanup(listening.close)
        listening.settimeout(PATIENCE)
        return listening

    def connect(self, address: str, seconds: float = PATIENCE) -> socket.socket:
        with self.internet.at("here"):
            connection = socket.create_connection((address, 25), timeout=seconds)
        self.addCleanup(connection.close)
        return connection

    def test_both_families(self) -> None:
        """What is not cut arrives, over IPv4 and IPv6, and is counted; there is nothing outside."""
        listening = self.listen()
        for address in THERE:
            connection = self.connect(address)
            accepted, _ = listening.accept()
            accepted.sendall(b"220 hello\r\n")
            self.assertEqual(connection.recv(100), b"220 hello\r\n")
            accepted.close()
        self.assertEqual(self.internet.openings("here", "there"), 2)
        self.assertEqual(self.internet.openings("here", THERE[1]), 1)
        self.assertEqual(self.internet.openings("there", "here"), 0)
        self.assertRaises(TimeoutError, self.connect, "203.0.113.77", SOON)

    def test_a_cut_is_silent(self) -> None:
        """Nobody is told of a cut: neither end notices; mended, it goes on."""
        listening = self.listen()
        connection = self.connect(THERE[0])
        accepted, _ = listening.accept()
        accepted.settimeout(SOON)
        self.internet.cut("here", "there")
        connection.sendall(b"EHLO here\r\n")
        self.assertRaises(TimeoutError, accepted.recv, 100)
        self.assertRaises(TimeoutError, self.connect, THERE[1], SOON)
        self.internet.mend("here", "there")
        accepted.settimeout(PATIENCE)
        self.assertEqual(accepted.recv(100), b"EHLO here\r\n")
        accepted.close()

    def test_a_cut_at_what_is_said(self) -> None:
        """The packet that says it passes, or does not, and nothing after it does."""
        for forward in (True, False):
            listening = self.listen()
            connection = self.connect(THERE[0])
            accepted, _ = listening.accept()
            accepted.settimeout(PATIENCE)
            moment = self.internet.cut_when("here", "there", saying(b"DATA"), forward=forward)
            connection.sendall(b"MAIL\r\n")
            self.assertEqual(accepted.recv(100), b"MAIL\r\n")
            self.assertFalse(moment.happened.is_set())
            connection.sendall(b"DATA\r\n")
            self.assertTrue(moment.happened.wait(PATIENCE))
            if forward:
                self.assertEqual(accepted.recv(100), b"DATA\r\n")
            connection.sendall(b"QUIT\r\n")
            accepted.settimeout(SOON)
            self.assertRaises(TimeoutError, accepted.recv, 100)
            accepted.close()
            listening.close()
            self.internet.mend("here", "there")

    def test_a_cut_after_octets(self) -> None:
        """What is counted is what programs send, not packets."""
        found = after_octets(5)
        packet = parse(
            bytes([0x45]) + bytes(8) + bytes([6]) + bytes(10) + bytes(12) + b"\x50" + bytes(7)
        )
        assert packet is not None
        self.assertFalse(found(packet))
        self.assertFalse(found(packet._replace(payload=b"1234")))
        self.assertTrue(found(packet._replace(payload=b"5")))
        self.assertIsNone(parse(b""))

    def test_nothing_is_left(self) -> None:
        """The programs are gone when it is closed, and when who had it was killed."""
        with self.internet.at("here") as host:
            process = subprocess.Popen(("sleep", "1000"))
        inode = host.namespace.inode
        self.assertEqual(inside({inode}), [process.pid])
        other = Internet(here=HERE)
        other.close()
        self.assertIsNone(process.poll())
        self.doCleanups()
        self.assertEqual(process.wait(PATIENCE), -signal.SIGKILL)
        killed = subprocess.run((sys.executable, "-c", KILLED), stdout=subprocess.PIPE)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while inside({int(killed.stdout)}) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(inside({int(killed.stdout)}), [])

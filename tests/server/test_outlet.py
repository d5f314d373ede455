"""Writing replies: `mailframe.server.outlet`."""

from __future__ import annotations

from typing import Any

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.outlet import Outlet


class FakeConnection(Connection):
    """A TCP transport without a socket, which takes as much at once as it is told to."""

    def __init__(self, takes: Any) -> None:
        self.takes = takes
        self.direct = b""
        self.later = b""

    def writeSomeData(self, data: bytes) -> Any:
        """Take a part."""
        if not isinstance(self.takes, int):
            return self.takes
        self.direct += data[: self.takes]
        return min(self.takes, len(data))

    def write(self, data: bytes) -> None:
        """Take the rest."""
        self.later += data


class OutletTests(SynchronousTestCase):
    """Replies arrive whole and in order."""

    def test_ordinary_transport(self) -> None:
        """Any transport will do."""
        transport = StringTransport()
        Outlet(transport, tls=False).write(b"250 ok\r\n")
        self.assertEqual(transport.value(), b"250 ok\r\n")

    def test_direct(self) -> None:
        """A socket with room takes replies at once."""
        connection = FakeConnection(1000)
        outlet = Outlet(connection, tls=False)
        outlet.write(b"one\r\n")
        outlet.write(b"two\r\n")
        self.assertEqual((connection.direct, connection.later), (b"one\r\ntwo\r\n", b""))

    def test_full_or_dead(self) -> None:
        """What a full socket does not take follows later, before all that comes after it."""
        for takes, direct in ((2, b"on"), (0, b""), (CONNECTION_LOST, b"")):
            connection = FakeConnection(takes)
            outlet = Outlet(connection, tls=False)
            outlet.write(b"one\r\n")
            connection.takes = 1000
            outlet.write(b"two\r\n")
            self.assertEqual(connection.direct, direct)
            self.assertEqual(connection.direct + connection.later, b"one\r\ntwo\r\n")

    def test_tls(self) -> None:
        """Nothing that TLS should encrypt is written to the socket in the clear."""
        connection = FakeConnection(1000)
        Outlet(connection, tls=True).write(b"secret")
        self.assertEqual((connection.direct, connection.later), (b"", b"secret"))

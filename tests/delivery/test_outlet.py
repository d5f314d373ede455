"""Writing to a server: `mailframe.delivery.outlet`."""

from __future__ import annotations

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.outlet import Outlet
from tests.server.test_outlet import FakeConnection


class OutletTests(SynchronousTestCase):
    """Commands and content arrive whole and in order."""

    def test_ordinary_transport(self) -> None:
        """Any transport will do."""
        transport = StringTransport()
        outlet = Outlet(transport, encrypted=False)
        outlet.write(b"NOOP\r\n")
        outlet.use_buffer()
        self.assertEqual(transport.value(), b"NOOP\r\n")

    def test_direct(self) -> None:
        """A socket with room takes what is said at once."""
        connection = FakeConnection(1000)
        outlet = Outlet(connection, encrypted=False)
        outlet.write(b"one\r\n")
        outlet.write(b"two\r\n")
        self.assertEqual((connection.direct, connection.later), (b"one\r\ntwo\r\n", b""))

    def test_full_or_dead(self) -> None:
        """What a full socket did not take would be overtaken by the next message's commands.

        Whatever the server says meanwhile: it may answer before it has read.
        """
        for takes, direct in ((2, b"on"), (0, b""), (CONNECTION_LOST, b"")):
            connection = FakeConnection(takes)
            outlet = Outlet(connection, encrypted=False)
            outlet.write(b"one\r\n")
            connection.takes = 1000
            outlet.write(b"two\r\n")
            self.assertEqual(connection.direct, direct)
            self.assertEqual(connection.direct + connection.later, b"one\r\ntwo\r\n")

    def test_beside_a_stream(self) -> None:
        """Commands would stand in the middle of content that the transport still holds."""
        connection = FakeConnection(1000)
        outlet = Outlet(connection, encrypted=False)
        outlet.write(b"DATA\r\n")
        outlet.use_buffer()
        connection.write(b"content\r\n.\r\n")
        outlet.write(b"MAIL\r\n")
        self.assertEqual(
            (connection.direct, connection.later), (b"DATA\r\n", b"content\r\n.\r\nMAIL\r\n")
        )

    def test_tls(self) -> None:
        """Nothing that TLS should encrypt is written to the socket in the clear."""
        connection = FakeConnection(1000)
        Outlet(connection, encrypted=True).write(b"secret")
        self.assertEqual((connection.direct, connection.later), (b"", b"secret"))

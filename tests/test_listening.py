"""Listening sockets."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet import endpoints
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import ILoggingContext, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe import listening
from mailframe.authorisation.networks import Networks
from mailframe.listening import CannotListen, Door, Doors
from mailframe.testing.network import VirtualReactor


class _Unopened:
    """An endpoint that can't be opened."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def listen(self, _factory: object) -> Deferred[Any]:
        return fail(self.error)


class Counted(Factory):
    """Knows whether it was started."""

    protocol = Protocol
    noisy = False
    started = 0

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.started -= 1


class DoorTests(SynchronousTestCase):
    """`Door`."""

    def test_interfaces(self) -> None:
        """Twisted's ports must be able to use it and to name it."""
        door = Door("mx")
        verifyObject(IProtocolFactory, door)
        verifyObject(ILoggingContext, door)
        self.assertEqual(door.logPrefix(), "mx")

    def test_leads_nowhere(self) -> None:
        """Before anything can serve a client, it is let go at once."""
        address: Any = None
        self.assertIsNone(Door("mx").buildProtocol(address))

    def test_exchange(self) -> None:
        """Who comes is served by the factory of the moment, which is started and stopped."""
        door, one, two = Door("mx"), Counted(), Counted()
        address: Any = None
        door.lead_to(one)
        self.assertEqual(one.started, 0, "nothing listens yet")
        door.doStart()
        door.doStart()
        self.assertEqual(one.started, 1)
        protocol = door.buildProtocol(address)
        assert isinstance(protocol, Protocol)
        self.assertIs(protocol.factory, one)
        door.lead_to(two)
        self.assertEqual((one.started, two.started), (0, 1))
        door.doStop()
        self.assertEqual(two.started, 1)
        door.doStop()
        self.assertEqual(two.started, 0)
        door.doStart()
        door.lead_to(None)
        self.assertIsNone(door.buildProtocol(address))
        door.doStop()


class ProxyTests(SynchronousTestCase):
    """``haproxy:`` endpoints."""

    def test_proxies(self) -> None:
        """Only a trusted proxy speaks for clients, and nobody else gets in there."""
        reactor = VirtualReactor()
        doors = Doors(reactor)
        doors.open("mx", "haproxy:tcp:25:interface=127.0.0.1")
        served = Counted()
        doors.lead_to({"mx": served}, {"mx": Networks(["10.0.0.0/8"])})
        self.assertEqual(served.started, 1)
        way_in: Any = doors._doors["mx"].behind_proxies(reactor)
        self.assertEqual(way_in.logPrefix(), "mx")
        self.assertIsNone(way_in.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        proxy = way_in.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))
        transport = StringTransport()
        proxy.makeConnection(transport)
        proxy.dataReceived(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")
        self.assertIs(proxy._session.factory, served)
        self.assertEqual(proxy._session.transport.getPeer().host, "192.0.2.1")
        doors.lead_to({"mx": served})
        self.assertIsNone(way_in.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))
        closed = doors.close()
        reactor.advance(0)
        self.successResultOf(closed)
        self.assertEqual(served.started, 0)


class DoorsTests(SynchronousTestCase):
    """`Doors`."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()

    def test_close(self) -> None:
        """A closed port must be free for the next."""
        doors = Doors(self.reactor)
        doors.open("mx", "tcp:25")
        doors.open("mx", "tcp:26")
        ports = [getattr(address, "port", 0) for address in doors.addresses()]
        self.assertEqual(ports, [25, 26])
        closed = doors.close()
        self.reactor.advance(0)
        self.successResultOf(closed)
        again = Doors(self.reactor)
        again.open("mx", "tcp:25")
        again.close()
        self.reactor.advance(0)

    def test_twice(self) -> None:
        """The message must name server, endpoint and reason."""
        doors = Doors(self.reactor)
        doors.open("mx", "tcp:25")
        with self.assertRaises(CannotListen) as caught:
            doors.open("second", "tcp:25")
        said = str(caught.exception)
        self.assertTrue(said.startswith('[[server]] "second" can\'t listen on "tcp:25": '))
        self.assertFalse(said.endswith(": "))

    def test_beside_ipv4(self) -> None:
        """Whoever names both families would search for another program at the port."""
        for number, hinted in ((errno.EADDRINUSE, True), (errno.EACCES, False)):
            fault = CannotListenError("::", 25, OSError(number, os.strerror(number)))
            self.patch(listening, "_endpoint", lambda *_, fault=fault: _Unopened(fault))
            for listen in ("tcp6:25", "haproxy:tcp6:25", "tcp:25"):
                with self.assertRaises(CannotListen) as caught:
                    Doors(self.reactor).open("mx", listen)
                hint = '"tcp6:" takes IPv4 as well, and needs no "tcp:" beside it'
                self.assertEqual(hint in str(caught.exception), hinted and "tcp6" in listen)

    def test_nonsense(self) -> None:
        """An endpoint whose parser fails is told like one that can't be opened."""
        with self.assertRaises(CannotListen) as caught:
            Doors(self.reactor).open("mx", "haproxy:tpc:25")
        self.assertIn('"mx" can\'t listen on "haproxy:tpc:25"', str(caught.exception))

    def slow(self) -> Deferred[Any]:
        """Have endpoints take their time; what is given opens the next."""
        opened: Deferred[Any] = Deferred()

        class Slow:
            def listen(self, factory: object) -> Deferred[Any]:
                return opened

        self.patch(listening, "serverFromString", lambda reactor, text: Slow())
        return opened

    def test_late_failure(self) -> None:
        """What an endpoint finds out later must at least be in the log."""
        opened = self.slow()
        Doors(self.reactor).open("mx", "slow:25")
        with capturedLogs() as events:
            opened.errback(OSError(13, "Permission denied"))
        (event,) = events
        self.assertIn("Permission denied", event["reason"])

    def test_opened_after_the_end(self) -> None:
        """A port that opens when the server has stopped must not stay open."""
        opened = self.slow()
        doors = Doors(self.reactor)
        doors.open("mx", "slow:25")
        doors.close()
        factory: Any = Factory()
        endpoint: Any = endpoints.TCP4ServerEndpoint(self.reactor, 25)
        opened.callback(self.successResultOf(endpoint.listen(factory)))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getReaders(), [])

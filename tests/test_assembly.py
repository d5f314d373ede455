"""Building parts."""

from __future__ import annotations

import os
import socket
from random import Random, SystemRandom
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe import assembly
from mailframe.assembly import PartError, make_site, open_parts
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.interfaces import Site
from mailframe.outcome import NextHop, Relay
from mailframe.plugin import Part
from mailframe.queue.memory import MemorySettings, MemoryStorage
from mailframe.settings import Chosen, ServerSettings, Settings
from mailframe.testing.fakes import FakeAccounts, FakeAgent, FakeRouting
from mailframe.testing.network import VirtualReactor
from mailframe.testing.resolver import FakeResolver
from mailframe.testing.threads import in_thread


def failing(settings: object, site: Site) -> object:
    """A builder with a mistake in it."""
    raise KeyError("oops")


@implementer(IReactorThreads)
class ThreadedReactor(VirtualReactor):
    """A reactor that says it has threads."""

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *args: Any, **kw: Any) -> None:
        done(True, ("in a thread", function(*args, **kw)))


class AssemblyTests(SynchronousTestCase):
    """`open_parts` and `make_site`."""

    def setUp(self) -> None:
        self.reactor = VirtualReactor()

    def settings(self, **chosen: str) -> Settings:
        """Settings with plugins built by these callables."""
        parts = {
            seam: Chosen(
                part=Part(seam=seam, name=seam, help="h", settings="a:b", builds=path),
                settings=MemorySettings(),
            )
            for seam, path in chosen.items()
        }
        state_dir = os.path.abspath(self.mktemp())
        return Settings(path="", hostname="mx.example", state_dir=state_dir, chosen=parts)

    def open(self, settings: Settings, **arguments: Any) -> Any:
        """Open parts in a virtual world."""
        lent = {"resolver": FakeResolver({}, self.reactor), "in_thread": in_thread}
        return open_parts(settings, self.reactor, **{**lent, **arguments})

    def test_some(self) -> None:
        """A command that looks at the queue must not fail for want of an accounts file."""
        parts = self.open(self.settings(queue="mailframe.queue.memory:build"), seams=("queue",))
        self.assertIsInstance(parts.queue.part, MemoryStorage)
        self.assertEqual(parts.queue.name, "queue")
        self.assertEqual(parts.services, ())
        self.successResultOf(Deferred.fromCoroutine(parts.close()))

    def test_nothing_to_close(self) -> None:
        """Parts without a queue can be closed as well."""
        parts = self.open(self.settings(), seams=("routing",), given={"routing": FakeRouting()})
        self.assertEqual(parts.routing.name, "FakeRouting")
        self.successResultOf(Deferred.fromCoroutine(parts.close()))

    def test_mailboxes(self) -> None:
        """An agent without mailboxes must not keep the server from starting."""
        given = {"accounts": FakeAccounts(), "delivery": FakeAgent(), "routing": FakeRouting()}
        parts = self.open(self.settings(), seams=tuple(given), given=given)
        self.assertIsNotNone(parts.portal())
        self.assertEqual(parts.local_agent().name, "FakeAgent")
        self.assertEqual(parts.relay_agent().name, "relay")
        self.assertIsNotNone(parts.router())

    def best_exchanger(self, address: str, *listen: str, protocol: Any = "smtp") -> bool:
        """Whether the host at an address is taken for ourselves."""
        zone = {"x.example": {"MX": [(1, "y.example")]}, "y.example": {}}
        zone["y.example"]["AAAA" if ":" in address else "A"] = [address]
        server = ServerSettings(name="mx", protocol=protocol, listen=listen)
        settings = attrs.evolve(self.settings(), servers=(server,))
        settings = attrs.evolve(settings, relay=RelaySettings(allow_private=True))
        parts = self.open(settings, seams=(), resolver=FakeResolver(zone, self.reactor))
        route = Relay(reason="r", hops=(NextHop(where="mx:x.example"),))
        relay = parts.relay_agent().part
        (hop,) = self.successResultOf(Deferred.fromCoroutine(relay.plan(route)))
        return hop.reply is not None and str(hop.reply).startswith("554 5.4.6")

    def test_ourselves(self) -> None:
        """Mail for a domain whose MX points to us by another name would go round in a circle."""
        resolved: list[Any] = []

        def getaddrinfo(host: str, *args: Any, **kw: Any) -> list[Any]:
            resolved.append(host)
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0)),
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::9%eth0", 0, 0, 2)),
            ]

        self.patch(assembly.socket, "getaddrinfo", getaddrinfo)
        for address, listen, ours in (
            ("192.0.2.7", "tcp:25:interface=192.0.2.7", True),
            ("192.0.2.8", "tcp:25:interface=192.0.2.7", False),
            ("192.0.2.7", "tcp:2525:interface=192.0.2.7", False),
            ("2001:db8::7", "tcp6:25:interface=2001\\:db8\\:0\\:\\:7", True),
            ("192.0.2.7", "tcp:25:interface=name.example", False),
            ("192.0.2.7", "unix:/run/mail", False),
        ):
            self.assertEqual(self.best_exchanger(address, listen), ours, listen)
        self.assertEqual(resolved, [])
        for address, listen, ours in (
            ("192.0.2.9", "tcp:25", True),
            ("127.0.0.1", "tcp:25", True),
            ("2001:db8::9", "tcp:25", False),
            ("2001:db8::9", "tcp6:25", True),
            ("::1", "tcp6:25", True),
            ("192.0.2.9", "tcp6:25", True),  # Linux hands its IPv4 connections to it as well
            ("192.0.2.8", "tcp:25", False),
        ):
            self.assertEqual(self.best_exchanger(address, listen), ours, listen)
        self.assertEqual(set(resolved), {socket.gethostname()})
        self.assertTrue(self.best_exchanger("192.0.2.7", "tcp:26", "tcp:25:interface=192.0.2.7"))
        listen = "tcp:25:interface=192.0.2.7"
        self.assertTrue(self.best_exchanger("192.0.2.7", listen, protocol="submission"))
        self.assertFalse(self.best_exchanger("192.0.2.7", listen, protocol="pop3"))

    def test_machine_without_a_name(self) -> None:
        """The server would not start where the machine's own name has no address."""

        def getaddrinfo(*args: Any, **kw: Any) -> list[Any]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        self.patch(assembly.socket, "getaddrinfo", getaddrinfo)
        self.assertTrue(self.best_exchanger("127.0.0.1", "tcp:25"))
        self.assertFalse(self.best_exchanger("192.0.2.9", "tcp:25"))

    def test_builder_with_a_mistake(self) -> None:
        """A plugin's bug must be told by the plugin's name, with its traceback in the log."""
        with self.assertRaises(PartError) as caught:
            self.open(self.settings(routing=f"{__name__}:failing"), seams=("routing",))
        self.assertIn("[routing] plugin 'routing' can't be built: KeyError", str(caught.exception))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_builder_that_is_not_there(self) -> None:
        """A plugin that is only half installed."""
        with self.assertRaises(PartError) as caught:
            self.open(self.settings(routing="no_such_module:x"), seams=("routing",))
        self.assertIn("can't be loaded", str(caught.exception))

    def closing(self, answer: Deferred[None]) -> list[str]:
        """How often the queue is closed when a part after it can't be built."""
        closed: list[str] = []

        def close(_self: object) -> Deferred[None]:
            closed.append("closed")
            return answer

        self.patch(MemoryStorage, "close", close)
        settings = self.settings(queue="mailframe.queue.memory:build", delivery="no_such_module:x")
        with self.assertRaises(PartError):
            self.open(settings, seams=("queue", "delivery"))
        return closed

    def test_queue_is_closed(self) -> None:
        """A queue that nobody uses must not stay locked."""
        self.assertEqual(self.closing(succeed(None)), ["closed"])
        self.assertEqual(self.closing(fail(OSError("disk"))), ["closed"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_site(self) -> None:
        """What is not lent is the real thing."""
        settings = attrs.evolve(self.settings(), local_domains=("b.example", "a.example"))
        site = make_site(settings, self.reactor)
        self.assertEqual(site.local_domains, frozenset(["a.example", "b.example"]))
        self.assertIsInstance(site.random, SystemRandom)
        self.assertEqual(self.successResultOf(site.in_thread(pow, 2, 3)), 8)
        self.failureResultOf(site.in_thread(int, "x"), ValueError)
        site = make_site(settings, self.reactor, random=Random(0))
        self.assertIsInstance(site.random, Random)

    def test_thread_pool(self) -> None:
        """Blocking work must not hold up the reactor when it has threads."""
        reactor = ThreadedReactor()
        site = make_site(self.settings(), reactor, resolver=FakeResolver({}, reactor))
        worked = site.in_thread(pow, 2, 3)
        reactor.advance(0)
        self.assertEqual(self.successResultOf(worked), ("in a thread", 8))

"""Building parts."""

from __future__ import annotations

import os
from random import Random, SystemRandom
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.assembly import PartError, make_site, open_parts
from mailframe.interfaces import Site
from mailframe.plugin import Part
from mailframe.queue.memory import MemorySettings, MemoryStorage
from mailframe.settings import Chosen, Settings
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

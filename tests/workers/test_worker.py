"""Covers mailframe.workers.worker."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import trustme
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.certificates import read_key_pair
from mailframe.listening import CannotListen
from mailframe.server.client_records import ClientRecords
from mailframe.testing.network import VirtualReactor
from mailframe.workers import worker as module
from mailframe.workers.balance import Balance, Counts
from mailframe.workers.messages import ALIVE_EVERY, Greeting, Order, line
from mailframe.workers.shared import Shared
from mailframe.workers.worker import FromParent, WorkerServer, main, read_first_line, serve

TLS = '[tls]\ncertificate = "chain.pem"\nprivate_key = "key.pem"\n'


class WorkerReactor(VirtualReactor):
    """Runs for as long as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.to_do: list[Any] = []
        self.triggers: list[Any] = []
        self.stopped = 0
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def getReaders(self) -> list[Any]:
        return self.readers

    def callWhenRunning(self, callable: Any, *args: Any, **kw: Any) -> None:
        self.to_do.append(lambda: callable(*args, **kw))

    def addSystemEventTrigger(self, phase: str, event: str, callable: Any, *args: Any) -> None:
        self.triggers.append((phase, event, callable))

    def run(self) -> None:
        for each in self.to_do:
            each()

    def stop(self) -> Any:
        self.stopped += 1


class Case(SynchronousTestCase):
    """A folder with a configuration."""

    def setUp(self) -> None:
        self.reactor = WorkerReactor()
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "mailframe.toml")
        with open(os.path.join(self.folder, "accounts.toml"), "w"):
            pass

    def text(self, more: str = "", top: str = "processes = 2", hostname: str = "mx") -> str:
        """A configuration whose parts need no thread."""
        return f'hostname = "{hostname}.here.example"\n{top}\n[queue]\nplugin = "sqlite"\n{more}'

    def greeting(self, first: Order, latest: Order | None = None, sockets: Any = ()) -> Greeting:
        return Greeting(
            worker=2,
            workers=2,
            path=self.path,
            first=first,
            latest=latest,
            sockets=tuple(sockets),
            reactor="x",
            log_level="info",
        )

    def make(self, text: str, latest: str | None = None, pair: Any = None) -> WorkerServer:
        """A worker's server."""
        order = None if latest is None else Order(text=latest, pair=pair)
        greeting = self.greeting(Order(text=text, pair=pair), order)
        return WorkerServer(greeting, self.balance(), ClientRecords(), self.reactor)

    def balance(self) -> Balance:
        """What the second of two workers has."""
        self.counts = Counts(2)
        self.addCleanup(self.counts.close)
        return Balance(self.counts, 2)


class ServerTests(Case):
    """The server of a worker."""

    def test_its_share(self) -> None:
        """What is allowed to all of them must not be allowed to each."""
        top = "processes = 3"
        settings = self.make(
            self.text(
                "[limits]\nconnections = 100\nconnections_per_address = 50\n"
                "[relay]\nconnections = 10\nconnections_per_destination = 1\n"
                '[[relay.shaping]]\nname = "a"\nconnections = 4\nrate = "100/1m"\n',
                top,
            )
        ).settings
        self.assertEqual(settings.limits.connections, 34)
        self.assertEqual(settings.limits.connections_per_address, 50)
        self.assertEqual(settings.relay.connections, 4)
        self.assertEqual(settings.relay.connections_per_destination, 1)
        (table,) = settings.relay.shaping
        self.assertEqual((table.connections, table.rate), (2, "33/1m"))
        self.assertIsNone(table.connection_rate)

    def test_one_that_comes_later(self) -> None:
        """It must be as those that were there when the configuration was read again."""
        latest = self.text("[limits]\nrecipients = 7\n", hostname="other")
        settings = self.make(self.text(), latest).settings
        self.assertEqual(settings.limits.recipients, 7)
        self.assertEqual(settings.hostname, "mx.here.example")

    def test_the_file_is_not_read(self) -> None:
        """A file with a mistake in it must not keep a worker from being replaced."""
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(self.make(self.text()).settings.path, self.path)

    def pair(self) -> Any:
        issued = trustme.CA().issue_cert("mx.here.example")
        chain, key = (os.path.join(self.folder, name) for name in ("chain.pem", "key.pem"))
        issued.cert_chain_pems[0].write_to_path(chain)
        issued.private_key_pem.write_to_path(key)
        pair = read_key_pair(chain, key)
        os.remove(key)
        return pair

    def test_key(self) -> None:
        """The key is the one that was handed over, for the file may be root's alone."""
        server = self.make(self.text(TLS), pair=self.pair())
        self.assertIsNotNone(server._load_context(server.settings))
        server = self.make(self.text())
        self.assertIsNone(server._load_context(server.settings))

    def test_orders(self) -> None:
        """It uses what it is told to, and stays as it is when that can't be used."""
        server = self.make(self.text())
        used: list[int] = []
        fine = True

        def reload() -> bool:
            used.append(server._read_again().limits.recipients)
            return fine

        self.patch(server, "reload", reload)
        server.use(Order(text=self.text("[limits]\nrecipients = 7\n"), pair=None))
        fine = False
        server.use(Order(text=self.text("[limits]\nrecipients = 8\n"), pair=None))
        self.assertEqual(used, [7, 8])
        self.assertEqual(server._read_again().limits.recipients, 7)

    def test_sockets(self) -> None:
        """It must listen at what it inherited, and open nothing."""
        opened: list[Any] = []

        def inherit(descriptor: int) -> Any:
            opened.append(descriptor)
            raise OSError(9, "Bad file descriptor")

        from mailframe.workers import sockets

        self.patch(sockets, "inherit", inherit)
        server = '[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = "tcp:25"\n'
        greeting = self.greeting(Order(text=self.text(server), pair=None), sockets=[4])
        made = WorkerServer(greeting, self.balance(), ClientRecords(), self.reactor)
        self.assertRaises((OSError, CannotListen), made.privilegedStartService)
        self.assertEqual(opened, [4])


class FakeServer:
    """Notes what is asked of it."""

    trouble: Exception | None = None
    last: Any = None

    def __init__(self, greeting: Any, balance: Any, records: Any, reactor: Any) -> None:
        self.orders: list[Any] = []
        FakeServer.last = self

    def startService(self) -> None:
        if self.trouble:
            raise self.trouble

    def stopService(self) -> None:
        """Called at the end."""

    def use(self, order: Any) -> None:
        self.orders.append(order)


class ServeTests(Case):
    """From start to end."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[Any] = []
        self.handlers: dict[int, Any] = {}
        self.patch(module, "WorkerServer", FakeServer)
        self.patch(module.signal, "signal", self.handlers.__setitem__)
        self.pieces: list[bytes] = []
        self.patch(module.os, "read", lambda descriptor, size: self.pieces.pop(0))

    def serve(self) -> Any:
        """Serve; the reader of what the supervising process says."""
        speaker: Any = self
        greeting = self.greeting(Order(text="", pair=None))
        serve(greeting, self.balance(), ClientRecords(), speaker, self.reactor)
        (reader,) = self.reactor.getReaders()
        return reader

    def say(self, *words: Any) -> None:
        """In place of a `Speaker`."""
        self.said.append(words)

    def test_life(self) -> None:
        """It says when it serves, takes orders, and ends when nobody is there to give them."""
        reader = self.serve()
        self.assertEqual(self.said, [("ready",)])
        self.counts.set(1, 9)
        self.assertEqual(self.counts.least(), 0, "others may leave clients to it")
        order = Order(text="x", pair=None)
        octets = line(order)
        self.pieces = [octets[:5], octets[5:], b""]
        reader.doRead()
        self.assertEqual(FakeServer.last.orders, [])
        reader.doRead()
        self.assertEqual(FakeServer.last.orders, [order])
        self.assertEqual(self.reactor.stopped, 0)
        reader.doRead()
        self.assertEqual((self.reactor.stopped, self.reactor.getReaders()), (1, []))
        ((phase, event, stop),) = self.reactor.triggers
        self.assertEqual((phase, event, stop.__name__), ("before", "shutdown", "stopService"))

    def test_signs_of_life(self) -> None:
        """Whoever gives none is taken for one that stands still, and is killed."""
        self.serve()
        for _ in range(2):
            self.reactor.advance(ALIVE_EVERY)
        self.assertEqual(self.said, [("ready",), ("alive",), ("alive",)])

    def test_sigterm(self) -> None:
        """Asked more than once, and by more than one, it must stop once and without complaint."""
        reader = self.serve()
        for _ in range(2):
            self.handlers[signal.SIGTERM](signal.SIGTERM, None)
            self.reactor.advance(0)
        self.pieces = [b""]
        reader.doRead()
        self.assertEqual(self.reactor.stopped, 1)

    def test_stopping_already(self) -> None:
        """When the reactor was stopped otherwise, the end of the pipe is no error."""
        reader = self.serve()

        def stop() -> None:
            raise ReactorNotRunning

        self.patch(self.reactor, "stop", stop)
        reader.connectionLost(None)

    def test_cannot_start(self) -> None:
        """The reason must come to the supervising process, and no traceback."""
        self.patch(FakeServer, "trouble", CannotListen("too bad"))
        with self.assertRaises(SystemExit) as caught:
            self.serve()
        self.assertEqual((caught.exception.code, self.said), (1, [("failed", "too bad")]))


class PipeTests(SynchronousTestCase):
    """The pipe from the supervising process."""

    def test_interface(self) -> None:
        """A reactor must be able to watch it."""
        reader = FromParent(VirtualReactor(), 5, lambda octets: None, lambda: None)
        verifyObject(IReadDescriptor, reader)
        self.assertEqual((reader.fileno(), reader.logPrefix()), (5, "FromParent"))

    def test_nothing_there(self) -> None:
        """A false alarm must not be taken for the end."""

        def empty(descriptor: int, size: int) -> bytes:
            raise BlockingIOError

        self.patch(module.os, "read", empty)
        ended: list[None] = []
        FromParent(VirtualReactor(), 5, lambda octets: None, lambda: ended.append(None)).doRead()
        self.assertEqual(ended, [])

    def test_first_line(self) -> None:
        """What comes behind the greeting is for later."""
        reading, writing = os.pipe()
        os.write(writing, b"hello\nmore")
        self.assertEqual(read_first_line(reading), b"hello\n")
        self.assertEqual(os.read(reading, 9), b"more")
        os.write(writing, b"half")
        os.close(writing)
        self.assertRaises(EOFError, read_first_line, reading)
        os.close(reading)


class MainTests(Case):
    """The process."""

    def setUp(self) -> None:
        super().setUp()
        self.handlers: dict[int, Any] = {}
        self.patch(module.signal, "signal", self.handlers.__setitem__)
        self.patch(module.os, "set_inheritable", lambda descriptor, flag: None)

    def test_parent_is_gone(self) -> None:
        """A worker without a supervising process has nothing to do."""

        def nobody(descriptor: int) -> bytes:
            raise EOFError

        self.patch(module, "read_first_line", nobody)
        with self.assertRaises(SystemExit) as caught:
            main()
        self.assertEqual(caught.exception.code, 1)

    def test_order_of_things(self) -> None:
        """Signals of a terminal are ignored, the log goes to the parent, then it serves."""
        installed: list[str] = []
        sys.modules["tests.workers.a_reactor"] = self  # type: ignore[assignment]  # has install()
        self.addCleanup(sys.modules.pop, "tests.workers.a_reactor")
        self.install = lambda: installed.append("installed")
        greeting = self.greeting(Order(text="", pair=None))
        octets = line(greeting).replace(b'"x"', b'"tests.workers.a_reactor"')
        self.patch(module, "read_first_line", lambda descriptor: octets)
        observers: list[Any] = []
        self.patch(module.globalLogBeginner, "beginLoggingTo", observers.extend)
        served: list[Any] = []
        counts = Counts(2)
        self.addCleanup(counts.close)
        self.patch(module, "COUNTS", os.dup(counts.descriptor))
        shared = Shared(2)
        self.addCleanup(shared.close)
        self.patch(module, "SHARED", os.dup(shared.descriptor))
        self.patch(module, "serve", lambda *args: served.append(args))
        main()
        # what a terminal, or whoever rotates the log, sends to all processes
        ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1)
        self.assertEqual(self.handlers, dict.fromkeys(ignored, signal.SIG_IGN))
        self.assertEqual((installed, len(observers), len(served)), (["installed"], 1, 1))
        self.assertEqual(served[0][0].path, self.path)
        served[0][1].begin()
        self.assertEqual(counts.least(), 0)
        served[0][2].tally("mx").add("192.0.2.1")
        self.assertEqual(shared.records(1).tally("mx").count("192.0.2.1"), 1)

"""Covers mailframe.workers.supervisor."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trustme
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mailframe.assembly import PartError
from mailframe.certificates import CertificateError
from mailframe.listening import CannotListen
from mailframe.settings import from_text
from mailframe.workers import supervisor as module
from mailframe.workers.balance import Counts
from mailframe.workers.messages import read_greeting, read_order
from mailframe.workers.place import COUNTS, FIRST_SOCKET, SHARED
from mailframe.workers.shared import Shared
from mailframe.workers.supervisor import STOP_TIME, Supervisor
from tests.workers.fakes import FakeProcess, ProcessReactor

TLS = '[tls]\ncertificate = "chain.pem"\nprivate_key = "key.pem"\n'


class FakeParts:
    """What was built to see whether it can be."""

    def __init__(self, closed: Deferred[None]) -> None:
        self.closed = closed
        self.times = 0

    def close(self) -> Deferred[None]:
        self.times += 1
        return self.closed


class SupervisorTests(SynchronousTestCase):
    """The supervising process, without others."""

    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "mailframe.toml")
        self.failures: list[str] = []
        self.parts = FakeParts(succeed(None))
        self.opened: list[tuple[str, ...]] = []
        self.trouble: PartError | None = None
        self.disks: PartError | None = None
        self.patch(module, "open_parts", self.open_parts)
        self.patch(module, "check_disks", self.check_disks)
        self.supervisor: Supervisor | None = None

    def check_disks(self, settings: Any) -> None:
        if self.disks:
            raise self.disks

    def open_parts(self, settings: Any, reactor: Any, seams: Any = ("all",)) -> FakeParts:
        self.assertIs(reactor, self.reactor)
        self.opened.append(tuple(seams))
        if self.trouble:
            raise self.trouble
        return self.parts

    def write(
        self, more: str = "", processes: int = 2, listen: str = '["tcp:25", "tcp:26"]'
    ) -> str:
        """Write the configuration."""
        text = (
            f'hostname = "mx.here.example"\nprocesses = {processes}\n'
            f'[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = ["tcp:25", "tcp:26"]\n{more}'
        )
        with open(self.path, "w") as file:
            file.write(text)
        return text

    def make(self, *args: Any, **kwargs: Any) -> Supervisor:
        text = self.write(*args, **kwargs)
        self.supervisor = Supervisor(
            settings=from_text(text, self.path),
            text=text,
            on_failed=self.failures.append,
            log_level="info",
            reactor=self.reactor,
        )
        return self.supervisor

    def start(self, *args: Any, **kwargs: Any) -> list[FakeProcess]:
        """Start it; the workers."""
        self.make(*args, **kwargs).startService()
        self.reactor.advance(0)
        return self.reactor.processes

    def make_certificate(self) -> bytes:
        """A certificate; its key."""
        issued = trustme.CA().issue_cert("mx.here.example")
        for name, blob in (
            ("chain.pem", issued.cert_chain_pems[0]),
            ("key.pem", issued.private_key_pem),
        ):
            blob.write_to_path(os.path.join(self.folder, name))
        return issued.private_key_pem.bytes()

    def said(self, call: Any) -> tuple[Any, str]:
        """What a call gives, and what it logs."""
        with capturedLogs() as events:
            result = call()
        return result, "\n".join(formatEvent(event) for event in events)

    # --- starting --------------------------------------------------------------------------------

    def test_start(self) -> None:
        """As many workers as were asked for, each with all the sockets."""
        workers = self.start(processes=3)
        self.assertEqual((len(workers), self.opened, self.parts.times), (3, [("all",)], 1))
        started = self.reactor.started[0]
        self.assertEqual(started["executable"], sys.executable)
        self.assertEqual(started["args"][-2:], ["-m", "mailframe.workers.worker"])
        descriptors = [d for n, d in started["childFDs"].items() if n >= FIRST_SOCKET]
        self.assertEqual(len(set(descriptors)), 2)
        self.assertTrue(all(isinstance(number, int) for number in descriptors))
        greeting = read_greeting(workers[2].written[0])
        self.assertEqual((greeting.worker, greeting.workers), (3, 3))
        self.assertEqual(greeting.sockets, (FIRST_SOCKET, FIRST_SOCKET + 1))
        self.assertEqual((greeting.path, greeting.log_level), (self.path, "info"))
        self.assertEqual(greeting.first.text, self.write(processes=3))
        self.assertEqual((greeting.first.pair, greeting.latest), (None, None))
        self.assertEqual(greeting.reactor, ProcessReactor.__module__)

    def test_a_worker_that_has_ended(self) -> None:
        """Clients must not be left to a worker that is not there."""
        workers = self.start()
        counts = Counts(2, os.dup(self.reactor.started[0]["childFDs"][COUNTS]))
        self.addCleanup(counts.close)
        for worker, clients in ((1, 7), (2, 3)):
            counts.set(worker, clients)
        self.assertEqual(counts.least(), 3)
        shared = Shared(2, os.dup(self.reactor.started[0]["childFDs"][SHARED]))
        self.addCleanup(shared.close)
        shared.records(2).tally("mx").add("192.0.2.1")
        self.assertEqual(shared.records(1).tally("mx").count("192.0.2.1"), 1)
        workers[1].end(None, 9)
        self.assertEqual(counts.least(), 7)
        self.assertEqual(shared.records(1).tally("mx").count("192.0.2.1"), 0)

    def test_workers_find_the_same_code(self) -> None:
        """A checkout that is not installed must work in workers as well."""
        self.patch(sys, "path", ["", "/a", "/b"])
        self.start()
        self.assertEqual(self.reactor.started[0]["env"]["PYTHONPATH"], "/a:/b")

    def test_privileged_start(self) -> None:
        """Key and sockets come before privileges are dropped, workers after that."""
        key = self.make_certificate()
        supervisor = self.make(TLS)
        supervisor.privilegedStartService()
        self.assertEqual(self.opened, [])
        os.remove(os.path.join(self.folder, "key.pem"))
        supervisor.startService()
        self.reactor.advance(0)
        greeting = read_greeting(self.reactor.processes[1].written[0])
        assert greeting.first.pair is not None
        self.assertEqual(greeting.first.pair.private_key, key)

    def test_start_errors(self) -> None:
        """What keeps it from starting must show before there are processes."""
        from twisted.internet.protocol import Factory

        self.assertRaises(CertificateError, self.make(TLS).startService)
        self.make_certificate()
        with open(os.path.join(self.folder, "key.pem"), "w") as file:
            file.write("x")
        self.assertRaises(CertificateError, self.make(TLS).startService)
        port = self.reactor.listenTCP(26, Factory())
        self.assertRaises(CannotListen, self.make().startService)
        port.stopListening()
        self.reactor.advance(0)
        self.trouble = PartError("no accounts")
        self.assertRaises(PartError, self.make().startService)
        self.reactor.advance(0)
        self.trouble, self.disks = None, PartError("in memory")
        self.assertRaises(PartError, self.make().startService)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.processes, [])
        for number in (25, 26):  # none stayed open
            self.reactor.listenTCP(number, Factory())

    def test_not_before_the_trial_is_over(self) -> None:
        """A worker must not find the queue in use by the supervising process."""
        closed: Deferred[None] = Deferred()
        self.parts = FakeParts(closed)
        self.assertEqual(self.start(), [])
        closed.callback(None)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_trial_that_does_not_close(self) -> None:
        """A part that fails to close is a fault to be seen, and none that ends the server."""
        self.parts = FakeParts(fail(ValueError("made for the test")))
        self.assertEqual(len(self.start()), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stopped_during_the_trial(self) -> None:
        """Who stops at once must not leave workers behind."""
        closed: Deferred[None] = Deferred()
        self.parts = FakeParts(closed)
        self.start()
        assert self.supervisor is not None
        stopped = self.supervisor.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        closed.callback(None)
        self.assertEqual(self.reactor.processes, [])

    def test_no_worker_can_start(self) -> None:
        """It is told once that nothing serves, unless something has served already."""
        one, two = self.start()
        one.say("failed", "too bad")
        one.end(1)
        self.assertEqual(self.failures, ["too bad"])
        two.say("ready")
        self.reactor.advance(1)
        self.reactor.processes[-1].end(1)
        self.assertEqual(self.failures, ["too bad"])

    def test_the_global_reactor(self) -> None:
        """`twistd` gives none: it is the one that it installed."""
        from twisted.internet import reactor

        text = self.write()
        made = Supervisor(settings=from_text(text, self.path), text=text, on_failed=lambda _: None)
        self.assertIs(made.reactor, reactor)

    # --- reloading -------------------------------------------------------------------------------

    def reload(self) -> tuple[bool, str]:
        assert self.supervisor is not None
        done, said = self.said(self.supervisor.reload)
        return done, said

    def test_reload(self) -> None:
        """All workers, and those that come later, must use what the file holds now."""
        workers = self.start()
        text = self.write("[limits]\nrecipients = 7\n")
        self.assertEqual(self.reload(), (True, ""))
        for worker in workers:
            self.assertEqual(read_order(worker.written[1]).text, text)
        workers[0].say("ready")
        workers[0].end(None, 9)
        self.reactor.advance(1)
        greeting = read_greeting(self.reactor.processes[-1].written[0])
        assert greeting.latest is not None
        self.assertEqual(greeting.latest.text, text)
        self.assertNotEqual(greeting.first.text, text)

    def test_a_mistake(self) -> None:
        """A slip must disturb nobody."""
        workers = self.start()
        for text in ("hostnme = 3", "=", 'hostname = "mx"\n[queue]\nplugin = "x"'):
            with open(self.path, "w") as file:
                file.write(text)
            done, said = self.reload()
            self.assertFalse(done)
            self.assertIn("the configuration in force stays, for: ", said)
        self.write()
        self.trouble = PartError("no accounts")
        done, said = self.reload()
        self.assertFalse(done)
        self.assertIn("no accounts", said)
        self.assertEqual([len(worker.written) for worker in workers], [1, 1])

    def test_another_certificate(self) -> None:
        """A certificate that was renewed must come to the workers, and one that is lost not."""
        self.make_certificate()
        (worker, _) = self.start(TLS)
        key = self.make_certificate()
        self.assertEqual(self.reload(), (True, ""))
        pair = read_order(worker.written[-1]).pair
        assert pair is not None
        self.assertEqual(pair.private_key, key)
        os.remove(os.path.join(self.folder, "key.pem"))
        done, said = self.reload()
        self.assertTrue(done)
        self.assertIn("the certificate in force stays", said)
        self.assertEqual(read_order(worker.written[-1]).pair, pair)

    def test_no_certificate_at_all(self) -> None:
        """TLS can't begin with a reload when its key can't be read."""
        self.start()
        self.write(TLS)
        self.assertFalse(self.reload()[0])

    def test_reload_closes_its_trial(self) -> None:
        """Each SIGHUP would cost descriptors."""
        self.start()
        self.reload()
        self.assertEqual(self.parts.times, 2)
        self.assertNotIn("queue", self.opened[-1])

    # --- stopping --------------------------------------------------------------------------------

    def test_stop(self) -> None:
        """All workers end by themselves, nobody is let in, and then it is over."""
        workers = self.start()
        assert self.supervisor is not None
        stopped = self.supervisor.stopService()
        self.assertEqual([worker.stdin_is_open for worker in workers], [False, False])
        self.reactor.advance(0)
        workers[0].end(0)
        self.assertNoResult(stopped)
        workers[1].end(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_has_a_limit(self) -> None:
        """A worker that hangs is killed."""
        workers = self.start()
        assert self.supervisor is not None
        stopped = self.supervisor.stopService()
        workers[0].end(0)
        self.reactor.advance(STOP_TIME)
        self.assertEqual([worker.signals for worker in workers], [[], ["KILL"]])
        workers[1].end(None, 9)
        self.successResultOf(stopped)

    def test_problems_are_told(self) -> None:
        """A plugin that can't be used must be in the log."""
        import attrs

        supervisor = self.make()
        supervisor.settings = attrs.evolve(supervisor.settings, problems=("a broken plugin",))
        _, said = self.said(supervisor.startService)
        self.assertIn("a broken plugin", said)

    def test_messages_are_json(self) -> None:
        """What is said to a worker is never unpickled."""
        (worker, _) = self.start()
        self.assertIsInstance(json.loads(worker.written[0]), dict)

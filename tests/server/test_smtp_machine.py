"""Random sessions against a model: whole server, in-memory transport, queue in memory.

A client says valid and invalid commands and messages, pipelined as it likes; octets arrive in any
pieces; decisions and commits take their time or not; storage fails; connections break at any point.
Whatever happens:

- every command gets exactly one reply, in order, and it is the model's;
- what was acknowledged is in the queue, with its sender, its recipients and its content octet for
  octet behind one trace field;
- what is in the queue was acknowledged, or its connection broke when it had arrived whole.

``MAILFRAME_EXAMPLES=5000`` tries more sessions.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Coroutine
from random import Random
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailframe.envelope import Envelope
from mailframe.interfaces import IMessageSink, StorageFault, StorageFull
from mailframe.queue.memory import MemoryStorage
from mailframe.server.limits import Limits
from mailframe.server.smtp import SmtpServerFactory
from mailframe.units import Octets
from tests.dialogues.script import replies
from tests.server import smtp_model
from tests.server.smtp_fakes import FakeRouter, fake_admission, fake_portal
from tests.server.smtp_model import Message, Model

SENDERS = [line for line in smtp_model.COMMANDS if line[:4].upper() == b"MAIL"]
RECIPIENTS = sorted(smtp_model.WHO)
EXAMPLES = int(os.environ.get("MAILFRAME_EXAMPLES", "100"))
LIMITS = Limits(
    message_size=Octets(smtp_model.MAX_SIZE),
    recipients=smtp_model.RECIPIENTS,
    received_hops=smtp_model.HOPS,
    data_line=Octets(smtp_model.MAX_LINE),
    errors=smtp_model.ERRORS,
    junk_commands=smtp_model.JUNK,
    login_failures=1000,
    login_failures_per_address=0,
    login_failures_per_login=0,
)


class Sink:
    """A sink that fails when the content says so, and commits when the test lets it."""

    def __init__(self, storage: SlowStorage, sink: IMessageSink) -> None:
        self.id = sink.id
        self._storage = storage
        self._sink = sink
        self._seen = b""

    def write(self, octets: bytes) -> Awaitable[None] | None:
        """Keep octets."""
        self._seen += octets
        if b"X-Fail: write" in self._seen:
            raise StorageFault("the disk is broken")
        if b"X-Fail: full" in self._seen:
            raise StorageFull("the disk is full")
        return self._sink.write(octets)

    async def commit(self) -> None:
        """Keep the message."""
        if self._storage.gate is not None:
            gate: Deferred[None] = Deferred()
            self._storage.gate.append(gate)
            await gate
        if b"X-Fail: commit" in self._seen:
            raise StorageFault("the disk is broken")
        await self._sink.commit()

    def abort(self) -> None:
        """Forget the message."""
        self._sink.abort()


class SlowStorage(MemoryStorage):
    """The queue in memory, with sinks that may be slow or fail."""

    gate: list[Deferred[None]] | None = None

    def receive(self, envelope: Envelope) -> Any:
        """Begin to keep a message."""
        return Sink(self, super().receive(envelope))


class GatedRouter(FakeRouter):
    """A router that may be slow."""

    gate: list[Deferred[None]] | None = None

    async def route(self, *args: Any) -> Any:
        """Answer when the test lets it."""
        if self.gate is not None:
            gate: Deferred[None] = Deferred()
            self.gate.append(gate)
            await gate
        return await super().route(*args)


@attrs.define
class Line:
    """One connection, seen by the client.

    :ivar expected: the codes of the replies to all that was said
    :ivar messages: for each reply the message that it acknowledges, and how many octets must have
        arrived for it to be whole
    """

    session: Any
    transport: StringTransport
    model: Model
    unsent: bytes = b""
    said: int = 0
    expected: list[int] = attrs.field(factory=lambda: [220])
    messages: dict[int, tuple[Message, int]] = attrs.field(factory=dict)
    read: int = 0

    def say(self, octets: bytes, code: int | None) -> None:
        """Say something, with the reply that it gets."""
        self.unsent += octets
        self.said += len(octets)
        if code is not None:
            self.expected.append(code)


class SmtpMachine(RuleBasedStateMachine):
    """Any sequence of what clients, networks and storage do."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.storage = SlowStorage(clock=self.clock, random=Random(0))
        self.router = GatedRouter()
        parts: Any = {"storage": self.storage, "router": self.router}
        self.server = SmtpServerFactory(
            name="mx",
            protocol="smtp",
            hostname="mx.here.example",
            default_domain="here.example",
            admission=fake_admission(self.clock, limits=LIMITS, **parts),
            portal=fake_portal(),
            tls_context=None,
            tls="none",
            limits=LIMITS,
            clock=self.clock,
        )
        self.acknowledged: dict[str, Message] = {}
        self.in_doubt: list[Message] = []
        self.line = self.connect()

    def connect(self) -> Line:
        """A client comes."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 999))
        session = self.server.buildProtocol(None)
        session.makeConnection(transport)
        return Line(session, transport, Model())

    # --- the client ---------------------------------------------------------------------------

    @rule(line=st.sampled_from(sorted(smtp_model.COMMANDS)))
    def command(self, line: bytes) -> None:
        """Say any command, in or out of sequence."""
        self.line.say(line + b"\r\n", self.line.model.command(line))

    def say_all(self, *lines: bytes) -> None:
        """Say commands one behind the other."""
        for line in lines:
            self.command(line)

    @rule(sender=st.sampled_from(SENDERS), recipients=st.lists(st.sampled_from(RECIPIENTS)))
    def envelope(self, sender: bytes, recipients: list[bytes]) -> None:
        """Say what a good client says before its message."""
        if self.line.model.closed:
            self.lose()
        opening = b"EHLO client.example" if self.line.model.state == "start" else b"RSET"
        self.say_all(opening, sender, b"RCPT TO:<b@here.example>", *recipients)

    @rule(kind=st.sampled_from(sorted(smtp_model.CONTENT)), more=st.sampled_from(RECIPIENTS))
    def hand_over(self, kind: str, more: bytes) -> None:
        """Do all that a good client does."""
        self.envelope(SENDERS[0], [more])
        self.good_message(kind)

    @rule(kind=st.sampled_from(sorted(smtp_model.CONTENT)))
    def good_message(self, kind: str) -> None:
        """Send a message, or learn that it isn't wanted yet."""
        self.send(smtp_model.CONTENT[kind], 250)

    @rule(kind=st.sampled_from(sorted(smtp_model.REFUSED_CONTENT)))
    def bad_message(self, kind: str) -> None:
        """Send a message that can't be taken."""
        self.send(smtp_model.REFUSED_CONTENT[kind], smtp_model.REFUSALS[kind])

    @rule(octets=st.sampled_from(smtp_model.SMUGGLING))
    def smuggle(self, octets: bytes) -> None:
        """Try to have content taken for commands."""
        line = self.line
        code = line.model.data()
        line.say(b"DATA\r\n", code)
        if code == 354:
            line.model.message(554)
            line.say(octets + b".\r\n", line.model.answered(554))
            line.model.closed = True

    @rule(kind=st.sampled_from(sorted(smtp_model.CONTENT)), cut=st.integers(0, 30))
    def good_chunks(self, kind: str, cut: int) -> None:
        """Send a message in chunks, or have them passed over."""
        content = smtp_model.CONTENT[kind]
        line = self.line
        first, last = content[:cut], content[cut:]
        code = line.model.chunk()
        line.say(b"BDAT %d\r\n%b" % (len(first), first), code)
        if code == 250:
            message = line.model.message(250, content)
            line.say(b"bdat %d last\r\n%b" % (len(last), last), 250)
            line.messages[len(line.expected) - 1] = message, line.said

    @rule(octets=st.sampled_from(smtp_model.SMUGGLING))
    def chunk_given_up(self, octets: bytes) -> None:
        """Send a chunk that holds commands, and think better of it."""
        line = self.line
        code = line.model.chunk()
        if code == 250:
            good = b"\r\n.\r\nQUIT\r\n"
            line.say(b"BDAT %d\r\n%b" % (len(good), good), code)
            self.command(b"RSET")
        else:
            line.say(b"BDAT %d LAST\r\n%b" % (len(octets), octets), code)

    def send(self, content: bytes, code: int) -> None:
        """DATA, and what follows 354."""
        line = self.line
        go_ahead = line.model.data()
        line.say(b"DATA\r\n", go_ahead)
        if go_ahead == 354:
            message = line.model.message(code, content)
            code = line.model.answered(code)
            stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
            line.say(stuffed + b".\r\n", code)
            if code == 250:
                line.messages[len(line.expected) - 1] = message, line.said

    # --- the network --------------------------------------------------------------------------

    @rule(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
    def arrive(self, sizes: list[int]) -> None:
        """Some octets arrive."""
        for size in sizes:
            self.pass_on(size)

    @rule()
    def all_arrive(self) -> None:
        """All that was said arrives in one segment."""
        self.pass_on(len(self.line.unsent))

    def pass_on(self, size: int) -> None:
        """Octets arrive, unless the server reads none at present."""
        line = self.line
        if line.unsent and line.transport.producerState == "producing":
            piece, line.unsent = line.unsent[:size], line.unsent[size:]
            line.session.dataReceived(piece)

    @rule()
    def lose(self) -> None:
        """The connection breaks, and the client comes again."""
        self.compare()
        line = self.line
        arrived = line.said - len(line.unsent)
        self.in_doubt += [
            message
            for place, (message, end) in line.messages.items()
            if place >= line.read and end <= arrived
        ]
        line.session.connectionLost(Failure(ConnectionLost()))
        self.line = self.connect()

    @rule()
    def leave_during_commit(self) -> None:
        """The connection breaks when a message has arrived and was not answered."""
        self.hand_over("plain", RECIPIENTS[0])
        if self.storage.gate is None:
            self.commits_take_time()
        self.all_arrive()
        self.lose()

    # --- the server's own parts ---------------------------------------------------------------

    @precondition(lambda self: self.router.gate is None)
    @rule()
    def decisions_take_time(self) -> None:
        """The routing policy thinks."""
        self.router.gate = []

    @precondition(lambda self: self.storage.gate is None)
    @rule()
    def commits_take_time(self) -> None:
        """The disk is slow."""
        self.storage.gate = []

    @rule()
    def go_on(self) -> None:
        """What took time is done, in whatever order the parts please."""
        for part in (self.storage, self.router):
            gates, part.gate = part.gate, None  # type: ignore[attr-defined]  # both have it
            for gate in gates or ():
                if not gate.called:
                    gate.callback(None)

    # --- what must be -------------------------------------------------------------------------

    @invariant()
    def compare(self) -> None:
        """The replies are those of the model, in order."""
        line = self.line
        found = replies(line.transport.value())
        codes = [int(reply[:3]) for reply in found]
        assert codes == line.expected[: len(codes)], (codes, line.expected)
        for place in range(line.read, len(found)):
            if place in line.messages:
                id = found[place].removeprefix("250 2.0.0 queued as ")
                assert id not in self.acknowledged
                self.acknowledged[id] = line.messages[place][0]
        line.read = len(found)

    def settle(self) -> None:
        """Let all happen that is still to happen."""
        self.go_on()
        self.all_arrive()
        assert not self.line.unsent, "the server has stopped to read"
        self.compare()
        line = self.line
        assert line.read == len(line.expected), line.expected[line.read :]
        assert line.transport.disconnecting == line.model.closed

    @rule()
    def look(self) -> None:
        """The queue holds what it should."""
        self.settle()
        in_doubt = list(self.in_doubt)
        ids = {entry.id for entry in now(self.storage.messages(None, 10_000))}
        assert ids >= self.acknowledged.keys(), "an acknowledged message is lost"
        for id in ids:
            message = self.acknowledged.get(id)
            kept = self.kept(id)
            if message is None:
                assert kept in in_doubt, "a message is kept that nobody was told of"
                in_doubt.remove(kept)
            else:
                assert kept == message, (kept, message)

    def kept(self, id: str) -> Message:
        """A message as it is in the queue."""
        entry = now(self.storage.find(id))
        content = now(now(self.storage.open(id)).read())
        trace, end, rest = content.partition(b"+0000\r\n")
        assert trace.startswith(b"Received: from "), content
        assert end
        assert rest not in smtp_model.NO_HEADER, content
        if rest.removeprefix(b"\r\n") in smtp_model.NO_HEADER:
            rest = rest.removeprefix(b"\r\n")
        sender = entry.envelope.sender
        return Message(
            None if sender is None else str(sender),
            tuple(str(recipient.address) for recipient in entry.recipients),
            rest,
        )

    def teardown(self) -> None:
        """The end of a run."""
        self.look()
        self.line.session.connectionLost(Failure(ConnectionLost()))
        assert self.clock.getDelayedCalls() == []


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of what needs no time."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


class MachineTests(SynchronousTestCase):
    """No client and no network brings the server out of step."""

    def test_sessions(self) -> None:
        """Mail is lost, doubled, forged or mixed up in some sequence of events."""
        run_machine(
            SmtpMachine,
            settings=settings(
                deadline=None,
                max_examples=EXAMPLES,
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
            ),
        )

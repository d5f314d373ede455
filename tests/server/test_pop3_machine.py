"""Random sessions against a model: whole server, in-memory transport, a real Maildir.

A client says what it likes, pipelined as it likes; octets arrive in any pieces; threads take their
time or not; connections break at any point; messages come, go and are flagged by another program;
the server is started anew. Whatever happens:

- every command gets exactly one response, in order, and it is the model's;
- what the mailbox holds at the end is what came into it, without what was marked in a session that
  ended with QUIT, and without what the other program removed;
- a message keeps its unique id, and no other has it.

``MAILFRAME_EXAMPLES=5000`` tries more sessions.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.accounts.realm import make_portal
from mailframe.delivery import maildir_session, read_ahead
from mailframe.delivery.mailbox import Mailboxes
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.files import Files
from mailframe.interfaces import IMailboxStore
from mailframe.server.limits import Limits
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation
from tests.server.pop3_fakes import MARY
from tests.server.pop3_model import LOGIN, Model, Stored

EXAMPLES = int(os.environ.get("MAILFRAME_EXAMPLES", "60"))
NUMBERS = st.sampled_from([1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 0])
COMMANDS = st.one_of(
    st.sampled_from([b"STAT", b"STAT", b"LIST", b"UIDL", b"RSET", b"CAPA"]),
    st.builds(
        lambda word, number: b"%b %d" % (word, number),
        st.sampled_from([b"LIST", b"UIDL", b"RETR", b"RETR", b"DELE", b"DELE"]),
        NUMBERS,
    ),
    st.builds(lambda number, lines: b"TOP %d %d" % (number, lines), NUMBERS, st.integers(0, 3)),
    st.sampled_from([*LOGIN, b"NOOP"]),
)
CONTENTS = st.lists(
    st.sampled_from([b"", b".", b"..", b"A: b", b"hello", b".x\xff", b"x" * 300]), max_size=6
).map(lambda lines: b"A: 1\n" + b"".join(line + b"\n" for line in lines))
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=8)


@implementer(IMailboxStore)
class Store:
    """Opens the one mailbox."""

    def __init__(self, folder: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._path = MailboxPath(folder, ("mary",))
        self._mailboxes = Mailboxes(Files(), in_thread)

    def open_mailbox(self, mailbox: object) -> Any:
        """Open it."""
        return self._mailboxes.open(self._path, 0.0)


class Line:
    """One connection."""

    def __init__(self, server: Pop3ServerFactory) -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 999))
        self.session = server.buildProtocol(None)
        self.session.makeConnection(self.transport)
        self.transport.clear()
        self.model = Model()

    def lose(self) -> None:
        """The connection breaks."""
        self.session.connectionLost(Failure(ConnectionLost()))


class Pop3Machine(RuleBasedStateMachine):
    """Any sequence of what clients, networks, threads and other programs do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="mailframe-pop3-")
        for name in ("tmp", "new", "cur"):
            os.makedirs(f"{self.folder}/mary/{name}")
        self.clock = Clock()
        self.threads: list[Callable[[], None]] | None = None
        self.there: list[Stored] = []  # in the order of arrival
        self.came = 0
        for number in range(4):
            self.arrives(b"A: %d\n\n.hello\n\n" % number, number % 2 == 0)
        self.start()

    def start(self) -> None:
        """Start a server, and connect."""
        self.server = Pop3ServerFactory(
            name="pop",
            hostname="pop.example",
            portal=make_portal(FakeAccounts({MARY: b"sesame"}), Store(self.folder, self.in_thread)),
            authorisation=FakeAuthorisation(),
            authorisation_name="fake",
            tls_context=None,
            tls="none",
            limits=Limits(errors=1000),
            clock=self.clock,
            in_thread=self.in_thread,
        )
        self.line = Line(self.server)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        """Work that is done at once, or when `go_on` comes to it."""
        done: Deferred[Any] = Deferred(lambda _: None)

        def work() -> None:
            maybeDeferred(function, *args).addBoth(done.callback)

        if self.threads is None:
            work()
        else:
            self.threads.append(work)
        return done

    def go_on(self) -> None:
        """Let all work be done, and all answers be given."""
        self.clock.advance(0)
        while self.threads:
            self.threads.pop(0)()
            self.clock.advance(0)

    # --- the client ---------------------------------------------------------------------------

    def say(self, commands: list[bytes], sizes: list[int]) -> None:
        """Say commands in pieces, and see that the responses are the model's."""
        line = self.line
        expected = b"".join(line.model.answer(command, self.there) for command in commands)
        octets = b"".join(command + b"\r\n" for command in commands)
        place = 0
        while octets:
            size = sizes[place % len(sizes)]
            line.session.dataReceived(octets[:size])
            octets = octets[size:]
            place += 1
        self.go_on()
        assert line.transport.value() == expected, (commands, line.transport.value(), expected)
        line.transport.clear()
        assert line.transport.disconnecting == line.model.left
        if line.model.left:
            self.end()

    def end(self) -> None:
        """The session is over; the client comes again."""
        line = self.line
        line.lose()
        self.go_on()
        for message in line.model.removed():
            if message in self.there:
                self.there.remove(message)
        self.line = Line(self.server)

    @rule(commands=st.lists(COMMANDS, min_size=1, max_size=12), sizes=SIZES)
    def commands(self, commands: list[bytes], sizes: list[int]) -> None:
        """Say anything."""
        self.say(commands, sizes)

    @rule(commands=st.lists(COMMANDS, max_size=12), sizes=SIZES)
    def commands_after_the_login(self, commands: list[bytes], sizes: list[int]) -> None:
        """Say what is said with a mailbox."""
        login = LOGIN if self.line.model.messages is None else ()
        self.say([*login, *commands], sizes)

    @rule(sizes=SIZES)
    def fetch_all(self, sizes: list[int]) -> None:
        """Fetch one after the other, as ordinary clients do."""
        self.commands_after_the_login([], sizes)
        for number in range(1, len(self.line.model.messages or ()) + 1):
            self.say([b"RETR %d" % number], sizes)

    @precondition(lambda self: self.line.model.messages is not None)
    @rule(commands=st.lists(COMMANDS, max_size=8), sizes=SIZES)
    def leave(self, commands: list[bytes], sizes: list[int]) -> None:
        """Say goodbye, behind other commands."""
        self.say([*commands, b"QUIT"], sizes)

    @precondition(lambda self: self.line.model.messages is not None)
    @rule(commands=st.lists(COMMANDS, max_size=8), cut=st.integers(0, 200))
    def drop(self, commands: list[bytes], cut: int) -> None:
        """The connection breaks, maybe within QUIT."""
        line, self.threads = self.line, None
        octets = b"".join(command + b"\r\n" for command in [*commands, b"QUIT"])[:cut]
        for command in octets.split(b"\r\n")[:-1]:
            line.model.answer(command, self.there)
        line.session.dataReceived(octets)
        self.clock.advance(0)
        self.end()

    @precondition(lambda self: self.line.model.messages is not None)
    @rule()
    def second_session(self) -> None:
        """Another client wants the same mailbox."""
        other = Line(self.server)
        other.session.dataReceived(b"".join(line + b"\r\n" for line in LOGIN))
        self.go_on()
        assert other.transport.value().startswith(b"+OK send PASS\r\n-ERR [IN-USE] ")
        other.lose()
        self.go_on()

    # --- the world ----------------------------------------------------------------------------

    @rule()
    def threads_take_time(self) -> None:
        """The disk is slow."""
        self.threads = [] if self.threads is None else self.threads

    @rule()
    def threads_take_none(self) -> None:
        """The disk is fast."""
        self.threads = None

    @rule(content=CONTENTS, tells=st.booleans())
    def arrives(self, content: bytes, tells: bool) -> None:
        """A message comes."""
        self.came += 1
        base = f"{1_700_000_000 + self.came // 2}.M{self.came:04}.host"
        message = Stored(base, content)
        if tells:
            message = Stored(f"{base},S={len(content)},W={message.size}", content)
        with open(f"{self.folder}/mary/tmp/{base}", "wb") as file:
            file.write(content)
        os.rename(f"{self.folder}/mary/tmp/{base}", f"{self.folder}/mary/new/{message.base}")
        self.there.append(message)

    @rule(place=st.integers(0, 4), flags=st.sampled_from(["", "S", "RS", "T"]))
    def is_flagged(self, place: int, flags: str) -> None:
        """Another program reads or flags a message."""
        if place < len(self.there):
            base = self.there[place].base
            os.rename(self.find(base), f"{self.folder}/mary/cur/{base}:2,{flags}")

    @precondition(lambda self: self.line.model.messages is None)
    @rule(place=st.integers(0, 4))
    def is_removed(self, place: int) -> None:
        """Another program removes a message."""
        if place < len(self.there):
            os.unlink(self.find(self.there.pop(place).base))

    @precondition(lambda self: self.line.model.messages is not None)
    @rule()
    def restart(self) -> None:
        """The server is started anew."""
        self.line.lose()
        self.go_on()
        self.start()

    def find(self, base: str) -> str:
        """Where a message lies."""
        (path,) = (
            f"{self.folder}/mary/{sub}/{name}"
            for sub in ("new", "cur")
            for name in os.listdir(f"{self.folder}/mary/{sub}")
            if name.partition(":")[0] == base
        )
        return path

    def teardown(self) -> None:
        """The end of a run."""
        try:
            self.restart()
            self.threads = None
            self.say([*LOGIN, b"LIST", b"UIDL", b"QUIT"], [1000])
            names = [
                name.partition(":")[0]
                for sub in ("new", "cur")
                for name in os.listdir(f"{self.folder}/mary/{sub}")
            ]
            assert sorted(names) == sorted(message.base for message in self.there)
            self.line.lose()
            assert self.clock.getDelayedCalls() == []
        finally:
            shutil.rmtree(self.folder)


class MachineTests(SynchronousTestCase):
    """No client, network or other program brings the server out of step."""

    def test_sessions(self) -> None:
        """Mail is deleted that was not to be, mixed up, or not told of, in some order of events."""
        # As if mailboxes were large and messages too, so that little will do.
        self.patch(maildir_session, "MANY", 2)
        self.patch(maildir_session, "AT_ONCE", 250)
        self.patch(read_ahead, "RUN", 4)
        self.patch(read_ahead, "RUN_SIZE", 600)
        run_machine(
            Pop3Machine,
            settings=settings(
                deadline=None,
                max_examples=EXAMPLES,
                stateful_step_count=30,
                suppress_health_check=list(HealthCheck),
            ),
        )

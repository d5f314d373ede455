"""``mailframe send``."""

from __future__ import annotations

import getpass
import io
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.cli import send as send_module
from mailframe.cli.outgoing import read_message
from mailframe.cli.parts import with_storage
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, StorageFault, StorageFull
from mailframe.outcome import Local
from mailframe.settings import load
from tests.cli.commands import CommandCase

TEXT = "Subject: hello\n\nHello!\n"
JSMITH = "jsmith@mindspring.com"


class SendCase(CommandCase):
    """A configuration with one account."""

    def setUp(self) -> None:
        super().setUp()
        self.add_account()

    def send(self, *arguments: str, stdin: str | bytes = TEXT, status: int = 0) -> str:
        """Send; the queue id."""
        return self.run_here("send", *arguments, stdin=stdin, status=status).stdout.strip()

    def content(self, id: str) -> bytes:
        """A queued message."""

        async def read(storage: IQueueStorage) -> bytes:
            content = await as_deferred(storage.open(id))
            pieces = []
            while piece := await as_deferred(content.read()):
                pieces.append(piece)
            content.close()
            return b"".join(pieces)

        return with_storage(load(self.config), read)

    def recipients(self, id: str) -> list[str]:
        return [each["address"] for each in self.document("queue", "show", id)["recipients"]]


class Sending(SendCase):
    """What gets into the queue."""

    def test_queued(self) -> None:
        """A program could not send mail."""
        id = self.send("-f", "angelo@rosse.example", JSMITH, "angelo@rosse.example")
        document = self.document("queue", "show", id)
        self.assertEqual(document["sender"], "angelo@rosse.example")
        self.assertEqual(document["body"], "7BIT")
        self.assertEqual(self.recipients(id), [JSMITH, "angelo@rosse.example"])
        content = self.content(id)
        self.assertEqual(document["size"], len(content))
        header, _, body = content.partition(b"\r\n\r\n")
        self.assertEqual(body, b"Hello!\r\n")
        self.assertTrue(header.startswith(b"Received: from [127.0.0.1]"), header)
        self.assertIn(id.encode(), header)
        self.assertIn(b"\r\nSubject: hello\r\nFrom: angelo@rosse.example\r\nDate: ", header)
        self.assertIn(b"\r\nMessage-ID: <", header)
        self.assertIn(b"@mx.rosse.example>", header)

    def test_large(self) -> None:
        """A message with an attachment would arrive cut or changed."""
        body = b"0123456789abcdef\r\n" * 20_000
        id = self.send("-f", "angelo@rosse.example", JSMITH, stdin=b"Subject: x\r\n\r\n" + body)
        self.assertEqual(self.content(id).partition(b"\r\n\r\n")[2], body)

    def test_eight_bit(self) -> None:
        """An umlaut would be sent to a server that was told there is none."""
        id = self.send(JSMITH, stdin="Subject: x\n\nJ\u00f6rg\n".encode())
        self.assertEqual(self.document("queue", "show", id)["body"], "8BITMIME")

    def test_sender(self) -> None:
        """Bounces would go astray."""
        for arguments, expected in (
            (("-f", "<a@blu.example>"), "a@blu.example"),
            (("-r", "a@blu.example"), "a@blu.example"),
            (("-f", "angelo"), "angelo@rosse.example"),
            (("-f", ""), None),
            (("-f", "<>"), None),
        ):
            id = self.send(*arguments, JSMITH)
            self.assertEqual(self.document("queue", "show", id)["sender"], expected)

    def test_default_sender(self) -> None:
        """Every cron job would have to name a sender."""
        for user, expected in (("Angelo", "angelo@rosse.example"), ("bob", "bob@mx.rosse.example")):
            self.patch(getpass, "getuser", lambda user=user: user)
            id = self.send(JSMITH)
            self.assertEqual(self.document("queue", "show", id)["sender"], expected)
        self.patch(getpass, "getuser", lambda: "")
        self.send(JSMITH, status=2)

    def test_internationalised(self) -> None:
        """A user with an umlaut in the name could not send, or no server would be told of it."""
        id = self.send("-f", "j\u00f6rg@rosse.example", "-F", "J\u00f6rg", JSMITH)
        self.assertIn(
            "From: =?utf-8?b?SsO2cmc=?= <j\u00f6rg@rosse.example>\r\n".encode(), self.content(id)
        )
        id = self.send("-f", "j\u00f6rg@rosse.example", JSMITH)
        self.assertIn("From: j\u00f6rg@rosse.example\r\n".encode(), self.content(id))

    def test_null_sender_has_a_from(self) -> None:
        """A bounce made by a program would have no author."""
        content = self.content(self.send("-f", "<>", JSMITH))
        self.assertIn(b"From: MAILER-DAEMON@mx.rosse.example\r\n", content)


class LikeSendmail(SendCase):
    """Programs that call ``sendmail``."""

    def test_header_recipients(self) -> None:
        """Programs that leave the recipients to the header could not send."""
        text = f"To: J <{JSMITH}>\nCc: a@x.example\nBcc: b@x.example\nSubject: x\n\nhello\n"
        id = self.send("-t", "-i", "-f", "angelo@rosse.example", "c@x.example", stdin=text)
        self.assertEqual(self.recipients(id), ["c@x.example", JSMITH, "a@x.example", "b@x.example"])
        self.assertNotIn(b"b@x.example", self.content(id))

    def test_flags(self) -> None:
        """Programs would fail for a flag that has no meaning here."""
        for flags in (("-oi",), ("-i",), ("-oem", "-oi"), ("-bm",), ("-ti",)):
            id = self.send(
                *flags, "-F", "Angelo R.", JSMITH, stdin=f"To: {JSMITH}\n\nhello\n.\nx\n"
            )
            content = self.content(id)
            self.assertTrue(content.endswith(b"\r\nhello\r\n.\r\nx\r\n"))
            self.assertIn(b'From: "Angelo R." <', content)

    def test_short_recipients(self) -> None:
        """Mail for a local user would need the whole address."""
        self.assertEqual(self.recipients(self.send("angelo")), ["angelo@rosse.example"])

    def test_modes(self) -> None:
        """A program that wants to speak SMTP over a pipe would wait for ever."""
        for flag in ("-bs", "-bp", "-bd"):
            self.send(flag, JSMITH, status=2)


class Refusing(SendCase):
    """What does not get into the queue."""

    def assert_refused(self, *arguments: str, status: int, stdin: str | bytes = TEXT) -> str:
        result = self.run_here("send", *arguments, stdin=stdin, status=status)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.document("queue", "list"), {"messages": []})
        return result.stderr

    def test_unknown_recipient(self) -> None:
        """A mistyped local address would only be told of by a bounce."""
        error = self.assert_refused(JSMITH, "nobody@rosse.example", status=1)
        self.assertIn("nobody@rosse.example: 550 5.1.1", error)
        self.assertNotIn(JSMITH, error)

    def test_misuse(self) -> None:
        """A wrong call would end in a traceback, or send a message to nobody."""
        self.assert_refused(status=2)
        self.assert_refused("a b@x.example", status=2)
        self.assert_refused("-f", "a@b@c", JSMITH, status=2)
        self.assert_refused("-F", "x\nBcc: y", JSMITH, status=2)
        self.assert_refused("--nonsense", JSMITH, status=2)

    def test_headers(self) -> None:
        """A header that names nobody would make a message without recipients."""
        self.assert_refused("-t", stdin="Subject: x\n\nTo: a@x.example\n", status=1)
        self.assert_refused("-t", stdin="To: a@x.example b@x.example\n\n", status=1)

    def test_too_large(self) -> None:
        """A program could fill the disk."""
        self.configure("[queue]", '[limits]\nmessage_size = "1KB"\n\n[queue]')
        self.assert_refused(JSMITH, stdin="Subject: x\n\n" + "x" * 2000, status=1)

    def test_loop(self) -> None:
        """Two servers that forward to each other through programs would never stop."""
        self.assert_refused(JSMITH, stdin="Received: x\n" * 50 + TEXT, status=1)

    def test_storage_faults(self) -> None:
        """A full disk would end in a traceback, or pass unnoticed."""
        for fault in (StorageFull("no space left"), StorageFault("broken")):

            async def put(*_: object, fault: Exception = fault) -> str:
                raise fault

            self.patch(send_module, "put", put)
            error = self.assert_refused(JSMITH, status=1)
            self.assertIn(str(fault), error)


class _Sink:
    """A sink whose disk is full from the second piece on."""

    id = "abc"

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.aborted = False
        self.room: Deferred[None] = Deferred()

    def write(self, octets: bytes) -> Deferred[None]:
        self.pieces.append(octets)
        return self.room

    def abort(self) -> None:
        self.aborted = True


class _Parts:
    """Just enough of the server's parts."""

    def __init__(self, sink: _Sink) -> None:
        clock = Clock()
        route = Local(reason="x", mailbox=Address("a", "b.example"))

        class Router:
            async def route(self, *_: object) -> Local:
                return route

        storage = SimpleNamespace(receive=lambda envelope: sink)
        self.site = SimpleNamespace(reactor=clock, hostname="mx.rosse.example")
        self.queue = SimpleNamespace(part=storage)
        self.router = Router


class Putting(SynchronousTestCase):
    """Between routing and commit."""

    def test_back_pressure_and_abort(self) -> None:
        """A large message would fill the memory; one that could not be written would stay."""
        sink = _Sink()
        message = read_message(
            io.BytesIO(b"Subject: x\n\n" + b"x\n" * 100_000).readline, limit=10**6
        )
        letter = send_module.Letter(
            sender=None, recipients=(Address("a", "b.example"),), message=message, added=b""
        )
        parts: Any = _Parts(sink)
        done = Deferred.fromCoroutine(send_module.put(parts, letter))
        self.assertNoResult(done)
        self.assertEqual(len(sink.pieces), 1)
        sink.room.errback(StorageFull("no space left"))
        self.failureResultOf(done, StorageFull)
        self.assertTrue(sink.aborted)

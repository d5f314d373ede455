"""What a message needs of the next server, and what becomes of it where that is not offered."""

from __future__ import annotations

import email
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import CancelledError, Deferred

from mailframe.address import Address
from mailframe.delivery.mta_sts_cache import PolicyFiles, Stored
from mailframe.delivery.mta_sts_policy import StsPolicy
from mailframe.delivery.tls_sources import POLICIES
from mailframe.envelope import DeliverBy, Recipient
from mailframe.outcome import Delivered, NextHop, Outcome, Postponed, Refused
from mailframe.testing.contents import FakeContent
from mailframe.testing.samples import EVIDENCE
from tests.delivery.relaying import ANGELO, BLU, BOB, CAROL, CONTENT, FIRST, SECOND, RelayCase
from tests.delivery.servers import SILENCE, ScriptedServer
from tests.delivery.test_tls_policy import server_options, trust_root

PLAIN = b"250 mx\r\n"
WIDE = Address("jürgen", "blu.example")
GREETINGS = "Schöne Grüße aus Rosse an alle, die uns lesen"
GRUESSE = f"Subject: x\r\n\r\n{GREETINGS}\r\n".encode()
SIGNED = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--b--\r\n"
)


def ehlo(*extensions: str) -> bytes:
    """A reply to EHLO."""
    return b"".join(f"250-{line}\r\n".encode() for line in ("mx", *extensions)) + b"250 HELP\r\n"


class FittingCase(RelayCase):
    """One message, one or two servers."""

    def send(
        self, extensions: Sequence[str] = (), *, server: Any = None, **message: Any
    ) -> tuple[Outcome, ...]:
        settings = message.pop("settings", {})
        self.server = server or ScriptedServer(EHLO=ehlo(*extensions))
        self.listen(self.server)
        return tuple(self.deliver(self.agent(**settings), self.job(**message)))

    def line(self, verb: bytes) -> bytes:
        """The first command of the server's first connection with this verb."""
        return next(line for line in self.server.commands[0] if line.startswith(verb))

    def assert_refused(self, outcome: Outcome, code: int, status: str) -> None:
        self.assertIsInstance(outcome, Refused)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (code, status))


class EightBitTests(FittingCase):
    """Content beyond ASCII (RFC 6152)."""

    DECLARED: ClassVar[dict[str, Any]] = {"body": "8BITMIME"}

    def test_offered(self) -> None:
        """Mail in most of the world's languages would be changed on its way, or bounce."""
        (outcome,) = self.send(["8BITMIME"], content=GRUESSE, envelope=self.DECLARED)
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(self.line(b"MAIL"), b"MAIL FROM:<angelo@rosse.example> BODY=8BITMIME")
        self.assertEqual(self.server.messages, [GRUESSE])

    def test_encoded(self) -> None:
        """Content would be damaged by a server that does not take it."""
        for piece in (3, 65_536):
            self.setUp()
            (outcome,) = self.send(
                ["SIZE 1000"], content=GRUESSE, piece=piece, envelope=self.DECLARED
            )
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(self.line(b"MAIL"), b"MAIL FROM:<angelo@rosse.example>")
            (message,) = self.server.messages
            self.assertTrue(message.isascii())
            parsed = email.message_from_bytes(message)
            self.assertEqual(parsed.get_payload(decode=True), f"{GREETINGS}\r\n".encode())
            self.assertEqual(parsed["Content-Transfer-Encoding"], "quoted-printable")
            self.nothing_left()

    def test_too_large_when_encoded(self) -> None:
        """A large message would be sent as a whole only to be refused."""
        large = b"Subject: x\r\n\r\n" + ("\xe4" * 30 + "\r\n").encode() * 3_000
        self.send(content=large, envelope=self.DECLARED)
        size = len(self.server.messages[0])
        self.assertGreater(size, len(large))
        for limit, taken in ((len(large) - 1, 0), (size - 1, 0), (size, 1), (5 * size, 1), (0, 1)):
            self.nothing_left()
            self.setUp()
            (outcome,) = self.send([f"SIZE {limit}"], content=large, envelope=self.DECLARED)
            self.assertEqual(len(self.server.messages), taken, limit)
            if taken:
                self.assertIsInstance(outcome, Delivered)
            else:
                self.assert_refused(outcome, 552, "5.3.4")
                self.assertEqual(self.server.verbs, ["EHLO"])
            if limit == size:
                self.assertIn(f" SIZE={size}".encode(), self.line(b"MAIL"))

    def test_large(self) -> None:
        """A message of any size would stand whole in memory while it is encoded."""
        large = b"Subject: x\r\n\r\n" + ("ä" * 30 + "\r\n").encode() * 3_000
        (outcome,) = self.send(content=large, piece=20_000, envelope=self.DECLARED)
        self.assertIsInstance(outcome, Delivered)
        parsed = email.message_from_bytes(self.server.messages[0])
        self.assertEqual(parsed.get_payload(decode=True), large[14:])

    def test_signed(self) -> None:
        """A signature would be broken on the way."""
        (outcome,) = self.send(content=SIGNED, envelope=self.DECLARED)
        self.assert_refused(outcome, 554, "5.6.2")
        self.assertEqual(self.server.verbs, ["EHLO"])

    def test_header(self) -> None:
        """A header would arrive with question marks in it."""
        (outcome,) = self.send(content="Subject: ü\r\n\r\nü\r\n".encode(), envelope=self.DECLARED)
        self.assert_refused(outcome, 554, "5.6.3")

    def test_switched_off(self) -> None:
        """DKIM signatures would be broken although the configuration says no."""
        (outcome,) = self.send(
            content=GRUESSE, envelope=self.DECLARED, settings={"convert_8bit": False}
        )
        self.assert_refused(outcome, 554, "5.6.3")

    def test_not_needed(self) -> None:
        """A message that was only declared so would bounce, or change, at old servers."""
        for size in (10, 70_000):
            self.setUp()
            content = b"plain\r\n" + b"x" * size
            (outcome,) = self.send(
                content=content, envelope=self.DECLARED, settings={"convert_8bit": False}
            )
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(self.server.messages, [content + b"\r\n"])
            self.nothing_left()

    def test_unreadable(self) -> None:
        """A fault of our disk would bounce mail."""

        async def open_content() -> FakeContent:
            return FakeContent(b"", fails_after=0)

        for size in (10, 100_000):
            self.setUp()
            (outcome,) = self.send(open=open_content, size=size, envelope=self.DECLARED)
            self.assertIsInstance(outcome, Postponed)
            self.assertEqual(outcome.reply.status, "4.3.0")
            self.assertEqual(len(self.flushLoggedErrors()), 1)
            self.nothing_left()

    def test_slow(self) -> None:
        """A message whose content is read slowly would lose its place at the server."""
        server = ScriptedServer(EHLO=PLAIN)
        self.listen(server)
        opening: list[Deferred[Any]] = []

        def open_content() -> Deferred[Any]:
            opening.append(Deferred())
            return opening[-1]

        job = self.job(envelope=self.DECLARED, open=open_content)
        result = self.start(self.agent(), job)
        server.connections[0].transport.loseConnection()
        self.reactor.advance(0)
        opening[0].callback(FakeContent(b"plain"))
        self.reactor.advance(0)
        (outcome,) = self.successResultOf(result)
        self.assertIsInstance(outcome, Postponed)
        result = self.start(self.agent(), job)
        result.cancel()
        self.failureResultOf(result, CancelledError)


class BinaryTests(FittingCase):
    """Content of any octets (RFC 3030)."""

    DECLARED: ClassVar[dict[str, Any]] = {"body": "BINARYMIME"}
    ALL = ("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME")
    CONTENT = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n\0\r\n.\r\n\n\xff"
    )

    def test_offered(self) -> None:
        """Binary content would be changed, or end early."""
        for chunking in (True, False):  # which is not asked about what can't go otherwise
            self.setUp()
            (outcome,) = self.send(
                self.ALL,
                content=self.CONTENT,
                envelope=self.DECLARED,
                settings={"chunking": chunking},
            )
            self.assertIsInstance(outcome, Delivered)
            self.assertTrue(self.line(b"MAIL").endswith(b" BODY=BINARYMIME"))
            self.assertEqual(self.server.messages, [self.CONTENT])
            self.nothing_left()

    def test_encoded(self) -> None:
        """A server that takes lines of text only would get something else, or nothing."""
        for extensions in (
            (),
            ("8BITMIME",),
            ("BINARYMIME", "8BITMIME"),
            ("CHUNKING", "PIPELINING"),
            ("CHUNKING", "BINARYMIME"),
        ):
            self.setUp()
            (outcome,) = self.send(extensions, content=self.CONTENT, envelope=self.DECLARED)
            self.assertIsInstance(outcome, Delivered)
            (message,) = self.server.messages
            parsed = email.message_from_bytes(message)
            self.assertEqual(parsed.get_payload(decode=True), b"\0\r\n.\r\n\n\xff")
            self.assertNotIn(b"BODY", self.line(b"MAIL"))
            self.nothing_left()

    def test_not_needed(self) -> None:
        """What is only declared binary would be encoded."""
        for extensions, words in ((("8BITMIME",), b" BODY=8BITMIME"), ((), b"example>")):
            self.setUp()
            content = GRUESSE if extensions else CONTENT
            (outcome,) = self.send(extensions, content=content, envelope=self.DECLARED)
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(self.server.messages, [content])
            self.assertTrue(self.line(b"MAIL").endswith(words), self.line(b"MAIL"))
            self.nothing_left()


class ChunkingTests(FittingCase):
    """BDAT (RFC 3030)."""

    def test_one_round_trip(self) -> None:
        """A small message would wait for the server three times."""
        self.send(["PIPELINING", "CHUNKING"])
        self.assertEqual(
            self.server.commands[0][1:],
            [
                b"MAIL FROM:<angelo@rosse.example>",
                b"RCPT TO:<bob@blu.example>",
                b"BDAT %d LAST" % len(CONTENT),
            ],
        )
        self.assertEqual(self.server.messages, [CONTENT])

    def test_large(self) -> None:
        """A large message would be cut off, or stand whole in memory."""
        large = b"Subject: x\r\n\r\n" + b"0123456789" * 10_000
        self.send(["PIPELINING", "CHUNKING"], content=large, piece=65_536)
        self.assertEqual(self.server.verbs, ["EHLO", "MAIL", "RCPT", "BDAT", "BDAT"])
        self.assertEqual(self.server.messages, [large])

    def test_large_refused_in_the_middle(self) -> None:
        """The connection would be unusable, or the next message mixed with this one."""
        large = b"x" * 1_000_000
        server = ScriptedServer(
            EHLO=ehlo("PIPELINING", "CHUNKING"), BDAT=[b"250 ok\r\n", b"552 5.3.4 too big\r\n"]
        )
        agent = self.agent()
        self.listen(server)
        (outcome,) = self.deliver(agent, self.job(content=large))
        self.assert_refused(outcome, 552, "5.3.4")
        self.assertIsInstance(self.deliver(agent)[0], Delivered)
        self.assertEqual(len(server.commands), 1)
        self.assertEqual(server.commands[0][-4], b"RSET")
        self.assertEqual(server.messages, [CONTENT])

    def test_switched_off(self) -> None:
        """A server whose CHUNKING is broken could not be sent mail."""
        self.send(["PIPELINING", "CHUNKING"], settings={"chunking": False})
        self.assertEqual(self.server.verbs, ["EHLO", "MAIL", "RCPT", "DATA"])

    def test_lost_on_a_kept_connection(self) -> None:
        """A connection that its server closed just now would postpone a message."""
        server = ScriptedServer(EHLO=ehlo("PIPELINING", "CHUNKING"))
        self.listen(server)
        agent = self.agent()
        self.deliver(agent)
        server.connections[0].transport.abortConnection()
        (outcome,) = self.deliver(agent)
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(len(server.commands), 2)

    def test_lost_on_a_new_connection(self) -> None:
        """A message that the server may have would go to the next exchanger at once."""
        backup = ScriptedServer()
        self.listen(backup, SECOND)
        server = ScriptedServer(EHLO=ehlo("PIPELINING", "CHUNKING"), DOT=SILENCE)
        self.listen(server)
        result = self.start(self.agent(), self.job())
        server.connections[0].transport.abortConnection()
        self.reactor.advance(0)
        (outcome,) = self.successResultOf(result)
        self.assertIsInstance(outcome, Postponed)
        self.assertIn("may arrive twice", str(outcome.reply))
        self.assertEqual(backup.commands, [])


class SmtpUtf8Tests(FittingCase):
    """Internationalised mail (RFC 6531)."""

    DECLARED: ClassVar[dict[str, Any]] = {"smtputf8": True}
    WIDE_HEADER = "Subject: ü\r\n\r\nx\r\n".encode()

    def test_offered(self) -> None:
        """Addresses outside ASCII could not be reached."""
        sender = {"sender": Address("ängelo", "rosse.example"), **self.DECLARED}
        (outcome,) = self.send(["SMTPUTF8"], recipients=[WIDE], envelope=sender)
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(self.line(b"MAIL"), "MAIL FROM:<ängelo@rosse.example> SMTPUTF8".encode())
        self.assertEqual(self.line(b"RCPT"), "RCPT TO:<jürgen@blu.example>".encode())

    def test_recipient(self) -> None:
        """Recipients whom an old server can be told of would bounce with those it can't."""
        outcomes = self.send(recipients=[BOB, WIDE], envelope=self.DECLARED)
        self.assertIsInstance(outcomes[0], Delivered)
        self.assert_refused(outcomes[1], 550, "5.6.7")
        self.assertNotIn(b"SMTPUTF8", self.line(b"MAIL"))

    def test_sender(self) -> None:
        """A reverse-path would be sent that the server can't read."""
        outcomes = self.send(
            recipients=[BOB, CAROL], envelope={"sender": Address("ängelo", "rosse.example")}
        )
        for outcome in outcomes:
            self.assert_refused(outcome, 550, "5.6.7")
        self.assertEqual(self.server.verbs, ["EHLO"])

    def test_header(self) -> None:
        """A header would be sent that the server can't read."""
        for piece in (1, 65_536):
            self.setUp()
            (outcome,) = self.send(content=self.WIDE_HEADER, piece=piece, envelope=self.DECLARED)
            self.assert_refused(outcome, 550, "5.6.7")
            self.nothing_left()

    def test_not_needed(self) -> None:
        """A message that was only declared so would bounce at old servers."""
        wide_body = "Subject: x\r\n\r\nü".encode()
        for content in (CONTENT, b"\r\nbody", b"Subject: x\r\n", wide_body):
            for piece in (1, 65_536):
                self.setUp()
                (outcome,) = self.send(
                    ["8BITMIME"], content=content, piece=piece, envelope=self.DECLARED
                )
                self.assertIsInstance(outcome, Delivered)
                self.nothing_left()

    def test_endless_header(self) -> None:
        """A header without an end would be read through to it."""
        content = b"Subject: " + b"x" * 2_000_000 + b"\r\n\r\n"
        (outcome,) = self.send(content=content, envelope=self.DECLARED)
        self.assert_refused(outcome, 550, "5.6.7")


class RequireTlsTests(FittingCase):
    """Messages that demand verified TLS on the whole way (RFC 8689)."""

    DECLARED: ClassVar[dict[str, Any]] = {"require_tls": True}

    def setUp(self) -> None:
        """The domain says who its exchangers are."""
        super().setUp()
        folder = self.mktemp()
        self.site = attrs.evolve(self.site, state_dir=folder)
        policy = StsPolicy(mode="testing", mx=("*.blu.example",), max_age=86_400)
        PolicyFiles(os.path.join(folder, POLICIES)).write(
            Stored(domain="blu.example", policy=policy, fetched=self.reactor.seconds())
        )

    def tls_server(self, *extensions: str, name: str = "a.blu.example") -> ScriptedServer:
        return ScriptedServer(tls=server_options(name), EHLO=ehlo("STARTTLS", *extensions))

    def send_to(self, *servers: ScriptedServer, **envelope: Any) -> Outcome:
        for server, address in zip(servers[1:], (SECOND,), strict=False):
            self.listen(server, address)
        (outcome,) = self.send(
            server=servers[0],
            envelope={**self.DECLARED, **envelope},
            settings={"trust_root": trust_root()},
        )
        return outcome

    def test_offered(self) -> None:
        """The demand would end at our server."""
        outcome = self.send_to(self.tls_server("REQUIRETLS"))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(self.line(b"MAIL"), b"MAIL FROM:<angelo@rosse.example> REQUIRETLS")

    def test_next_exchanger(self) -> None:
        """A message would bounce although another exchanger has what it demands."""
        backup = self.tls_server("REQUIRETLS", name="b.blu.example")
        for server in (
            self.tls_server(),
            self.tls_server("REQUIRETLS", name="other.example"),
            ScriptedServer(EHLO=ehlo("REQUIRETLS")),
        ):
            self.setUp()
            outcome = self.send_to(server, backup)
            self.assertEqual(outcome.where, "b.blu.example [192.0.2.2]:25")
            self.assertIsInstance(outcome, Delivered)
            self.reactor.advance(0)
            self.assertEqual(server.connections, [])
            self.assertNotIn("MAIL", server.verbs)
            self.nothing_left()

    def test_nowhere(self) -> None:
        """A message that demands TLS would go without, or be tried for days."""
        for server, code, status in (
            (self.tls_server(), 550, "5.7.30"),
            (self.tls_server("REQUIRETLS", name="other.example"), 550, "5.7.10"),
            (ScriptedServer(EHLO=ehlo("REQUIRETLS")), 550, "5.7.10"),
        ):
            self.setUp()
            self.listen(self.tls_server(name="b.blu.example"), SECOND)
            outcome = self.send_to(server)
            self.assertIsInstance(outcome, Refused)
            self.assertEqual(server.messages, [])
            self.nothing_left()
            self.setUp()
            hop = NextHop(where="tcp:a.blu.example:25")
            self.reactor.name("a.blu.example", "192.0.2.1")
            self.listen(server)
            job = self.job(hop, envelope=self.DECLARED)
            (outcome,) = self.deliver(self.agent(trust_root=trust_root()), job)
            self.assert_refused(outcome, code, status)
            self.nothing_left()

    def test_down(self) -> None:
        """A message would bounce because its server is down for a moment."""
        server = ScriptedServer(GREETING=b"421 4.3.2 busy\r\n")
        self.assertIsInstance(self.send_to(server), Postponed)

    def test_notices(self) -> None:
        """The notice about such a message would itself be lost."""
        outcome = self.send_to(self.tls_server("REQUIRETLS"), sender=None)
        self.assertEqual(self.line(b"MAIL"), b"MAIL FROM:<> REQUIRETLS")
        self.setUp()
        outcome = self.send_to(ScriptedServer(), sender=None)
        self.assertIsInstance(outcome, Delivered)
        self.assertTrue(self.line(b"MAIL").startswith(b"MAIL FROM:<> SIZE="))

    def test_somebody(self) -> None:
        """It would go to whoever gets his name into the MX records (RFC 8689 §4.2.1)."""
        server = self.tls_server("REQUIRETLS", name="mx.evil.example")
        self.site.resolver.zone["mx.evil.example"] = {"A": ["192.0.2.1"]}
        self.listen(server)
        for domain in ("blu.example", "rosso.example"):
            self.site.resolver.zone[domain] = {"MX": [(1, "mx.evil.example")]}
            job = self.job(NextHop(where=f"mx:{domain}"), envelope=self.DECLARED)
            (outcome,) = self.deliver(self.agent(trust_root=trust_root()), job)
            self.assertEqual(server.commands, [])
        self.assert_refused(outcome, 550, "5.7.10")

    def test_no_shared_connection(self) -> None:
        """It would go over a connection whose certificate nobody looked at."""
        server = self.tls_server("REQUIRETLS")
        self.listen(server)
        agent = self.agent(trust_root=trust_root())
        for envelope in ({}, self.DECLARED, {}, self.DECLARED):
            (outcome,) = self.deliver(agent, self.job(envelope=envelope))
            self.assertIsInstance(outcome, Delivered)
        self.assertEqual(len(server.commands), 2)


class NoticeTests(FittingCase):
    """What the sender wants to be told (RFC 3461)."""

    def test_offered(self) -> None:
        """The sender would not be told what it asked for, or by nobody it knows."""
        originals = (
            Recipient(
                address=CAROL,
                evidence=EVIDENCE,
                notify=("SUCCESS", "FAILURE"),
                orcpt="rfc822;c+d=e@far.example",
            ),
            Recipient(address=WIDE, evidence=EVIDENCE),
        )
        outcomes = self.send(
            ["DSN", "SMTPUTF8"],
            recipients=[BOB, CAROL],
            originals=originals,
            envelope={"ret": "HDRS", "envid": "a b+c=é"},
        )
        self.assertEqual([outcome.notifies for outcome in outcomes], [True, False])
        self.assertTrue(
            self.line(b"MAIL").endswith(b" RET=HDRS ENVID=a+20b+2Bc+3D+C3+A9"), self.line(b"MAIL")
        )
        self.assertEqual(
            self.line(b"RCPT"),
            b"RCPT TO:<bob@blu.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c+2Bd+3De@far.example",
        )
        self.assertEqual(
            self.server.commands[0][3],
            rb"RCPT TO:<carol@blu.example> ORCPT=utf-8;j\x{FC}rgen@blu.example",
        )

    def test_not_offered(self) -> None:
        """An old server would refuse parameters it does not know."""
        asked = Recipient(address=BOB, evidence=EVIDENCE, notify=("NEVER",))
        (outcome,) = self.send(originals=(asked,), envelope={"ret": "FULL", "envid": "x"})
        self.assertFalse(outcome.notifies)
        self.assertEqual(self.line(b"MAIL"), b"MAIL FROM:<angelo@rosse.example>")
        self.assertEqual(self.line(b"RCPT"), b"RCPT TO:<bob@blu.example>")


class DeadlineTests(FittingCase):
    """Messages that are to be in time (RFC 2852)."""

    def by(self, seconds: float, mode: Any = "R", trace: bool = False) -> dict[str, Any]:
        at = self.reactor.seconds() + seconds
        return {"deliver_by": DeliverBy(at=at, mode=mode, trace=trace)}

    def test_offered(self) -> None:
        """The next server would not know of the deadline, or think that it has all the time."""
        (outcome,) = self.send(["DELIVERBY"], envelope=self.by(60))
        self.assertTrue(outcome.knows_deadline)
        for seconds, mode, trace, value in (
            (120.5, "R", False, b"120;R"),
            (60, "N", True, b"60;NT"),
            (-5, "N", False, b"-5;N"),
            (1e12, "N", False, b"999999999;N"),
        ):
            self.setUp()
            self.send(["DELIVERBY 30"], envelope=self.by(seconds, mode, trace))
            self.assertTrue(self.line(b"MAIL").endswith(b" BY=" + value), self.line(b"MAIL"))
            self.nothing_left()

    def test_late(self) -> None:
        """A message would arrive that its sender did not want to arrive so late."""
        for extensions in ((), ("DELIVERBY",)):
            self.setUp()
            (outcome,) = self.send(extensions, envelope=self.by(0))
            self.assert_refused(outcome, 554, "5.4.7")
            self.assertEqual(self.server.verbs, ["EHLO"])
            self.nothing_left()

    def test_not_offered(self) -> None:
        """A message that is to return when it is late would go where nobody looks at the clock."""
        self.listen(ScriptedServer(EHLO=ehlo("DELIVERBY")), SECOND)
        (outcome,) = self.send(envelope=self.by(100))
        self.assertEqual(outcome.where, "b.blu.example [192.0.2.2]:25")
        self.setUp()
        self.listen(ScriptedServer(EHLO=ehlo("DELIVERBY 200")), SECOND)
        (outcome,) = self.send(envelope=self.by(100))
        self.assert_refused(outcome, 554, "5.4.7")
        self.setUp()
        (outcome,) = self.send(envelope=self.by(100, "N"))
        self.assertIsInstance(outcome, Delivered)
        self.assertFalse(outcome.knows_deadline)
        self.assertNotIn(b"BY", self.line(b"MAIL"))

    def test_mailbox(self) -> None:
        """Mail for a mailbox server would come back because that does not look at the clock."""
        hop = NextHop(where="tcp:192.0.2.1:25", protocol="lmtp")
        self.listen(ScriptedServer(LHLO=ehlo()))
        (outcome,) = self.deliver(self.agent(), self.job(hop, envelope=self.by(100)))
        self.assertIsInstance(outcome, Delivered)
        self.assertTrue(outcome.is_final)


class LimitTests(FittingCase):
    """Servers that say beforehand how much they take (RFC 9422)."""

    PEOPLE = tuple(Address(name, "blu.example") for name in "abcde")

    def shape(self, server: ScriptedServer) -> list[str]:
        """How many recipients each transaction had, by connection."""
        return [
            " ".join(
                str(transaction.count(b"RCPT"))
                for transaction in b" ".join(lines).split(b"MAIL")[1:]
            )
            for lines in server.commands
        ]

    def test_unsaid(self) -> None:
        """A server that takes a hundred would be told of thousands, over and over, and close."""
        people = [Address(f"u{number}", "blu.example") for number in range(350)]
        server = ScriptedServer(
            RCPT=[b"250 ok\r\n"] * 120 + [b"452 4.5.3 too many\r\n"] * 230 + [b"250 ok\r\n"] * 230
        )
        outcomes = self.send(server=server, recipients=people)
        self.assertEqual({type(outcome) for outcome in outcomes}, {Delivered})
        self.assertEqual(self.shape(server), ["350 120 110"])

    def test_recipients(self) -> None:
        """Recipients beyond the limit would be refused, and get their mail later."""
        outcomes = self.send(["LIMITS RCPTMAX=2"], recipients=self.PEOPLE)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 5)
        self.assertEqual(self.shape(self.server), ["2 2 1"])

    def test_domains(self) -> None:
        """A server that takes one domain at a time would refuse the others."""
        people = [*self.PEOPLE[:2], Address("x", "verde.example"), *self.PEOPLE[2:]]
        outcomes = self.send(["LIMITS RCPTDOMAINMAX=1"], recipients=people)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 6)
        self.assertEqual(self.shape(self.server), ["2 1 3"])

    def test_transactions(self) -> None:
        """A server that takes few messages over one connection would refuse the rest."""
        outcomes = self.send(["LIMITS MAILMAX=2 RCPTMAX=1"], recipients=self.PEOPLE)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 5)
        self.assertEqual(self.shape(self.server), ["1 1", "1 1", "1"])
        self.setUp()
        server = ScriptedServer(EHLO=ehlo("LIMITS MAILMAX=2"))
        self.listen(server)
        agent = self.agent()
        for _ in range(5):
            self.assertIsInstance(self.deliver(agent)[0], Delivered)
        self.assertEqual(self.shape(server), ["1 1", "1 1", "1"])
        self.assertEqual([lines[-1] for lines in server.commands[:2]], [b"QUIT", b"QUIT"])


class LmtpTests(FittingCase):
    """A mailbox server of this machine (RFC 2033)."""

    def test_over_a_socket_file(self) -> None:
        """Dovecot on the same machine could not be handed mail, or would be asked for TLS."""
        server = ScriptedServer(LHLO=ehlo("STARTTLS", "PIPELINING"))
        self.listen(server)
        # The virtual network has no socket files.
        self.reactor.connectUNIX = lambda path, factory, timeout, checkPID: self.reactor.connectTCP(
            FIRST, 25, factory, timeout
        )
        hop = NextHop(where="unix:/run/dovecot/lmtp", protocol="lmtp", tls="verify")
        envelope = {
            "require_tls": True,
            "deliver_by": DeliverBy(at=self.reactor.seconds() + 9, mode="R"),
        }
        (outcome,) = self.deliver(self.agent(), self.job(hop, envelope=envelope))
        self.assertEqual(outcome.where, hop.where)
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(server.verbs, ["LHLO", "MAIL", "RCPT", "DATA"])

    def test_chunks(self) -> None:
        """The outcome of each recipient would be lost."""
        for content in (CONTENT, b"x" * 100_000):
            self.setUp()
            server = ScriptedServer(
                LHLO=ehlo("PIPELINING", "CHUNKING"),
                RCPT=[b"250 ok\r\n", b"550 5.1.1 no\r\n", b"250 ok\r\n"],
                DOT=b"250 2.0.0 one\r\n452 4.2.2 full\r\n",
            )
            outcomes = self.lmtp(server, content)
            self.assertEqual(
                [type(outcome) for outcome in outcomes], [Delivered, Refused, Postponed]
            )
            self.assertEqual(server.messages, [content])
            self.nothing_left()

    def lmtp(self, server: ScriptedServer, content: bytes) -> Sequence[Outcome]:
        self.listen(server)
        hop = attrs.evolve(BLU, protocol="lmtp")
        job = self.job(hop, content=content, recipients=[BOB, ANGELO, CAROL])
        return self.deliver(self.agent(), job)

"""Extensions of SMTP through the whole session: what of them gets into the queue."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from mailframe.envelope import DeliverBy, Envelope
from mailframe.interfaces import StorageFault
from mailframe.server.smtp_session import SmtpSession
from mailframe.server.trace import Shown
from mailframe.units import Octets, Seconds
from tests.server.smtp_fakes import DENIED
from tests.server.test_smtp_session import ENVELOPE, PLAIN, SessionCase

CHUNK = b"EHLO x\r\n" + ENVELOPE + b"BDAT 14\r\nSubject: x\r\n\r\n"


class ExtensionCase(SessionCase):
    """A server that takes mail."""

    def start(self, *said: bytes, **options: object) -> tuple[SmtpSession, StringTransport]:
        """A client that has said this."""
        address = str(options.pop("address", "192.0.2.1"))
        session, transport = self.connect(self.factory(**options), address)
        for octets in said:
            session.dataReceived(octets)
        return session, transport

    def kept(self) -> Envelope:
        """The envelope of the only message."""
        (sink,) = self.storage.sinks
        self.assertEqual(sink.ended, "commit")
        return sink.envelope


class ChunkTests(ExtensionCase):
    """A message in chunks that does not end well leaves nothing behind."""

    def test_kept(self) -> None:
        """A message in chunks is kept as one by DATA is."""
        self.start(CHUNK, b"BDAT 6 LAST\r\nbody\r\n")
        content = self.storage.sinks[0].content
        self.assertTrue(content.startswith(b"Received: from x ([192.0.2.1])"))
        self.assertTrue(content.endswith(b"Subject: x\r\n\r\nbody\r\n"))
        self.assertEqual(self.kept().body, "7BIT")

    def test_binary(self) -> None:
        """Binary content goes on to a server that takes it for text."""
        sender = (
            b"EHLO x\r\nMAIL FROM:<a@x.example> BODY=BINARYMIME\r\nRCPT TO:<b@here.example>\r\n"
        )
        self.start(sender + b"BDAT 3 LAST\r\n\0\r\r")
        self.assertEqual(self.kept().body, "BINARYMIME")

    def test_binary_header(self) -> None:
        """A bare line end hides a field from us that other programs see."""
        hidden = b"Authentication-Results: mx.here.example; spf=pass\r\n"
        sender = (
            b"EHLO x\r\nMAIL FROM:<a@x.example> BODY=BINARYMIME\r\nRCPT TO:<b@here.example>\r\n"
        )
        for header in (b"A: b\r" + hidden, b"A: b\n" + hidden, b"A: b\0" + hidden):
            message = header + b"\r\n\0"
            for cut in (1, 30):
                session, transport = self.start(sender)
                session.dataReceived(b"BDAT %d\r\n" % cut + message[:cut])
                session.dataReceived(b"BDAT %d LAST\r\n" % (len(message) - cut) + message[cut:])
                self.assertEqual(self.codes(transport)[-1], b"554")
                self.assertEqual(self.storage.sinks[-1].ended, "abort")

    def test_given_up(self) -> None:
        """RSET and EHLO between chunks leave half a message in the storage."""
        for command in (b"RSET\r\n", b"EHLO y\r\n", b"QUIT\r\n"):
            self.storage.sinks.clear()
            session, _ = self.start(CHUNK + command)
            if command == b"QUIT\r\n":
                self.lose(session)
            self.assertEqual([sink.ended for sink in self.storage.sinks], ["abort"])

    def test_lost_inside(self) -> None:
        """Half of a chunk counts as a message when the connection breaks."""
        session, _ = self.start(CHUNK + b"BDAT 100 LAST\r\nbody\r\n")
        session.readConnectionLost()
        self.lose(session)
        self.assertEqual([sink.ended for sink in self.storage.sinks], ["abort"])

    def test_storage_fault(self) -> None:
        """A client goes on to send chunks that nobody keeps, or takes them for kept."""
        session, transport = self.start(CHUNK)
        self.codes(transport)
        self.storage.write_error = StorageFault("broken")
        session.dataReceived(b"BDAT 4\r\nbodyBDAT 4\r\nbodyBDAT 4 LAST\r\nbodyNOOP\r\n")
        self.assertEqual(self.codes(transport), [b"451", b"503", b"503", b"250"])
        self.storage.write_error = None
        session.dataReceived(ENVELOPE + b"BDAT 2 LAST\r\n\r\n")
        self.assertEqual(self.codes(transport), [b"250"] * 3)

    def test_storage_refuses(self) -> None:
        """Chunks that were sent along are taken for commands."""
        self.storage.receive_error = StorageFault("broken")
        session, transport = self.start(b"EHLO x\r\n" + ENVELOPE)
        self.codes(transport)
        session.dataReceived(b"BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")
        self.assertEqual(self.codes(transport), [b"451", b"503", b"250"])
        session.dataReceived(ENVELOPE + b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")
        self.assertEqual(self.codes(transport), [b"250", b"250", b"451", b"250"])

    def test_slow(self) -> None:
        """A client that sends a chunk octet by octet stays for ever."""
        session, transport = self.start(
            CHUNK + b"BDAT 1000\r\n", idle=Seconds(10.0), data_rate=Octets(100)
        )
        self.codes(transport)
        for _ in range(4):
            self.clock.advance(5)
            session.dataReceived(b"x")
        self.assertEqual(self.codes(transport), [b"421"])
        self.assertEqual(self.storage.sinks[0].ended, "abort")

    def test_loop(self) -> None:
        """A looping message is taken because it comes in chunks."""
        header = b"Received: x\r\n" * 3 + b"\r\n"
        _, transport = self.start(
            b"EHLO x\r\n" + ENVELOPE + b"BDAT %d LAST\r\n" % len(header) + header, received_hops=3
        )
        self.assertEqual(self.codes(transport)[-1], b"554")


class WishTests(ExtensionCase):
    """What senders ask for stands in the envelope."""

    def test_dsn(self) -> None:
        """A sender is told of what it did not ask for (RFC 3461)."""
        self.start(
            b"EHLO x\r\nMAIL FROM:<a@x.example> RET=HDRS ENVID=QQ+2B1 BY=120;NT\r\n"
            b"RCPT TO:<b@here.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob@here.example\r\n"
            b"RCPT TO:<c@here.example>\r\nRCPT TO:<b@here.example> NOTIFY=NEVER\r\n"
            b"DATA\r\n.\r\n"
        )
        envelope = self.kept()
        self.assertEqual((envelope.ret, envelope.envid), ("HDRS", "QQ+1"))
        self.assertEqual(
            envelope.deliver_by, DeliverBy(at=self.clock.seconds() + 120, mode="N", trace=True)
        )
        bob, c = envelope.recipients
        self.assertEqual((bob.notify, bob.orcpt), (("SUCCESS", "DELAY"), "rfc822;Bob@here.example"))
        self.assertEqual((c.notify, c.orcpt), ((), None))

    def test_smtputf8(self) -> None:
        """An internationalised message is sent on to a server that can't read it (RFC 6531)."""
        self.start(
            "EHLO x\r\nMAIL FROM:<j\u00f6rg@b\u00fccher.example> SMTPUTF8\r\n"
            "RCPT TO:<\u7528\u6237@here.example>\r\nDATA\r\n.\r\n".encode()
        )
        envelope = self.kept()
        self.assertTrue(envelope.smtputf8)
        self.assertEqual(str(envelope.sender), "j\u00f6rg@xn--bcher-kva.example")
        trace = self.storage.sinks[0].content
        self.assertIn(b"with UTF8SMTP id q1", trace)
        self.assertIn("for <\u7528\u6237@here.example>".encode(), trace)

    def test_nothing_lingers(self) -> None:
        """One message's wishes are the next one's too."""
        self.start(
            b"EHLO x\r\nMAIL FROM:<a@x.example> RET=HDRS SMTPUTF8\r\n"
            b"RCPT TO:<b@here.example> NOTIFY=NEVER\r\nDATA\r\n.\r\n" + ENVELOPE + b"DATA\r\n.\r\n"
        )
        envelope = self.storage.sinks[1].envelope
        self.assertEqual((envelope.ret, envelope.smtputf8), (None, False))
        self.assertEqual(envelope.recipients[0].notify, ())

    def test_held(self) -> None:
        """Who may have messages held back, and for how long (RFC 4865)."""
        login = b"EHLO x\r\n" + PLAIN + b"EHLO x\r\n"
        session, transport = self.start(
            login, protocol="submission", address="127.0.0.1", hold=Seconds(3600.0)
        )
        self.assertIn(b"FUTURERELEASE 3600 1970-01-12T14:46:40Z\r\n", transport.value())
        for value, code in (
            (b"HOLDFOR=3601", b"501"),
            (b"HOLDUNTIL=1970-01-12T14:46:41Z", b"501"),
            (b"HOLDFOR=60 HOLDUNTIL=1970-01-12T14:46:40Z", b"501"),
            (b"HOLDFOR=60 HOLDFOR=60", b"501"),
            (b"HOLDUNTIL=1970-01-12T13:46:40Z", b"501"),  # it is that time already
            (b"HOLDFOR=60 BY=60;R", b"501"),
            (b"HOLDUNTIL=1970-01-12T13:48:40Z BY=120;R", b"501"),
            (b"HOLDFOR=60 BY=61;R", b"250"),
            (b"HOLDFOR=60 BY=1;N", b"250"),
            (b"HOLDUNTIL=1970-01-12t13:46:40.5z", b"250"),
            (b"HOLDUNTIL=1970-01-12T14:46:40Z", b"250"),
        ):
            self.codes(transport)
            session.dataReceived(b"RSET\r\nMAIL FROM:<a@x.example> " + value + b"\r\n")
            self.assertEqual(self.codes(transport), [b"250", code], value)
        session.dataReceived(b"RCPT TO:<b@here.example>\r\nDATA\r\n.\r\n")
        self.assertEqual(self.kept().not_before, 1_003_600.0)
        for said, options in (
            (b"EHLO x\r\n", {"protocol": "submission"}),
            (login, {"protocol": "smtp"}),
            (login, {"protocol": "submission", "hold": Seconds(0.0)}),
        ):
            session, transport = self.start(said, address="127.0.0.1", **options)
            self.assertNotIn(b"FUTURERELEASE", transport.value())
            self.codes(transport)
            session.dataReceived(b"MAIL FROM:<a@x.example> HOLDFOR=60\r\n")
            self.assertEqual(self.codes(transport), [b"555"])


class XclientTests(ExtensionCase):
    """Who speaks for others is believed when it is trusted."""

    TRUSTED = ("192.0.2.0/24",)

    def test_client(self) -> None:
        """A filter's mail is judged by the filter's address, or its client may relay for all."""
        session, transport = self.start(
            b"EHLO filter\r\nXCLIENT ADDR=127.0.0.1 LOGIN=angelo@here.example\r\nEHLO x\r\n",
            xclient=self.TRUSTED,
        )
        self.assertIn(
            b"XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT", transport.value()
        )
        session.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<x@far.example>\r\n")
        self.assertEqual(self.codes(transport)[-1], b"250")
        client = self.authorisation.asked[-1][0]
        self.assertEqual(
            (client.address, client.login, client.helo, client.esmtp),
            ("127.0.0.1", "angelo@here.example", "x", True),
        )
        session.dataReceived(b"RSET\r\nXCLIENT ADDR=198.51.100.7\r\nEHLO x\r\nMAIL FROM:<>\r\n")
        session.dataReceived(b"RCPT TO:<x@far.example>\r\n")
        self.assertTrue(transport.value().endswith(DENIED.encode()))
        self.assertEqual(self.authorisation.asked[-1][0].address, "198.51.100.7")

    def test_greeting(self) -> None:
        """The trace names the filter as the one from whom the message came."""
        self.start(
            b"EHLO filter\r\nXCLIENT ADDR=127.0.0.1 HELO=true.example PROTO=SMTP\r\n"
            b"EHLO filter\r\n" + ENVELOPE + b"DATA\r\n.\r\n",
            xclient=self.TRUSTED,
        )
        trace = self.storage.sinks[0].content
        self.assertTrue(trace.startswith(b"Received: from true.example ([127.0.0.1])\r\n"), trace)
        self.assertIn(b"with SMTP id", trace)

    def test_login_ends(self) -> None:
        """A filter's own login counts for everyone it speaks for."""
        session, _ = self.start(
            b"EHLO f\r\n" + PLAIN + b"XCLIENT ADDR=198.51.100.7\r\nEHLO x\r\nMAIL FROM:<>\r\n",
            address="127.0.0.1",
            xclient=["127.0.0.1"],
        )
        self.assertEqual(self.realm.logouts, ["angelo@here.example"])
        session.dataReceived(b"RCPT TO:<x@far.example>\r\n")
        self.assertIsNone(self.authorisation.asked[-1][0].login)

    def test_counted(self) -> None:
        """Behind a filter the limits for each client count the filter."""
        server = self.factory(xclient=self.TRUSTED, connections_per_address=2)
        sessions = []
        for _ in range(3):
            session, transport = self.connect(server)
            sessions.append(session)
            session.dataReceived(b"XCLIENT ADDR=198.51.100.7\r\nEHLO x\r\n")
        self.assertEqual(self.codes(transport)[-1], b"421")
        self.assertTrue(transport.disconnecting)
        for session in sessions:
            self.lose(session)
        self.assertEqual(len(server.connections), 0)

    def test_not_trusted(self) -> None:
        """Anyone may say who he is."""
        _, transport = self.start(b"EHLO x\r\nXCLIENT ADDR=127.0.0.1\r\n", xclient=["10.0.0.0/8"])
        self.assertNotIn(b"XCLIENT", transport.value().partition(b"502 ")[0])
        self.assertEqual(self.codes(transport)[-1], b"502")


class LmtpTests(ExtensionCase):
    """LMTP (RFC 2033)."""

    def test_message(self) -> None:
        """One queue entry holds the mail for all recipients, and each is answered for."""
        _, transport = self.start(
            b"LHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@here.example>\r\n"
            b"RCPT TO:<x@far.example>\r\nRCPT TO:<c@here.example>\r\nDATA\r\n"
            b"Authentication-Results: mx.here.example; spf=pass\r\n\r\n.\r\nQUIT\r\n",
            protocol="lmtp",
        )
        self.assertTrue(transport.value().startswith(b"220 mx.here.example LMTP mailframe\r\n"))
        self.assertEqual(
            self.codes(transport),
            [*[b"220"], *[b"250"] * 3, b"550", b"250", b"354", b"250", b"250", b"221"],
        )
        self.assertEqual(len(self.kept().recipients), 2)
        content = self.storage.sinks[0].content
        self.assertIn(b"with LMTP id q1", content)
        self.assertIn(b"Authentication-Results", content)

    def test_fault(self) -> None:
        """A client waits for a reply that never comes."""
        self.storage.commit_error = StorageFault("broken")
        _, transport = self.start(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nRCPT TO:<c@here.example>\r\n"
            b"DATA\r\n.\r\n",
            protocol="lmtp",
        )
        self.assertEqual(self.codes(transport)[-3:], [b"354", b"451", b"451"])

    def test_refused_at_once(self) -> None:
        """A last chunk is answered for each recipient whenever it is refused."""
        _, transport = self.start(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nRCPT TO:<c@here.example>\r\n"
            b"BDAT 100 LAST\r\n" + b"x" * 100 + b"NOOP\r\n",
            protocol="lmtp",
            message_size=Octets(50),
        )
        self.assertEqual(self.codes(transport)[-3:], [b"552", b"552", b"250"])

    def test_refused_for_good(self) -> None:
        """A recipient without an answer is tried again for days, and refused each time."""
        _, transport = self.start(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@here.example>\r\nRCPT TO:<c@here.example>\r\n"
            b"DATA\r\na\nb\r\n.\r\nNOOP\r\n",
            protocol="lmtp",
        )
        self.assertEqual(self.codes(transport)[-3:], [b"354", b"554", b"554"])
        self.assertTrue(transport.disconnecting)


class TraceTests(ExtensionCase):
    """What stands before the content, and what is taken out of it."""

    def test_login(self) -> None:
        """A login is told to the world, or not to those who want it told."""
        for show, shown in ((True, True), (False, False)):
            self.storage.sinks.clear()
            self.start(
                b"EHLO x\r\n" + PLAIN + ENVELOPE + b"DATA\r\n.\r\n",
                address="127.0.0.1",
                shown=Shown(login=show),
            )
            found = b"(authenticated as angelo@here.example)" in self.storage.sinks[0].content
            self.assertEqual(found, shown)

    def test_end_of_the_header(self) -> None:
        """A stranger goes on with our trace, or vouches for himself below a line of nonsense."""
        results = b"Authentication-Results: mx.here.example; spf=pass\r\n\r\nbody\r\n"
        for protocol, hello in (("smtp", b"EHLO x\r\n"), ("lmtp", b"LHLO x\r\n")):
            for header, rest in (
                (b"", b"\tfor <angelo@here.example>; yesterday\r\n" + results),
                (b"", b"From angelo@here.example\r\n" + results),
                (b"Subject: x\r\n", b"nonsense\r\n" + results),
            ):
                for cut in (0, 5, 30):
                    self.storage.sinks.clear()
                    message = header + rest
                    self.start(
                        hello + ENVELOPE + b"DATA\r\n" + message[:cut],
                        message[cut:] + b".\r\n",
                        protocol=protocol,
                    )
                    self.kept()
                    content = self.storage.sinks[0].content
                    self.assertTrue(content.endswith(b"+0000\r\n" + header + b"\r\n" + rest))

    def test_forged_results(self) -> None:
        """A stranger vouches for himself in our name (RFC 8601 §5)."""
        forged = b"Authentication-Results: mx.here.example;\r\n spf=pass\r\n"
        other = b"Authentication-Results: x.example; spf=fail\r\n"
        header = b"Subject: x\r\n" + forged + other + forged
        for body, blank in ((b"\r\n" + forged, b""), (b"body\r\n", b"\r\n"), (b"", b"")):
            message = header + body
            for step in (1, 7, 1000):
                self.storage.sinks.clear()
                session, _ = self.start(b"EHLO x\r\n" + ENVELOPE + b"DATA\r\n")
                for place in range(0, len(message), step):
                    session.dataReceived(message[place : place + step])
                session.dataReceived(b".\r\n")
                self.lose(session)
                self.kept()
                trace, _, rest = self.storage.sinks[0].content.partition(b"Subject: x\r\n")
                self.assertTrue(trace.startswith(b"Received: "))
                self.assertEqual(rest, other + blank + body)

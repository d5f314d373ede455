"""One message: envelope, content and outcome."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.reply import Reply
from mailframe.wire.sender_dialogue import command_line
from mailframe.wire.sender_events import (
    ContentWanted,
    Failed,
    Settled,
    Transaction,
)
from tests.wire.sending import ANGELO, BOB, CAROL, Dialogue


class TransactionTests(SynchronousTestCase):
    """One message."""

    def test_one_by_one(self) -> None:
        """Servers without PIPELINING would be talked over."""
        dialogue = Dialogue().ready()
        self.assertEqual(dialogue.begin([BOB, CAROL]), b"MAIL FROM:<angelo@rosse.example>\r\n")
        self.assertEqual(dialogue.sender.stage, "mail")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"RCPT TO:<bob@blu.example>\r\n")
        self.assertEqual(dialogue.sender.stage, "recipient")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"RCPT TO:<carol@blu.example>\r\n")
        self.assertEqual(dialogue.hear(b"550 5.1.1 nobody\r\n"), b"DATA\r\n")
        self.assertEqual(dialogue.sender.stage, "data")
        self.assertEqual(dialogue.events, [])
        dialogue.hear(b"354 go\r\n")
        self.assertEqual(dialogue.events, [ContentWanted()])
        self.assertEqual(dialogue.sender.stage, "content")
        self.assertEqual(dialogue.send(b".a\r\n", b".b"), b"..a\r\n..b\r\n.\r\n")
        self.assertEqual(dialogue.sender.stage, "final")
        dialogue.hear(b"250 2.0.0 queued as 1\r\n")
        self.assertEqual(
            dialogue.last,
            Settled((Reply(250, "2.0.0", "queued as 1"), Reply(550, "5.1.1", "nobody"))),
        )

    def test_pipelined(self) -> None:
        """Every message would take a round trip for every command."""
        for split in (False, True):
            dialogue = Dialogue().ready("PIPELINING", "SIZE", "8BITMIME")
            self.assertEqual(
                dialogue.begin([BOB, CAROL], body="8BITMIME"),
                b"MAIL FROM:<angelo@rosse.example> SIZE=100 BODY=8BITMIME\r\n"
                b"RCPT TO:<bob@blu.example>\r\nRCPT TO:<carol@blu.example>\r\nDATA\r\n",
            )
            dialogue.hear(b"250 a\r\n450 4.2.1 later\r\n250 c\r\n354 d\r\n", split=split)
            self.assertEqual(dialogue.events, [ContentWanted()])
            self.assertEqual(dialogue.send(b"x\r\n"), b"x\r\n.\r\n")
            dialogue.hear(b"250 2.0.0 thanks\r\n", split=split)
            self.assertEqual(
                dialogue.last,
                Settled((Reply(450, "4.2.1", "later"), Reply(250, "2.0.0", "thanks"))),
            )

    def test_null_reverse_path(self) -> None:
        """Bounces could not be sent."""
        dialogue = Dialogue().ready()
        dialogue.sender.begin(Transaction(sender=None, recipients=(BOB,), size=1))
        self.assertEqual(dialogue.take(), b"MAIL FROM:<>\r\n")

    def test_many_in_one_session(self) -> None:
        """Every message would need a connection of its own."""
        dialogue = Dialogue().ready("PIPELINING")
        for number in range(3):
            self.assertTrue(dialogue.begin().startswith(b"MAIL"), number)
            dialogue.hear(b"250 a\r\n250 b\r\n354 c\r\n")
            self.assertEqual(dialogue.send(b"x"), b"x\r\n.\r\n")
            dialogue.hear(b"554 5.6.0 spam\r\n" if number == 1 else b"250 ok\r\n")
            self.assertIsInstance(dialogue.last, Settled)
            self.assertEqual(dialogue.sender.stage, "idle")

    def test_mail_refused(self) -> None:
        """A refused sender would be tried for each recipient, or taken as accepted."""
        refusal = Reply(550, "5.7.1", "not you")
        dialogue = Dialogue().ready()
        dialogue.begin([BOB, CAROL])
        self.assertEqual(dialogue.hear(b"550 5.7.1 not you\r\n"), b"")
        self.assertEqual(dialogue.last, Settled((refusal, refusal)))
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"550 5.7.1 not you\r\n503 a\r\n503 b\r\n503 c\r\n")
        self.assertEqual(dialogue.last, Settled((refusal, refusal)))
        self.assertTrue(dialogue.begin().startswith(b"MAIL"))  # no transaction, so no RSET

    def test_mail_out_of_order(self) -> None:
        """A server that answers in another order than it was asked would make mail bounce."""
        for extensions in (("PIPELINING",), ("PIPELINING", "CHUNKING")):
            dialogue = Dialogue().ready(*extensions)
            dialogue.begin()
            dialogue.hear(b"503 5.5.1 need MAIL first\r\n250 ok\r\n")
            failed = dialogue.last
            assert isinstance(failed, Failed)
            self.assertEqual(
                failed.reply,
                Reply(
                    451,
                    "4.5.0",
                    "the server broke the protocol: it found MAIL out of order:"
                    " 503 5.5.1 need MAIL first",
                ),
            )
            self.assertEqual(failed.replies, (None,))  # another server may take it
        dialogue = Dialogue().ready()  # here it can be nothing else than the answer
        dialogue.begin()
        dialogue.hear(b"503 5.5.1 AUTH first\r\n")
        self.assertEqual(dialogue.last, Settled((Reply(503, "5.5.1", "AUTH first"),)))

    def test_all_recipients_refused(self) -> None:
        """A message for nobody would be sent, or the next one would join its transaction."""
        refusal = Reply(550, "5.1.1", "nobody")
        dialogue = Dialogue().ready()
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n")
        self.assertEqual(dialogue.hear(b"550 5.1.1 nobody\r\n"), b"")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertEqual(dialogue.begin(), b"RSET\r\n")
        self.assertEqual(dialogue.sender.stage, "reset")
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b"MAIL FROM:<angelo@rosse.example>\r\n")

    def test_all_recipients_refused_pipelined(self) -> None:
        """A server that says 354 nevertheless would be left waiting for content."""
        refusal = Reply(550, "5.1.1", "nobody")
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n554 5.5.1 no recipients\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        said = dialogue.begin()
        self.assertTrue(said.startswith(b"RSET\r\nMAIL"), said)
        self.assertEqual(
            dialogue.hear(b"250 reset\r\n250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n"), b".\r\n"
        )
        self.assertNotIn(ContentWanted(), dialogue.events)
        dialogue.hear(b"554 no valid recipients\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertTrue(dialogue.begin().startswith(b"MAIL"))

    def test_lost_after_an_empty_message(self) -> None:
        """A refused recipient would be tried again because the connection broke afterwards."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n")
        dialogue.sender.connection_lost()
        dialogue.take()
        self.assertEqual(dialogue.last.replies, (Reply(550, "5.1.1", "nobody"),))

    def test_data_refused(self) -> None:
        """A refusal of DATA would be lost, or reported of recipients that were refused before."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"250 ok\r\n550 5.1.1 nobody\r\n250 ok\r\n452 4.3.1 full\r\n")
        self.assertEqual(
            dialogue.last, Settled((Reply(550, "5.1.1", "nobody"), Reply(452, "4.3.1", "full")))
        )

    def test_too_many_recipients(self) -> None:
        """Recipients beyond an old server's limit would bounce instead of being tried later."""
        dialogue = Dialogue().ready()
        dialogue.begin([BOB, CAROL])
        dialogue.hear(b"250 ok\r\n")
        dialogue.hear(b"552 too many recipients\r\n")
        dialogue.hear(b"552 5.2.2 mailbox full\r\n")
        self.assertEqual(
            dialogue.last,
            Settled(
                (Reply(452, "4.5.3", "too many recipients"), Reply(552, "5.2.2", "mailbox full"))
            ),
        )

    def test_too_large(self) -> None:
        """A message would be sent whole only to be refused for its size."""
        dialogue = Dialogue().ready("SIZE 99")
        self.assertEqual(dialogue.begin(), b"")
        (reply,) = dialogue.last.replies
        self.assertEqual((reply.code, reply.status), (552, "5.3.4"))
        self.assertEqual(dialogue.sender.stage, "idle")
        self.assertTrue(dialogue.begin(size=99).endswith(b" SIZE=99\r\n"))
        for no_limit in ("SIZE 0", "SIZE", "SIZE what"):
            self.assertTrue(Dialogue().ready(no_limit).begin().startswith(b"MAIL"))

    def test_eight_bit_content(self) -> None:
        """Content that the next server does not take would be sent, and damaged on the way."""
        dialogue = Dialogue().ready()
        self.assertEqual(dialogue.begin(body="8BITMIME"), b"")
        (reply,) = dialogue.last.replies
        self.assertEqual((reply.code, reply.status), (554, "5.6.3"))

    def test_quoted_local_part(self) -> None:
        """An address could end its command and begin another."""
        dialogue = Dialogue().ready()
        strange = Address('a>\\ "b', "blu.example")
        dialogue.begin([strange])
        self.assertEqual(dialogue.hear(b"250 ok\r\n"), b'RCPT TO:<"a>\\\\ \\"b"@blu.example>\r\n')

    def test_one_line_per_command(self) -> None:
        """Whatever got into a command could smuggle in another one."""
        for text in ("MAIL\r\nRCPT", "a\nb", "a\rb", "a\0b"):
            with self.assertRaises(ValueError):
                command_line(text)

    def test_lmtp(self) -> None:
        """The outcome of each LMTP recipient would be lost."""
        dialogue = Dialogue(protocol="lmtp").ready("PIPELINING")
        dialogue.begin([BOB, ANGELO, CAROL])
        dialogue.hear(b"250 ok\r\n250 a\r\n550 5.1.1 nobody\r\n250 c\r\n354 go\r\n")
        dialogue.send(b"x")
        dialogue.hear(b"250 2.0.0 delivered\r\n")
        self.assertEqual(dialogue.events, [ContentWanted()])
        dialogue.hear(b"452 4.2.2 full\r\n")
        self.assertEqual(
            dialogue.last,
            Settled(
                (
                    Reply(250, "2.0.0", "delivered"),
                    Reply(550, "5.1.1", "nobody"),
                    Reply(452, "4.2.2", "full"),
                )
            ),
        )

    def test_lmtp_lost_between_replies(self) -> None:
        """A recipient whose LMTP delivery succeeded would get the message twice."""
        dialogue = Dialogue(protocol="lmtp").ready()
        dialogue.begin([BOB, CAROL])
        for reply in (b"250 ok\r\n", b"250 b\r\n", b"250 c\r\n", b"354 go\r\n"):
            dialogue.hear(reply)
        dialogue.send(b"x")
        dialogue.hear(b"250 2.0.0 delivered\r\n")
        dialogue.sender.connection_lost()
        dialogue.take()
        self.assertEqual([reply and reply.code for reply in dialogue.last.replies], [250, 451])

    def test_lmtp_354_for_nobody(self) -> None:
        """An LMTP server that wants content for nobody would leave both sides waiting."""
        dialogue = Dialogue(protocol="lmtp").ready("PIPELINING")
        dialogue.begin()
        self.assertEqual(dialogue.hear(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n"), b".\r\n")
        settled, failed = dialogue.events
        self.assertEqual(settled, Settled((Reply(550, "5.1.1", "no"),)))
        self.assertIsInstance(failed, Failed)
        self.assertEqual(failed.replies, ())


CHUNKED = ("PIPELINING", "CHUNKING", "BINARYMIME")


class ChunkTests(SynchronousTestCase):
    """Content as BDAT chunks (RFC 3030)."""

    def test_with_the_envelope(self) -> None:
        """A small message would need three round trips."""
        dialogue = Dialogue().ready(*CHUNKED)
        said = dialogue.begin([BOB, CAROL], content=b"x\r\n.\r\n")
        self.assertEqual(
            said.splitlines()[1:],
            [
                b"RCPT TO:<bob@blu.example>",
                b"RCPT TO:<carol@blu.example>",
                b"BDAT 6 LAST",
                b"x",
                b".",
            ],
        )
        self.assertEqual(dialogue.sender.stage, "mail")
        dialogue.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 2.0.0 taken\r\n")
        self.assertEqual(
            dialogue.events,
            [Settled((Reply(250, "2.0.0", "taken"), Reply(550, "5.1.1", "no")))],
        )
        self.assertTrue(dialogue.begin().startswith(b"MAIL"))

    def test_asked_for(self) -> None:
        """A large message could not be sent in chunks, or its end would be missed."""
        dialogue = Dialogue().ready(*CHUNKED)
        said = dialogue.begin()
        self.assertNotIn(b"DATA", said)
        dialogue.hear(b"250 ok\r\n")
        self.assertFalse(dialogue.sender.wants_content)
        dialogue.hear(b"250 ok\r\n")
        self.assertEqual(dialogue.events, [ContentWanted()])
        self.assertEqual(dialogue.sender.stage, "content")
        dialogue.sender.content(b"ab\r\n")
        self.assertEqual(dialogue.take(), b"")
        dialogue.sender.content(b"c")
        self.assertEqual(dialogue.take(), b"BDAT 4\r\nab\r\n")
        dialogue.hear(b"250 four octets\r\n")
        self.assertEqual(dialogue.sender.stage, "content")
        dialogue.sender.end_of_content()
        self.assertEqual(dialogue.take(), b"BDAT 1 LAST\r\nc")
        self.assertEqual(dialogue.sender.stage, "final")
        dialogue.hear(b"250 2.0.0 taken\r\n")
        self.assertEqual(dialogue.last, Settled((Reply(250, "2.0.0", "taken"),)))

    def test_only_with_both(self) -> None:
        """A server that wants to answer each command would be talked over; or spoken to in BDAT."""
        for extensions, kwargs in (
            (("CHUNKING",), {}),
            (("PIPELINING",), {}),
            (CHUNKED, {"chunking": False}),
        ):
            dialogue = Dialogue(**kwargs).ready(*extensions)
            said = dialogue.begin(content=b"x\r\n")
            self.assertNotIn(b"BDAT", said)
            dialogue.hear(b"250 ok\r\n")
            said += dialogue.hear(b"250 ok\r\n")
            self.assertIn(b"DATA\r\n", said)
            self.assertEqual(dialogue.hear(b"354 go\r\n"), b"x\r\n.\r\n")
            dialogue.hear(b"250 2.0.0 taken\r\n")
            self.assertEqual(dialogue.events, [Settled((Reply(250, "2.0.0", "taken"),))])

    def test_binary(self) -> None:
        """Binary content would have its line ends changed, also where chunks are switched off."""
        for chunking in (True, False):
            dialogue = Dialogue(chunking=chunking).ready(*CHUNKED)
            said = dialogue.begin(content=b"\n\0\r", body="BINARYMIME")
            self.assertTrue(said.startswith(b"MAIL FROM:<angelo@rosse.example> BODY=BINARYMIME\r"))
            self.assertTrue(said.endswith(b"BDAT 3 LAST\r\n\n\0\r"), said)

    def test_nobody(self) -> None:
        """The next message would join one that nobody was to get (RFC 3030 §2)."""
        refusal = Reply(550, "5.1.1", "no")
        dialogue = Dialogue().ready(*CHUNKED)
        dialogue.begin(content=b"x")
        dialogue.hear(b"250 ok\r\n550 5.1.1 no\r\n503 5.5.1 nobody\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertTrue(dialogue.begin(content=b"x").startswith(b"RSET\r\nMAIL"))
        dialogue.hear(b"250 ok\r\n550 5.1.1 no\r\n503 a\r\n503 b\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n")
        self.assertEqual(dialogue.last, Settled((refusal,)))
        self.assertNotIn(ContentWanted(), dialogue.events)
        self.assertTrue(dialogue.begin().startswith(b"RSET\r\nMAIL"))

    def test_refused_at_the_end(self) -> None:
        """A transaction that failed at its last chunk would not be cleared (RFC 3030 §2)."""
        dialogue = Dialogue().ready(*CHUNKED)
        dialogue.begin(content=b"x")
        dialogue.hear(b"250 ok\r\n250 ok\r\n554 5.6.0 spam\r\n")
        self.assertEqual(dialogue.last, Settled((Reply(554, "5.6.0", "spam"),)))
        self.assertTrue(dialogue.begin().startswith(b"RSET\r\nMAIL"))

    def refused(self, pieces: int) -> Dialogue:
        """A dialogue whose first chunk was refused after so many were given."""
        dialogue = Dialogue().ready(*CHUNKED)
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n250 ok\r\n")
        for _ in range(pieces):
            dialogue.sender.content(b"x")
        dialogue.take()
        dialogue.hear(b"552 5.3.4 too big\r\n")
        self.assertFalse(dialogue.sender.wants_content)
        dialogue.sender.content(b"more")
        dialogue.sender.end_of_content()
        self.assertEqual(dialogue.take(), b"")
        return dialogue

    def test_refused_in_the_middle(self) -> None:
        """More would be sent of what was refused, or replies to it be taken for others."""
        settled = Settled((Reply(552, "5.3.4", "too big"),))
        dialogue = self.refused(2)
        self.assertEqual(dialogue.last, settled)
        self.assertTrue(dialogue.begin().startswith(b"RSET\r\nMAIL"))
        dialogue = self.refused(3)
        self.assertNotEqual(dialogue.last, settled)
        dialogue.hear(b"250 and this\r\n")
        self.assertEqual(dialogue.last, settled)

    def test_refused_before_the_end_is_taken(self) -> None:
        """A message of which a part is missing would count as delivered."""
        dialogue = Dialogue().ready(*CHUNKED)
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n250 ok\r\n")
        dialogue.sender.content(b"x")
        dialogue.sender.content(b"y")
        dialogue.send()
        dialogue.hear(b"452 4.3.1 full\r\n250 2.0.0 taken\r\n")
        self.assertEqual(dialogue.last, Settled((Reply(452, "4.3.1", "full"),)))

    def test_impossible_replies(self) -> None:
        """A reply of the wrong kind would be taken for agreement."""
        dialogue = Dialogue().ready(*CHUNKED)
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n250 ok\r\n")
        dialogue.sender.content(b"x")
        dialogue.sender.content(b"y")
        dialogue.take()
        dialogue.hear(b"354 go\r\n")
        self.assertEqual(dialogue.last.reply.status, "4.5.0")
        self.assertEqual(dialogue.last.replies, (None,))

    def test_lmtp(self) -> None:
        """The outcome of each LMTP recipient would be lost."""
        dialogue = Dialogue(protocol="lmtp").ready(*CHUNKED)
        dialogue.begin([BOB, ANGELO, CAROL], content=b"x")
        dialogue.hear(b"250 ok\r\n250 a\r\n550 5.1.1 nobody\r\n250 c\r\n250 2.0.0 taken\r\n")
        self.assertEqual(dialogue.events, [])
        dialogue.hear(b"452 4.2.2 full\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [250, 550, 452])
        dialogue.begin(content=b"x")
        dialogue.hear(b"250 reset\r\n250 ok\r\n550 5.1.1 nobody\r\n503 nobody\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [550])

    def test_broken(self) -> None:
        """A message that the server may have would go elsewhere at once, or one it hasn't wait."""
        for line, end, codes in (
            (b"", "connection_lost", [451]),
            (b"250 ok\r\n250 ok\r\n", "connection_lost", [451]),
            (b"250 ok\r\n250 ok\r\n", "timed_out", [451]),
            (b"", "timed_out", [451]),
            (b"421 busy\r\n", "", [None]),
            (b"250 ok\r\n421 busy\r\n", "", [None]),
            (b"250 ok\r\n250 ok\r\n421 busy\r\n", "", [421]),
            (b"354 what\r\n", "", [451]),
            (b"nonsense\r\n", "", [451]),
        ):
            dialogue = Dialogue().ready(*CHUNKED)
            dialogue.begin(content=b"x")
            dialogue.hear(line)
            if end:
                getattr(dialogue.sender, end)()
                dialogue.take()
            found = [reply and reply.code for reply in dialogue.last.replies]
            self.assertEqual(found, codes, (line, end))

    def test_lost_when_reused(self) -> None:
        """A connection that was closed while it was kept would postpone a message."""
        for end, replies in (("connection_lost", (None,)), ("timed_out", 451)):
            dialogue = Dialogue().ready(*CHUNKED)
            dialogue.begin(content=b"x")
            dialogue.hear(b"250 ok\r\n250 ok\r\n250 2.0.0 taken\r\n")
            dialogue.begin(content=b"x")
            getattr(dialogue.sender, end)()
            dialogue.take()
            self.assertTrue(dialogue.last.untouched)
            found = dialogue.last.replies
            self.assertEqual(found if found[0] is None else found[0].code, replies)

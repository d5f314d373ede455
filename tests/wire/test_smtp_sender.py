"""Sessions that break, and servers that say anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.wire.sender_events import (
    ContentWanted,
    Failed,
    Ready,
    Settled,
    StartTls,
)
from tests.wire.sending import BOB, CAROL, GREETING, Dialogue, transaction


class BrokenTransactionTests(SynchronousTestCase):
    """Servers that leave, break the protocol or go silent in the middle of a message."""

    def at(self, stage: str, *extensions: str) -> Dialogue:
        """A dialogue with two recipients, the second refused once RCPT is over."""
        dialogue = Dialogue().ready(*extensions)
        dialogue.begin([BOB, CAROL])
        for line in (b"250 ok\r\n", b"250 ok\r\n", b"550 5.1.1 nobody\r\n", b"354 go\r\n"):
            if dialogue.sender.stage != stage:
                dialogue.hear(line)
        if stage in ("content", "final"):
            dialogue.sender.content(b"x\r\n")
        if stage == "final":
            dialogue.sender.end_of_content()
        dialogue.take()
        self.assertEqual(dialogue.sender.stage, stage)
        return dialogue

    def test_lost_before_the_dot(self) -> None:
        """Recipients would not be tried at the next host, or refused ones would be."""
        nobody = Reply(550, "5.1.1", "nobody")
        for end in ("connection_lost", "timed_out"):
            for stage, replies in (
                ("mail", (None, None)),
                ("recipient", (None, None)),
                ("data", (None, nobody)),
                ("content", (None, nobody)),
            ):
                dialogue = self.at(stage)
                getattr(dialogue.sender, end)()
                dialogue.take()
                self.assertIsInstance(dialogue.last, Failed)
                self.assertEqual(dialogue.last.replies, replies)
                self.assertEqual(dialogue.last.stage, stage)
                self.assertEqual(dialogue.last.untouched, stage == "mail")
                self.assertEqual(dialogue.last.reply.status, "4.4.2")

    def test_lost_after_the_dot(self) -> None:
        """A message that may have been delivered would be sent again to another host at once."""
        for end, words in (("connection_lost", "lost connection"), ("timed_out", "timed out")):
            dialogue = self.at("final")
            getattr(dialogue.sender, end)()
            dialogue.take()
            first, second = dialogue.last.replies
            self.assertEqual(
                str(first),
                f"451 4.4.2 {words} after the final dot: the message may have been delivered, "
                "and may arrive twice",
            )
            self.assertEqual(second.code, 550)

    def test_421(self) -> None:
        """A server that shuts down would have refused recipients it said nothing of."""
        for stage in ("mail", "recipient", "data", "content"):
            dialogue = self.at(stage)
            dialogue.hear(b"421 4.3.2 shutting down\r\n")
            self.assertIsNone(dialogue.last.replies[0])
            self.assertEqual(dialogue.last.reply.code, 421)
            self.assertEqual(dialogue.last.untouched, stage == "mail")
        dialogue = self.at("final")
        dialogue.hear(b"421 4.3.2 shutting down\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [421, 550])

    def test_refused_while_content_is_sent(self) -> None:
        """A refusal that comes early would be lost, and the message sent again."""
        dialogue = self.at("content")
        dialogue.hear(b"552 5.3.4 too big\r\n")
        self.assertIsInstance(dialogue.last, Failed)
        self.assertEqual([reply.code for reply in dialogue.last.replies], [552, 550])
        self.assertEqual(dialogue.sender.stage, "closed")
        dialogue.sender.end_of_content()
        self.assertEqual(dialogue.take(), b"")

    def test_accepted_while_content_is_sent(self) -> None:
        """A message that was sent in part would count as delivered."""
        dialogue = self.at("content")
        dialogue.hear(b"250 thanks\r\n")
        self.assertEqual(dialogue.last.reply.status, "4.5.0")
        self.assertIsNone(dialogue.last.replies[0])

    def test_impossible_replies(self) -> None:
        """A reply of the wrong kind would be taken for agreement."""
        for stage, line in (
            ("mail", b"354 go\r\n"),
            ("recipient", b"354 go\r\n"),
            ("data", b"250 ok\r\n"),
            ("data", b"334 what\r\n"),
        ):
            dialogue = self.at(stage)
            dialogue.hear(line)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")
            self.assertEqual(dialogue.last.stage, stage)
            self.assertIsNone(dialogue.last.replies[0])
        dialogue = self.at("final")
        dialogue.hear(b"354 again\r\n")
        self.assertEqual([reply.code for reply in dialogue.last.replies], [451, 550])
        self.assertIn("may have been delivered", str(dialogue.last.replies[0]))

    def test_reset_refused(self) -> None:
        """Two messages would be mixed up when the server did not forget the first."""
        dialogue = Dialogue().ready()
        dialogue.begin()
        dialogue.hear(b"250 ok\r\n")
        dialogue.hear(b"550 no\r\n")
        dialogue.begin()
        dialogue.hear(b"500 what?\r\n")
        self.assertEqual(dialogue.last.stage, "reset")
        self.assertEqual(dialogue.last.replies, (None,))
        self.assertTrue(dialogue.last.untouched)

    def test_replies_to_nothing(self) -> None:
        """A server could answer commands that were not sent yet."""
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin()
        dialogue.hear(b"250 a\r\n250 b\r\n354 c\r\n")
        dialogue.send(b"x")
        dialogue.hear(b"250 ok\r\n250 and the next one too\r\n")
        self.assertIsInstance(dialogue.events[-2], Settled)
        self.assertIsInstance(dialogue.last, Failed)
        self.assertEqual(dialogue.last.replies, ())

    def test_replies_before_the_command(self) -> None:
        """A server could answer a command, or the final dot, that it has not read."""
        for early in (b"250 mx\r\n", b"250-mx\r\n", b"25", b"nonsense\r\n"):
            dialogue = Dialogue()
            dialogue.hear(GREETING + early)
            self.assertIsInstance(dialogue.last, Failed)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")
            self.assertEqual(dialogue.sender.stage, "closed")
        for extensions, lines in (
            ((), [b"250 mail\r\n250 rcpt\r\n"]),
            ((), [b"250 mail\r\n", b"250 rcpt\r\n354 go\r\n"]),
            ((), [b"250 mail\r\n", b"250 rcpt\r\n", b"354 go\r\n250 taken\r\n"]),
            (("PIPELINING",), [b"250 mail\r\n250 rcpt\r\n354 go\r\n250 taken\r\n"]),
        ):
            dialogue = Dialogue().ready(*extensions)
            dialogue.begin(content=b"x\r\n")
            for line in lines:
                self.assertEqual(dialogue.events, [])
                dialogue.hear(line)
            self.assertIsInstance(dialogue.last, Failed)
            self.assertEqual(dialogue.last.reply.status, "4.5.0")

    def test_refused_with_the_invitation(self) -> None:
        """A server that has made up its mind would be asked again for days."""
        for content in (b"x\r\n", None):
            dialogue = Dialogue().ready("PIPELINING")
            dialogue.begin([BOB, CAROL], content=content)
            dialogue.hear(b"250 a\r\n250 b\r\n550 5.1.1 no\r\n354 go\r\n554 5.6.0 spam\r\n")
            self.assertIsInstance(dialogue.last, Failed)
            self.assertEqual(str(dialogue.last.replies[0]), "554 5.6.0 spam")
            self.assertEqual(dialogue.last.replies[1].code, 550)
        dialogue = Dialogue().ready("PIPELINING")
        dialogue.begin(content=b"x\r\n")
        dialogue.hear(b"250 a\r\n550 5.1.1 no\r\n354 go\r\n554 5.5.1 nobody\r\n")
        self.assertEqual(dialogue.last.replies, (Reply(550, "5.1.1", "no"),))

    def test_farewell_before_the_command(self) -> None:
        """A server that is busy would seem to be broken."""
        dialogue = Dialogue()
        dialogue.hear(GREETING + b"421 4.3.2 busy\r\n")
        self.assertEqual(dialogue.last.reply, Reply(421, "4.3.2", "busy"))

    def test_fault_of_ours(self) -> None:
        """A fault of ours would have the message tried at every other host."""
        dialogue = self.at("content")
        fault = Reply(451, "4.3.0", "our disk is broken")
        dialogue.sender.fail(fault)
        dialogue.take()
        self.assertEqual(dialogue.last.replies, (fault, Reply(550, "5.1.1", "nobody")))
        self.assertEqual(dialogue.last.stage, "content")
        dialogue = self.at("final")
        dialogue.sender.fail(fault)
        dialogue.take()
        self.assertIn("our disk is broken after the final dot", str(dialogue.last.replies[0]))
        self.assertIn("may arrive twice", str(dialogue.last.replies[0]))


class AnyServerTests(SynchronousTestCase):
    """Whatever a server says."""

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any_replies(self, data: st.DataObject) -> None:
        """Some order of replies could leave a recipient without an outcome, or with two."""
        lines = st.sampled_from(
            [
                b"220 x\r\n",
                b"250 x\r\n",
                b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
                b"250-x\r\n250 PIPELINING\r\n",
                b"354 x\r\n",
                b"421 x\r\n",
                b"450 x\r\n",
                b"550 x\r\n",
                b"garbage\r\n",
            ]
        )
        dialogue = Dialogue(protocol=data.draw(st.sampled_from(["smtp", "lmtp"])))
        usual = [b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n"]
        ended = begun = settled = 0
        for step in range(25):
            line = usual[step] if step < 2 and data.draw(st.booleans()) else data.draw(lines)
            dialogue.hear(line)
            for event in dialogue.events:
                if isinstance(event, Ready):
                    begun += 1
                elif isinstance(event, StartTls):
                    dialogue.sender.tls_started()
                elif isinstance(event, ContentWanted):
                    dialogue.sender.content(b"x\r\n")
                    if data.draw(st.booleans()):
                        dialogue.sender.end_of_content()
                elif isinstance(event, Settled):
                    self.assertEqual(len(event.replies), 2)
                    self.assertTrue(all(not 300 <= reply.code < 400 for reply in event.replies))
                    settled += 1
                    begun += 1
                else:
                    self.assertIn(len(event.replies), (0, 2))
                    ended += 1
            dialogue.events.clear()
            if dialogue.sender.stage == "idle" and begun > settled:
                dialogue.sender.begin(transaction([BOB, CAROL]))
        self.assertLessEqual(ended, 1)
        if ended:
            self.assertEqual(dialogue.sender.stage, "closed")

"""Our client and our server, mouth to ear: what one says the other understands."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.envelope import Recipient
from mailframe.reply import Reply
from mailframe.testing.samples import EVIDENCE
from mailframe.wire.sender_events import ContentWanted, Settled, Transaction
from mailframe.wire.smtp_events import Content, EndOfData, Mail, Rcpt
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_receiver import Receiver
from mailframe.wire.smtp_sender import Sender
from tests.wire.dialogue import Player
from tests.wire.sending import ANGELO, BOB, CAROL

NOBODY = Address("nobody", "blu.example")
LINES = st.lists(st.sampled_from([b".", b"..", b"", b".x", b"x", b"x.", b"x" * 900])).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)
OCTETS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\0", b"x", b"\xff"])).map(
    b"".join
)
PARAMETER = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=50)


class Pair:
    """A client and a server, whose words arrive in pieces."""

    def __init__(self, cut: int, *, tls: bool = False, **kwargs: Any) -> None:
        self.cut = cut
        offer = Offer(size=1_000_000, tls=tls)
        self.player = Player(Receiver(default_domain="here.example", offer=offer))
        self.sender = Sender(hostname="client.example", encrypted=tls, **kwargs)
        self.content = b""
        self.settled: list[Settled] = []
        self.player.receiver.greet(Reply(220, None, "here.example"))
        self.player.output += self.player.receiver.take_output()
        self.talk()

    def talk(self) -> None:
        """Until nobody has anything to say."""
        while True:
            for event in self.sender.take_events():
                if isinstance(event, ContentWanted):
                    for start in range(0, len(self.content), 7):
                        self.sender.content(self.content[start : start + 7])
                    self.sender.end_of_content()
                elif isinstance(event, Settled):
                    self.settled.append(event)
            said, heard = self.sender.take_output(), self.player.output
            self.player.output = b""
            if not said and not heard:
                return
            for start in range(0, len(said), self.cut):
                self.player.feed(said[start : start + self.cut])
            for start in range(0, len(heard), self.cut):
                self.sender.receive(heard[start : start + self.cut])

    def send(self, transaction: Transaction, content: bytes, *, in_hand: bool) -> Settled:
        """Hand a message over; returns what became of it."""
        self.content = content
        if in_hand:
            transaction = attrs.evolve(transaction, content=content)
        self.player.events.clear()
        self.sender.begin(transaction)
        self.talk()
        return self.settled.pop()

    def received(self, kind: type) -> list[Any]:
        """What the server heard, of one kind."""
        return [event for event in self.player.events if isinstance(event, kind)]

    @property
    def received_content(self) -> bytes:
        """What the server takes for the content."""
        return b"".join(event.octets for event in self.received(Content))


class PairTests(SynchronousTestCase):
    """Messages from our client to our server."""

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.tuples(LINES, st.booleans(), st.booleans()), min_size=1, max_size=3),
        st.booleans(),
        st.integers(1, 9),
    )
    def test_lines(
        self, messages: list[tuple[bytes, bool, bool]], chunking: bool, cut: int
    ) -> None:
        """Some content would be changed on its way, or end in the middle and go on as commands."""
        pair = Pair(cut, chunking=chunking)
        for content, in_hand, somebody in messages:
            recipients = (BOB, NOBODY, CAROL) if somebody else (NOBODY,)
            transaction = Transaction(sender=ANGELO, recipients=recipients, size=len(content))
            settled = pair.send(transaction, content, in_hand=in_hand)
            codes = [reply.code for reply in settled.replies]
            self.assertEqual(codes, [250, 550, 250] if somebody else [550])
            ends = pair.received(EndOfData)
            self.assertEqual(len(ends), int(somebody))
            if somebody:
                self.assertIsNone(ends[0].refusal)
                self.assertEqual(pair.received_content, content)

    @settings(deadline=None, max_examples=150)
    @given(OCTETS, st.booleans(), st.integers(1, 9))
    def test_octets(self, content: bytes, in_hand: bool, cut: int) -> None:
        """Binary content would be changed on its way."""
        pair = Pair(cut)
        transaction = Transaction(
            sender=ANGELO, recipients=(BOB,), size=len(content), body="BINARYMIME"
        )
        settled = pair.send(transaction, content, in_hand=in_hand)
        self.assertEqual([reply.code for reply in settled.replies], [250])
        self.assertEqual(pair.received_content, content)
        self.assertEqual(pair.received(Mail)[0].body, "BINARYMIME")

    @settings(deadline=None, max_examples=100)
    @given(
        st.sampled_from(
            [BOB, Address("j\u00fcrgen", "blu.example"), Address('a "b\\', "b.example")]
        ),
        PARAMETER,
        PARAMETER.map(str.strip).filter(bool),
        st.sampled_from([(), ("NEVER",), ("SUCCESS", "FAILURE", "DELAY")]),
        st.sampled_from([None, "FULL", "HDRS"]),
    )
    def test_parameters(
        self, address: Address, envid: str, orcpt: str, notify: Any, ret: Any
    ) -> None:
        """What a client asked of us would arrive at another of our servers as something else."""
        pair = Pair(100, tls=True)
        original = Recipient(
            address=address, evidence=EVIDENCE, notify=notify, orcpt=f"rfc822;{orcpt}"
        )
        transaction = Transaction(
            sender=address,
            recipients=(address,),
            originals=(original,),
            size=1,
            body="8BITMIME",
            smtputf8=True,
            require_tls=True,
            ret=ret,
            envid=envid,
            by="-120;NT",
        )
        settled = pair.send(transaction, b"x\r\n", in_hand=True)
        self.assertEqual([str(reply) for reply in settled.replies], ["250 2.0.0 queued"])
        (mail,), (rcpt,) = pair.received(Mail), pair.received(Rcpt)
        self.assertEqual((mail.sender, rcpt.recipient), (address, address))
        wishes = mail.wishes
        self.assertEqual((wishes.ret, wishes.envid), (ret, envid))
        self.assertTrue(wishes.smtputf8 and wishes.require_tls)
        self.assertEqual(
            (wishes.by.seconds, wishes.by.returns, wishes.by.trace), (-120, False, True)
        )
        self.assertEqual((rcpt.notify, rcpt.orcpt), (notify, f"rfc822;{orcpt}"))

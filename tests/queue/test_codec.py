"""Covers mailframe.queue.codec."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.entry import Event, QueuedRecipient, Wait
from mailframe.envelope import Client
from mailframe.queue import codec
from mailframe.reply import Reply
from tests.queue.samples import JSMITH, LATER, MARY, envelope

texts = st.text(max_size=40)
local_parts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20
)
addresses = local_parts.map(lambda local: Address(local, "demo.example"))
replies = st.builds(Reply, st.integers(400, 599), st.sampled_from([None, "4.0.0", "5.1.1"]), texts)


class CodecTests(SynchronousTestCase):
    """What is written down is read back the same."""

    @settings(deadline=None)
    @given(addresses, texts, texts)
    def test_envelope(self, address: Address, helo: str, login: str) -> None:
        """An address with quotes or a hostile HELO name must come back as it was."""
        client = Client(
            server="mx", protocol="smtp", address="::1", helo=helo, esmtp=True, login=login
        )
        before = attrs.evolve(envelope(address, MARY, sender=address, arrived=1.5), client=client)
        self.assertEqual(codec.load_envelope(codec.dump_envelope(before)), before)

    def test_null_reverse_path_and_no_client(self) -> None:
        """Notices have neither sender nor client."""
        before = attrs.evolve(envelope(sender=None), client=None)
        self.assertEqual(codec.load_envelope(codec.dump_envelope(before)), before)

    @settings(deadline=None)
    @given(st.lists(st.tuples(addresses, replies, texts), max_size=4))
    def test_recipients(self, drawn: list[tuple[Address, Reply, str]]) -> None:
        """What a remote server said must not damage the entry."""
        before = tuple(
            QueuedRecipient(address=a, state="failed", attempts=3, last_reply=r, where=w, parent=0)
            for a, r, w in drawn
        )
        before = tuple(
            attrs.evolve(
                each, held=True, throttled=1.5, wait=Wait(until=0.1 + 0.2, planned=1e9 / 3)
            )
            if i % 2
            else each
            for i, each in enumerate(before)
        )
        self.assertEqual(codec.load_recipients(codec.dump_recipients(before)), before)

    def test_whose_words(self) -> None:
        """After a restart a bounce puts our words into a server's mouth."""
        for is_remote in (True, False):
            reply = attrs.evolve(LATER, is_remote=is_remote)
            before = [QueuedRecipient(address=MARY, last_reply=reply)]
            (after,) = codec.load_recipients(codec.dump_recipients(before))
            assert after.last_reply is not None
            self.assertIs(after.last_reply.is_remote, is_remote)

    @settings(deadline=None)
    @given(texts, replies)
    def test_events(self, reason: str, reply: Reply) -> None:
        """A history keeps its reasons."""
        before = [
            Event(at=1.0, kind="accepted", reason=reason),
            Event(at=2.0, kind="postponed", recipient=JSMITH, reply=reply, next_attempt=902.0),
        ]
        self.assertEqual(codec.load_events(codec.dump_events(before)), before)

    def test_no_line_breaks(self) -> None:
        """Untrusted text never begins a line of its own."""
        event = Event(at=1.0, kind="accepted", reason="a\nb\r\nc\u2028d")
        self.assertEqual(len(codec.dump_events([event]).splitlines()), 1)

    @settings(deadline=None, max_examples=300)
    @given(st.integers(0, 10_000), st.integers(0, 7))
    def test_flipped_bits_are_found_or_harmless(self, place: int, bit: int) -> None:
        """A damaged text is reported as damaged; nothing else may be raised."""
        whole = codec.dump_envelope(envelope(JSMITH, MARY)).encode()
        octets = bytearray(whole)
        octets[place % len(octets)] ^= 1 << bit
        try:
            codec.load_envelope(octets.decode("utf-8", "replace"))
        except codec.DamagedEntry as error:
            self.assertTrue(str(error))

    def test_defaults_are_left_out(self) -> None:
        """Small texts make a fast queue."""
        self.assertEqual(
            codec.dump_recipients([QueuedRecipient(address=JSMITH)]),
            '[{"address":"jsmith@mindspring.com"}]',
        )
        self.assertIn(
            "4.7.1", codec.dump_recipients([QueuedRecipient(address=JSMITH, last_reply=LATER)])
        )

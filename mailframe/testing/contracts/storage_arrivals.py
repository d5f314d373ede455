"""What a queue storage promises about messages that arrive."""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.entry import QueuedRecipient
from mailframe.envelope import Envelope, Recipient
from mailframe.interfaces import (
    IContent,
    IMessageSink,
    IQueueStorage,
    UnknownMessage,
)
from mailframe.outcome import Permit
from mailframe.testing.contracts.storage import CONTENT, StorageContract
from mailframe.testing.samples import make_client, make_envelope


class ArrivalContract(StorageContract):
    """Receiving, committing and reading messages."""

    def test_provides_interfaces(self) -> None:
        """The server can't call the storage."""
        verifyObject(IQueueStorage, self.storage)
        sink = self.storage.receive(envelope=self.envelope())
        verifyObject(IMessageSink, sink)
        sink.abort()
        reading = self.get(self.storage.open(id=self.keep()))
        verifyObject(IContent, reading)
        reading.close()

    def test_ids(self) -> None:
        """An id can't be typed or used in a file name, or stands for two messages."""
        ids = [self.keep() for _ in range(20)]
        for id in ids:
            self.assertRegex(id, r"\A[a-z0-9]{1,32}\Z")
        self.assertEqual(len(set(ids)), len(ids))

    def test_invisible_before_commit(self) -> None:
        """Half a message is delivered."""
        sink = self.storage.receive(envelope=self.envelope())
        wait = sink.write(octets=CONTENT)
        if wait is not None:
            self.get(wait)
        self.assertEqual(self.claimed(), [])
        self.assertEqual(self.queued(), [])
        self.assertIsNone(self.get(self.storage.find(id=sink.id)))
        self.assertIsNone(self.get(self.storage.next_due()))
        sink.abort()

    def test_entry(self) -> None:
        """A message loses its recipients, its sender or the evidence of who sent it."""
        mary = Address.parse('"mary ann"@here.example')
        envelope = Envelope(
            sender=Address.parse("angelo@rosse.example"),
            recipients=(
                Recipient(
                    address=mary,
                    evidence=Permit(reason="logged in", rule="r", plugin="p", provider="v"),
                ),
                Recipient(
                    address=Address.parse("x@[IPv6:2001:db8::1]"),
                    evidence=Permit(reason="a local recipient"),
                ),
            ),
            client=make_client("2001:db8::9", login="angelo@rosse.example", tls="TLSv1.3 X"),
            arrived=self.now - 0.125,
            body="8BITMIME",
        )
        id = self.keep(envelope)
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        self.assertEqual(entry.envelope, envelope)
        self.assertEqual((entry.id, entry.size), (id, len(CONTENT)))
        self.assertEqual(
            entry.recipients, tuple(QueuedRecipient(address=r.address) for r in envelope.recipients)
        )
        self.assertEqual(entry.next_attempt, envelope.arrived)
        self.assertFalse(entry.held or entry.warned)
        self.assertEqual(self.claim(), [entry])

    def test_held_back(self) -> None:
        """A message that its sender put off goes out at once, or is forgotten."""
        envelope = attrs.evolve(self.envelope(), not_before=self.now + 3600)
        id = self.keep(envelope)
        self.assertEqual(self.get(self.storage.next_due()), self.now + 3600)
        self.assertEqual(self.claimed(), [])
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        self.assertEqual((entry.next_attempt, entry.held), (self.now + 3600, False))
        self.assertEqual(self.claimed(now=self.now + 3600), [id])

    def test_null_sender_and_no_client(self) -> None:
        """A notice gets a sender, and is answered with a notice."""
        envelope = Envelope(
            sender=None,
            recipients=self.envelope().recipients,
            client=None,
            arrived=self.now,
        )
        entry = self.get(self.storage.find(id=self.keep(envelope)))
        assert entry is not None
        self.assertEqual(entry.envelope, envelope)

    def test_content_octet_for_octet(self) -> None:
        """A message changes on its way, which breaks its signature."""
        for content in (
            CONTENT,
            b"",
            b"Subject: 8bit\r\n\r\n" + bytes(range(256)) * 7 + b"\r\n.\r\n..\r\nFrom x\r\n",
            b"\xff" * 65_536,
            b"a" * 65_537,
        ):
            self.assertEqual(self.content(self.keep(content=content)), content)

    def test_large_content(self) -> None:
        """A large message is refused, cut off or put together wrongly."""
        content = b"".join(b"%079d\r\n" % number for number in range(40_000))
        id = self.keep(content=content, piece=50_000)
        self.assertEqual(self.content(id), content)
        entry = self.get(self.storage.find(id=id))
        assert entry is not None
        self.assertEqual(entry.size, len(content))

    def test_small_pieces(self) -> None:
        """A message that arrives line by line is put together wrongly."""
        content = b"".join(b"%d\r\n" % number for number in range(5000))
        self.assertEqual(self.content(self.keep(content=content, piece=7)), content)

    def test_two_at_a_time(self) -> None:
        """Two messages that arrive at the same time are mixed up."""
        one = self.storage.receive(envelope=self.envelope())
        two = self.storage.receive(envelope=self.envelope())
        for number in range(50):
            for sink, letter in ((one, b"a"), (two, b"b")):
                wait = sink.write(octets=letter * 4000 + b"%d\r\n" % number)
                if wait is not None:
                    self.get(wait)
        committed = self.both(one.commit(), two.commit())
        for commit in committed:
            self.successResultOf(commit)
        self.assertEqual(set(self.content(one.id)) & set(b"ab"), set(b"a"))
        self.assertEqual(set(self.content(two.id)) & set(b"ab"), set(b"b"))

    def test_opened_twice(self) -> None:
        """A message for two servers reaches the second one in part."""
        content = bytes(range(256)) * 1000
        id = self.keep(content=content)
        one = self.get(self.storage.open(id=id))
        first = self.get(one.read())
        self.assertEqual(self.content(id), content)
        self.assertEqual(first + self.get(one.read()), content[: len(first) * 2])
        one.close()

    def test_abort(self) -> None:
        """A message whose client was told that it is not taken is delivered all the same."""
        for content in (CONTENT, b"x" * 300_000):
            sink = self.storage.receive(envelope=self.envelope())
            wait = sink.write(octets=content)
            if wait is not None:
                self.get(wait)
            sink.abort()
            self.reactor.advance(0)
            self.assertEqual(self.claimed(), [])
            self.assertEqual(self.history(sink.id), [])
            self.fails(self.storage.open(id=sink.id), UnknownMessage)

    def test_history_begins(self) -> None:
        """Nobody can tell by which rule a message was let in."""
        evidence = Permit(reason="logged in as angelo", rule="rosse", plugin="providers")
        mary, jsmith = Address.parse("mary@here.example"), Address.parse("jsmith@there.example")
        envelope = make_envelope(arrived=self.now)
        id = self.keep(
            Envelope(
                sender=envelope.sender,
                recipients=tuple(Recipient(address=a, evidence=evidence) for a in (mary, jsmith)),
                client=envelope.client,
                arrived=self.now,
            )
        )
        events = self.history(id)
        self.assertEqual(
            [(event.kind, event.recipient) for event in events],
            [("accepted", None), ("authorised", mary), ("authorised", jsmith)],
        )
        for event in events:
            self.assertEqual(event.at, self.now)
        for event in events[1:]:
            self.assertEqual(
                (event.reason, event.rule, event.plugin),
                ("logged in as angelo", "rosse", "providers"),
            )

    def test_watch(self) -> None:
        """A message waits for the next look at the queue instead of being delivered at once."""
        called: list[float] = []
        self.storage.watch(callback=lambda: called.append(self.now))
        self.keep()
        self.reactor.advance(0)
        self.assertTrue(called)

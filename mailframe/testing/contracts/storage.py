"""What the parts of the contract of a queue storage have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred

from mailframe.entry import Entry, Event, QueuedRecipient, Step
from mailframe.envelope import Envelope
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage
from mailframe.testing.contracts.contract import Contract, T
from mailframe.testing.network import VirtualReactor
from mailframe.testing.samples import make_envelope

CONTENT = b"Subject: lunch\r\n\r\nAt one?\r\n"
LEASE = 300.0  # seconds
NO_ID = ("nosuchmessage", "0", "z" * 32, "../../etc/passwd", "", "A B\r\n")


class StorageContract(Contract):
    """Makes a storage and uses it as the server does: by keyword."""

    storage: IQueueStorage

    def make_storage(self, clock: VirtualReactor) -> IQueueStorage:
        """An empty storage that tells the time by ``clock``, which is ``self.reactor``."""
        raise AssertionError("override make_storage()")

    def setUp(self) -> None:
        """Make the storage."""
        super().setUp()
        self.storage = self.make_storage(self.reactor)

    def tearDown(self) -> None:
        """Close it: nothing may be left under way."""
        self.get(self.storage.close())
        super().tearDown()

    @property
    def now(self) -> float:
        """The time it is."""
        return self.reactor.seconds()

    def envelope(self) -> Envelope:
        """An envelope that arrives now."""
        return make_envelope(arrived=self.now)

    def keep(
        self, envelope: Envelope | None = None, content: bytes = CONTENT, piece: int = 65_536
    ) -> str:
        """Put a message into the queue, in pieces, waiting wherever the storage asks for it."""
        sink = self.storage.receive(envelope=envelope or self.envelope())
        for start in range(0, len(content), piece):
            wait = sink.write(octets=content[start : start + piece])
            if wait is not None:
                self.get(wait)
        self.get(sink.commit())
        return sink.id

    def claim(self, owner: str = "one", limit: int = 100, now: float | None = None) -> list[Entry]:
        """Claim what is due, for `LEASE` seconds."""
        at = self.now if now is None else now
        entries: Sequence[Entry] = self.get(
            self.storage.claim(owner=owner, now=at, limit=limit, until=at + LEASE)
        )
        return list(entries)

    def claimed(self, owner: str = "one", now: float | None = None) -> list[str]:
        """The ids of what is due."""
        return [entry.id for entry in self.claim(owner, now=now)]

    def queued(self) -> list[str]:
        """The ids of all that is in the queue."""
        return [entry.id for entry in self.get(self.storage.messages(after=None, limit=1000))]

    def content(self, id: str) -> bytes:
        """A message's content, with the size of every piece checked."""
        reading = self.get(self.storage.open(id=id))
        octets = b""
        while piece := self.get(reading.read()):
            self.assertLessEqual(len(piece), 65_536)
            octets += piece
        reading.close()
        return octets

    def history(self, id: str) -> list[Event]:
        """What happened to a message."""
        return list(self.get(self.storage.history(id=id)))

    def step(
        self,
        entry: Entry,
        *,
        next_attempt: float | None,
        recipients: tuple[QueuedRecipient, ...] | None = None,
        warned: bool = False,
        events: tuple[Event, ...] = (),
        goes_on: bool = False,
    ) -> Step:
        """A step that leaves the recipients as they are, unless told otherwise."""
        return Step(
            recipients=entry.recipients if recipients is None else recipients,
            next_attempt=next_attempt,
            warned=warned,
            events=events,
            goes_on=goes_on,
        )

    def settle(self, entry: Entry, step: Step, owner: str = "one") -> None:
        """Record a step without notices."""
        self.get(self.storage.settle(id=entry.id, owner=owner, step=step, notices=()))

    def both(self, one: Awaitable[T], two: Awaitable[T]) -> tuple[Deferred[T], Deferred[T]]:
        """Begin two things before either of them can end."""
        begun = as_deferred(one), as_deferred(two)
        self.reactor.advance(0)
        return begun

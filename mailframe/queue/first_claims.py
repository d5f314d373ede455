"""Messages that are leased as they arrive, to the runner of the process that accepts them.

A runner that has just claimed all there was has room left. A message that arrives now is going to
be its next claim: so it is put into the queue with its lease, in one step, and handed to the runner
without a look into the queue. No other process gets at it meanwhile, and its content is read from
memory. Beyond that room messages are put into the queue without a lease, for whoever claims first.

While more is due than there is room for, what arrives would stand behind all of it, be that mail
for one server that can't follow. So it gets up to half of the places that fall free.

What is not claimed soon, or asked for by somebody else, is given back.
"""

from __future__ import annotations

from mailframe.entry import Entry, QueuedRecipient
from mailframe.queue.ids import id_text
from mailframe.queue.ledger import Arrival, Lease

SOON = 1.0  # seconds from arrival to claim; also how long a claim may do without looking
KEPT = 50  # messages at the most that are leased beside a backlog, before there is room for them


class FirstClaims:
    """What was leased on arrival and is still to be claimed."""

    def __init__(self) -> None:
        self._owner: str | None = None
        self._length = 0.0
        self._room = 0
        self._kept = 0  # beyond the room, soon after a claim
        self._claimed = 0.0
        self._looked = 0.0
        self._waiting: dict[int, tuple[Entry, Lease, float]] = {}

    def __len__(self) -> int:
        """How many messages wait to be claimed."""
        return len(self._waiting)

    def lease(self, due: float, now: float) -> Lease | None:
        """The lease with which to keep a message that is about to be kept; ``None``: without one.

        :param due: when the message is due; not much earlier than now, for older ones go first
        :param now: POSIX seconds
        """
        if self._owner is None or not 0 <= now - due <= SOON:
            return None
        if self._room > 0:
            self._room -= 1
        elif self._kept > 0 and 0 <= now - self._claimed <= SOON:
            self._kept -= 1
        else:
            return None
        return Lease(owner=self._owner, until=now + self._length)

    def add(self, arrival: Arrival, now: float) -> None:
        """A message was kept; with a lease, it waits to be claimed."""
        if arrival.lease is None:
            return
        envelope = arrival.envelope
        entry = Entry(
            id=id_text(arrival.key),
            envelope=envelope,
            size=arrival.size,
            recipients=tuple(QueuedRecipient(address=r.address) for r in envelope.recipients),
            next_attempt=envelope.due,
        )
        self._waiting[arrival.key] = entry, arrival.lease, now

    def take(self, owner: str, now: float, limit: int) -> list[Entry]:
        """Claim at most so many for an owner."""
        found: list[tuple[int, Entry]] = []
        for key, (entry, lease, since) in self._waiting.items():
            if len(found) == limit:
                break
            if lease.owner == owner and 0 <= now - since <= SOON:
                found.append((key, entry))
        for key, _ in found:
            del self._waiting[key]
        return [entry for _, entry in found]

    def give_back(self) -> dict[int, str]:
        """Forget all that wait; their keys, each with the owner whose lease is to be ended."""
        waiting, self._waiting = self._waiting, {}
        return {key: lease.owner for key, (_, lease, _) in waiting.items()}

    def withdraw(self, key: int) -> str | None:
        """Forget one; the owner whose lease is to be ended, or ``None`` when it does not wait."""
        if key not in self._waiting:
            return None
        return self._waiting.pop(key)[1].owner

    def may_do_without_looking(self, now: float) -> bool:
        """Whether the queue was looked at so recently that a claim need not look again."""
        return 0 <= now - self._looked < SOON

    def looked(self, now: float) -> None:
        """The queue was looked at for what is due."""
        self._looked = now

    def claimed(self, owner: str, now: float, length: float, room: int, backlog: int) -> None:
        """A claim has ended.

        :param owner: whose it was
        :param now: POSIX seconds
        :param length: how long it leases messages, in seconds
        :param room: how many more messages there was room for
        :param backlog: how many it could have had if the queue held more than it had room for; 0
            when it did not
        """
        self._owner, self._length, self._claimed = owner, length, now
        self._room = room - len(self._waiting)
        self._kept = min(backlog // 2, KEPT) - len(self._waiting)

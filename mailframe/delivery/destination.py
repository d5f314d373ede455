"""The connections to one next hop, shared by the messages that go there.

A message that goes to a next hop first needs a `Permit`. There are as many as connections are
allowed at present (`mailframe.delivery.concurrency`); who finds none waits in the order of arrival,
or is sent back to the queue when the places in which messages are tried run short
(`mailframe.delivery.line`). A permit may come with a connection that an earlier message left open.
When it is given back its connection, if it is still good, serves the next in the line, or is kept
for a while.

What is known of a destination outlives the messages that go there (`Destinations`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred

from mailframe.delivery.concurrency import Concurrency
from mailframe.delivery.connection import RelayConnection
from mailframe.delivery.line import Line
from mailframe.outcome import NextHop, Throttled
from mailframe.reply import Reply

KNOWN = 2_000  # destinations that are remembered while nothing goes there


@attrs.define(eq=False)
class Permit:
    """The right to use one connection.

    :ivar connection: the one that is in use, or ``None`` as long as there is none
    """

    connection: RelayConnection | None = None


Granted: TypeAlias = Permit | Reply | Throttled


class Destination:
    """Permits and idle connections of one next hop.

    :param where: what outcomes and log lines call it
    :param concurrency: how many connections there may be at once
    :param line: for those who wait
    :param reuse_messages: how many transactions a connection may carry
    :param keep: whether idle connections are kept at all
    :param line_begins: called with this when somebody begins to wait

    :ivar where: as given
    :ivar concurrency: as given
    :ivar reuse_messages: as given; to be changed with `use`
    """

    def __init__(
        self,
        *,
        where: str,
        concurrency: Concurrency,
        line: Line,
        reuse_messages: int,
        keep: bool,
        line_begins: Callable[[Destination], None],
    ) -> None:
        self.where = where
        self.concurrency = concurrency
        self.reuse_messages = reuse_messages
        self._line = line
        self._keep = keep
        self._line_begins = line_begins
        self._permits: set[Permit] = set()
        self._idle: list[RelayConnection] = []
        self._ending: set[RelayConnection] = set()  # closed by us, but not gone yet
        self._serving = False

    @property
    def in_use(self) -> int:
        """How many permits there are."""
        return len(self._permits)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._line)

    @property
    def is_at_rest(self) -> bool:
        """Whether there are neither permits nor connections, nor anybody who waits."""
        return not (self._permits or self._idle or self._ending or self._line)

    @property
    def is_of_interest(self) -> bool:
        """Whether it does something, or is other than it was at the beginning."""
        concurrency = self.concurrency
        return (
            not self.is_at_rest
            or concurrency.refusal is not None
            or concurrency.limit != concurrency.first
        )

    def use(self, *, first: int, most: int, reuse_messages: int) -> None:
        """Other limits, from now on.

        :param first: how many connections once it lets us in
        :param most: the most
        :param reuse_messages: how many transactions a connection may carry
        """
        self.reuse_messages = reuse_messages
        self.concurrency.use(first=first, most=most)
        while self._idle and len(self._permits) + len(self._idle) > most:
            self._end(self._idle.pop(0))
        self._note_room()
        self.serve()

    def permit(self, is_scarce: bool) -> Granted | Deferred[Granted]:
        """A permit, or what fires with one.

        :param is_scarce: whether the places run short in which messages are tried
        :returns: or the reply of a destination that let nobody in, of late or while we waited; or
            that there is no room to wait
        """
        refusal = self.refusal
        if refusal is not None:
            return refusal
        permit = None if self._line else self._free_permit()
        if permit is not None:
            return permit
        self._note_room()
        if is_scarce and len(self._line) >= self._least and self._line.is_slow(self._parallel):
            return self.throttled()
        if not self._line:
            self._line_begins(self)
        return self._line.wait()

    @property
    def refusal(self) -> Reply | None:
        """Why nobody is to be sent there now, or ``None``; one at a time is, as a probe."""
        concurrency = self.concurrency
        if concurrency.refusal is None:
            return None
        return concurrency.refusal if self._permits or concurrency.is_dead else None

    def throttled(self) -> Throttled:
        """What one is told who is not to wait."""
        limit = self.concurrency.allowed
        text = f"{self.where} gets {limit} connection{'s' * (limit > 1)} from us at present"
        seconds = self._line.later(self._parallel)
        return Throttled(
            where=self.where, reply=Reply(451, "4.4.5", f"{text}, all in use"), seconds=seconds
        )

    def look(self, is_scarce: bool) -> None:
        """Send back to the queue who would hold a place for too long. Called now and then."""
        self._line.look()
        if is_scarce and self._line.is_stuck:
            for who in self._line.too_many(self._least):
                who.callback(self.throttled())
        for who in self._line.too_long():
            who.callback(self.throttled())

    @property
    def _least(self) -> int:
        """How many may wait however slow it goes: enough to keep all its connections busy."""
        return self.concurrency.limit if self.concurrency.is_known else 0

    @property
    def _parallel(self) -> int:
        concurrency = self.concurrency
        return concurrency.limit if concurrency.is_known else concurrency.most

    def give_back(self, permit: Permit) -> None:
        """End the use of a permit."""
        if self._note_room():
            self._line.moved()
        self._permits.discard(permit)
        connection = permit.connection
        if connection is not None:
            has_place = len(self._permits) + len(self._idle) < self.concurrency.most
            is_kept = self._keep and has_place and connection.messages < self.reuse_messages
            if is_kept and connection.usable:
                connection.rest()
                self._idle.append(connection)
            else:
                self._end(connection)
        self._note_room()
        self.serve()

    def drop(self, permit: Permit) -> None:
        """End the connection of a permit, which may get another one."""
        connection, permit.connection = permit.connection, None
        if connection is not None:
            self._end(connection)

    def _end(self, connection: RelayConnection) -> None:
        """End a connection. Until it is gone its server counts it, and so do we."""
        if not connection.closed.called:
            self._ending.add(connection)
            connection.closed.addCallback(lambda _: self._ended(connection))
        connection.quit()

    def _ended(self, connection: RelayConnection) -> None:
        self._ending.discard(connection)
        self.serve()
        self._note_room()

    def let_in(self) -> None:
        """One of its servers let us in: it takes more messages than this one."""
        self.concurrency.let_in()
        self._note_room()
        self.serve()

    def went_well(self) -> None:
        """A connection did what it was asked."""
        self.concurrency.went_well(len(self._permits))
        self._note_room()

    def failed(self, reply: Reply) -> None:
        """A connection failed that had stood."""
        if self.concurrency.failed(reply) and self._nowhere and reply.is_temporary:
            self.concurrency.die(hearsay(reply), is_slow=True)

    def nobody_let_in(self, reply: Reply, *, is_slow: bool) -> None:
        """No server of this next hop let us in.

        Unless a connection stands nevertheless, those who wait need not find out one after another:
        they are postponed too. A reply that is final may be meant for one connection only, and no
        mail is returned for it without having been tried.

        :param is_slow: it took its time: others would be held up if they tried it too
        """
        failed = self.concurrency.failed(reply)
        if self._nowhere and reply.is_temporary:
            if failed or is_slow or self.concurrency.refusal is not None:
                self.concurrency.die(hearsay(reply), is_slow=is_slow)
            self.turn_away(hearsay(reply))

    @property
    def _nowhere(self) -> bool:
        """Whether no connection stands."""
        return not self._idle and all(permit.connection is None for permit in self._permits)

    def turn_away(self, reply: Reply) -> None:
        """Those who wait get the reply instead of a permit."""
        for who in self._line.too_many(0):
            who.callback(reply)

    def watch(self, connection: RelayConnection) -> None:
        """Notice when a connection is gone. To be called once for each that a permit gets."""
        connection.closed.addCallback(lambda _: self._lost(connection))

    def _lost(self, connection: RelayConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _free_permit(self) -> Permit | None:
        while self._idle:
            connection = self._idle.pop()  # the last used one: the others may grow old and close
            if connection.usable:
                return self._new_permit(connection)
            self._end(connection)
        return self._new_permit(None) if self._has_room else None

    @property
    def _has_room(self) -> bool:
        """Whether there may be one more connection."""
        return len(self._permits) + len(self._ending) < self.concurrency.allowed

    def _new_permit(self, connection: RelayConnection | None) -> Permit:
        permit = Permit(connection)
        self._permits.add(permit)
        self._note_room()
        return permit

    def _note_room(self) -> bool:
        """Tell the line whether whoever comes has to wait; the limit may have changed meanwhile.

        :returns: whether that was known before
        """
        was_full = self._line.is_full
        if self._has_room:
            self._line.has_room()
            return False
        if not was_full:
            self._line.full()
        return was_full

    def serve(self) -> None:
        """Give permits to those who wait. Not nested: one served may be done before it returns."""
        if self._serving:
            return
        self._serving = True
        try:
            while self._line and (permit := self._free_permit()) is not None:
                self._line.next().callback(permit)
        finally:
            self._serving = False


class Destinations:
    """The destinations that are known, most of them at rest; not too many.

    :param make: makes one for a next hop
    """

    def __init__(self, make: Callable[[NextHop], Destination]) -> None:
        self._make = make
        self._known: OrderedDict[NextHop, Destination] = OrderedDict()  # the last used ones last

    def of(self, hop: NextHop) -> Destination:
        """The destination of a next hop."""
        destination = self._known.get(hop)
        if destination is None:
            self._forget_some()
            destination = self._known[hop] = self._make(hop)
        else:
            self._known.move_to_end(hop)
        return destination

    def _forget_some(self) -> None:
        """Look at two at the most: one that is in use stays, and is looked at after the others."""
        for _ in range(min(len(self._known) - KNOWN + 1, 2)):
            hop, destination = self._known.popitem(last=False)
            if not destination.is_at_rest:
                self._known[hop] = destination

    def __iter__(self) -> Iterator[Destination]:
        return iter(tuple(self._known.values()))

    def items(self) -> tuple[tuple[NextHop, Destination], ...]:
        """All, with their next hops."""
        return tuple(self._known.items())


def hearsay(reply: Reply) -> Reply:
    """A reply as it is told to those who were not there."""
    return Reply(reply.code, reply.status, f"{' '.join(reply.text)} (at an attempt a moment ago)")

"""The connections to one next hop, shared by the messages that go there.

A message that goes to a next hop first needs a `Permit`. There are as many as connections are
allowed; who finds none waits in the order of arrival. A permit may come with a connection that an
earlier message left open. When it is given back its connection, if it is still good, serves the
next in the line, or is kept for a while.

`Turns` bound what all next hops have under way together; `Refusals` are what hops that let nobody
in are remembered by.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailframe.delivery.connection import RelayConnection
from mailframe.outcome import NextHop
from mailframe.reply import Reply

REMEMBERED = 60.0  # seconds that a next hop is not tried after it let nobody in


@attrs.define(eq=False)
class Permit:
    """The right to use one connection.

    :ivar connection: the one that is in use, or ``None`` as long as there is none
    """

    connection: RelayConnection | None = None


class Turns:
    """Lets only so many go on at once; the others wait in the order of arrival.

    :param limit: how many
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[Deferred[Reply | None]] = deque()
        self._serving = False

    async def take(self) -> Reply | None:
        """Wait for a turn.

        :returns: ``None`` for a turn, to be ended by `give_back`; or why there is none
        """
        if self._free and not self._waiting:
            self._free -= 1
            return None
        waiting: Deferred[Reply | None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return await waiting

    def give_back(self) -> None:
        """End a turn. Not nested: one served may be done before it returns."""
        self._free += 1
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting and self._free:
                self._free -= 1
                self._waiting.popleft().callback(None)
        finally:
            self._serving = False

    def turn_away(self, reply: Reply) -> None:
        """Those who wait get the reply instead of a turn."""
        waiting = tuple(self._waiting)
        self._waiting.clear()
        for who in waiting:
            who.callback(reply)


class Refusals:
    """Why next hops let nobody in a moment ago, for those who would ask them again.

    Only replies that postpone: a hop that says no for good may say so of one connection.

    :param clock: tells when a refusal is out of date
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entries: OrderedDict[NextHop, tuple[float, Reply]] = OrderedDict()  # the oldest first

    def add(self, hop: NextHop, reply: Reply) -> None:
        """Remember a refusal for a while."""
        if reply.is_temporary:
            self._entries[hop] = (self._clock.seconds() + REMEMBERED, _hearsay(reply))
            self._entries.move_to_end(hop)

    def of(self, hop: NextHop) -> Reply | None:
        """The refusal of a next hop, if it is not out of date."""
        now = self._clock.seconds()
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
        entry = self._entries.get(hop)
        return None if entry is None else entry[1]

    def forget(self, hop: NextHop) -> None:
        """The next hop let somebody in."""
        self._entries.pop(hop, None)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()


class Destination:
    """Permits and idle connections of one next hop.

    :param limit: how many connections there may be at once
    :param reuse_messages: how many transactions a connection may carry
    :param keep: whether idle connections are kept at all
    :param forget: called when nothing is left here to remember
    """

    def __init__(
        self, *, limit: int, reuse_messages: int, keep: bool, forget: Callable[[], None]
    ) -> None:
        self._limit = limit
        self._reuse_messages = reuse_messages
        self._keep = keep
        self._forget = forget
        self._permits: set[Permit] = set()
        self._idle: list[RelayConnection] = []
        self._waiting: deque[Deferred[Permit | Reply]] = deque()
        self._serving = False

    async def permit(self) -> Permit | Reply:
        """A permit, or the reply of a host that let nobody in while we waited."""
        permit = self._free_permit()
        if permit is not None:
            return permit
        waiting: Deferred[Permit | Reply] = Deferred(self._leave_line)
        self._waiting.append(waiting)
        return await waiting

    def give_back(self, permit: Permit) -> None:
        """End the use of a permit."""
        self._permits.discard(permit)
        connection = permit.connection
        if connection is not None and connection.usable:
            if self._keep and connection.messages < self._reuse_messages:
                connection.rest()
                self._idle.append(connection)
            else:
                connection.quit()
        elif connection is not None:
            connection.quit()
        self._serve()
        self._forget_if_empty()

    def nobody_let_in(self, reply: Reply) -> bool:
        """No server of this next hop let us in.

        Unless a connection stands nevertheless, those who wait need not find out one after another:
        they are postponed too. A reply that is final may be meant for one connection only, and no
        mail is returned for it without having been tried.

        :returns: whether none stands
        """
        nowhere = not self._idle and all(permit.connection is None for permit in self._permits)
        if nowhere and reply.is_temporary:
            self.turn_away(_hearsay(reply))
        return nowhere

    def turn_away(self, reply: Reply) -> None:
        """Those who wait get the reply instead of a permit."""
        waiting, self._waiting = self._waiting, deque()
        for who in waiting:
            who.callback(reply)

    def watch(self, connection: RelayConnection) -> None:
        """Notice when a connection is gone. To be called once for each that a permit gets."""
        connection.closed.addCallback(lambda _: self._lost(connection))

    def _lost(self, connection: RelayConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._forget_if_empty()

    def _free_permit(self) -> Permit | None:
        while self._idle:
            connection = self._idle.pop()  # the last used one: the others may grow old and close
            if connection.usable:
                return self._new_permit(connection)
        return self._new_permit(None) if len(self._permits) < self._limit else None

    def _leave_line(self, waiting: Deferred[Permit | Reply]) -> None:
        self._waiting.remove(waiting)

    def _new_permit(self, connection: RelayConnection | None) -> Permit:
        permit = Permit(connection)
        self._permits.add(permit)
        return permit

    def _serve(self) -> None:
        """Give permits to those who wait. Not nested: one served may be done before it returns."""
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting and (permit := self._free_permit()) is not None:
                self._waiting.popleft().callback(permit)
        finally:
            self._serving = False

    def _forget_if_empty(self) -> None:
        if not self._permits and not self._idle and not self._waiting:
            self._forget()


def _hearsay(reply: Reply) -> Reply:
    """A reply as it is told to those who were not there."""
    return Reply(reply.code, reply.status, f"{' '.join(reply.text)} (at an attempt a moment ago)")

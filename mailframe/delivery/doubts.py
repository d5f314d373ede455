"""Servers of a next hop that are tried after the others, whatever their preference.

The exchangers of a domain are tried in their order, until one takes the message (RFC 5321 §5.1).
With some that alone would not get it far:

- one that keeps us waiting and lets nobody in, as a host does that hangs: each new session would
  wait for it first, for minutes. For a while it is tried after the others, for all messages;
- one to which a message was handed over in vain for its own sake: it ended the session instead of
  answering to the final dot, or has no room on its disk. That settles the attempt, lest the message
  arrive twice; but the next attempt begins with the others. Else a message would be given up in the
  end for the sake of the best exchanger, while another one would have taken it.

Each process knows what it has seen itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.reply import Reply

log = Logger()

SLOW = 5.0  # seconds; who takes longer to let nobody in holds up others
# Seconds for which such a server is tried after the others; longer than it takes to wait for two.
DOUBTED = 900.0
MOST = 2_000  # servers, and messages, that are remembered

T = TypeVar("T")


class Doubts:
    """Remembers which servers were of no use.

    :param clock: measures the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slow: OrderedDict[str, float] = OrderedDict()  # until when; the oldest first
        self._in_vain: OrderedDict[str, dict[str, None]] = OrderedDict()  # by queue id, likewise

    def turned_away(self, server: str, seconds: float) -> None:
        """A server did not let us in.

        :param seconds: how long it took for that
        """
        if seconds >= SLOW:
            self._slow[server] = self._clock.seconds() + DOUBTED
            self._slow.move_to_end(server)
            if len(self._slow) > MOST:
                self._slow.popitem(last=False)

    def let_in(self, server: str) -> None:
        """A server let us in."""
        if self._slow:
            self._slow.pop(server, None)

    def in_vain(self, id: str, server: str) -> None:
        """A message was handed to a server, which could do nothing with it.

        :param id: the message's
        """
        servers = self._in_vain.setdefault(id, {})
        servers.pop(server, None)
        servers[server] = None  # the last one is the last to be tried again
        self._in_vain.move_to_end(id)
        if len(self._in_vain) > MOST:
            self._in_vain.popitem(last=False)

    def was_in_vain(self, id: str, server: str) -> bool:
        """Whether the others are to be tried first with a message."""
        return bool(self._in_vain) and server in self._in_vain.get(id, ())

    def in_order(
        self, id: str, servers: Sequence[T], name: Callable[[T], str] = str
    ) -> Sequence[T]:
        """Servers in the order in which they are to be tried with a message.

        :param name: what each is called
        """
        if len(servers) < 2 or not (self._slow or self._in_vain):
            return servers
        now = self._clock.seconds()
        in_vain = list(self._in_vain.get(id, ()))

        def place(server: T) -> tuple[int, bool]:
            known = name(server)
            tried = in_vain.index(known) + 1 if known in in_vain else 0
            return tried, now < self._slow.get(known, now)

        found = sorted(servers, key=place)
        if found != list(servers):
            log.info(
                "{id}: the order is {order}; did not take it before: {in_vain}; hung: {slow}",
                id=id,
                order=_names(map(name, found)),
                in_vain=_names(in_vain),
                slow=_names(each for each in map(name, found) if now < self._slow.get(each, now)),
            )
        return found


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def is_of_server(reply: Reply) -> bool:
    """Whether a server says that it is itself in trouble (RFC 3463 §3.4)."""
    if not reply.is_remote:
        return False
    if reply.status is None:
        return reply.code == 452  # RFC 5321 §4.2.2: insufficient system storage
    return reply.is_temporary and reply.status.startswith("4.3.")

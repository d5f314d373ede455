"""How many connections a destination gets: slow start, after Postfix's example.

A destination that nobody knows gets one connection. Once it lets us in it gets a few, then one more
for each message that goes well while all of them are in use, up to the most that is allowed. Each
failure of a connection takes one away. What a server says of a message or a recipient is no
failure: only what it does to the session counts.

A destination is dead when nobody was let in that took long to turn us away, or when as many
connections failed in a row as make a few rounds of all that it gets. It is left alone for a while,
a short one if it turned us away at once and so holds nobody up; then one message at a time probes
it, until it answers.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.reply import Reply

log = Logger()

REMEMBERED = 60.0  # seconds that a dead destination is not tried
BRIEFLY = 5.0  # the same for one that turned us away at once: to try it costs little
FRESH = 300.0  # seconds; who has shown no sign of life for longer gets one connection at first
FAILED_ROUNDS = 3  # failures in a row, each counted as a part of all connections
TOLD_EVERY = 60.0  # seconds between two log lines on how a destination grows or shrinks


class Concurrency:
    """How many connections one destination gets.

    :param where: what log lines call it
    :param first: how many once it lets us in
    :param most: the most
    :param clock: measures

    :ivar limit: how many it gets while it shows signs of life
    :ivar first: as given; may be changed
    :ivar most: as given; to be changed with `use`
    :ivar refusal: why it is dead, or ``None``
    :ivar dead_until: when a probe may be sent; by the clock
    """

    __slots__ = (
        "_clock",
        "_failed_rounds",
        "_fresh_until",
        "_told",
        "_told_limit",
        "dead_until",
        "first",
        "limit",
        "most",
        "refusal",
        "where",
    )

    def __init__(self, *, where: str, first: int, most: int, clock: IReactorTime) -> None:
        self.where = where
        self.first = min(first, most)
        self.most = most
        self.limit = self.first
        self.refusal: Reply | None = None
        self.dead_until = 0.0
        self._clock = clock
        self._fresh_until = 0.0
        self._failed_rounds = 0.0
        self._told: float | None = None
        self._told_limit = self.first

    @property
    def is_known(self) -> bool:
        """Whether it has shown signs of life of late."""
        return self.refusal is None and self._clock.seconds() < self._fresh_until

    @property
    def is_dead(self) -> bool:
        """Whether not even a probe is to be sent."""
        return self.refusal is not None and self._clock.seconds() < self.dead_until

    @property
    def allowed(self) -> int:
        """How many connections it gets now."""
        if self.refusal is None and self._clock.seconds() < self._fresh_until:
            return self.limit
        return 1

    def use(self, *, first: int, most: int) -> None:
        """Other limits, from now on; what got fewer than the first ones gets no more for that."""
        is_shrunk = self.limit < self.first
        self.first, self.most = min(first, most), most
        self.limit = min(self.limit if is_shrunk else max(self.limit, self.first), most)

    def let_in(self) -> None:
        """One of its servers let us in."""
        self._alive()

    def went_well(self, in_use: int) -> None:
        """A connection did what it was asked.

        :param in_use: how many are in use, with this one
        """
        self._alive()
        self._failed_rounds = 0.0
        if in_use >= self.limit < self.most:
            self.limit += 1
            self._tell("takes more", "")

    def failed(self, reply: Reply) -> bool:
        """A connection failed.

        :returns: whether so many did that nobody is to be sent there if no connection stands
        """
        self._failed_rounds += 1 / self.allowed
        if self.limit > 1:
            self.limit -= 1
            self._tell("gets fewer", str(reply))
        return self._failed_rounds >= FAILED_ROUNDS

    def die(self, reply: Reply, *, is_slow: bool) -> None:
        """Nobody is to be sent there for a while.

        :param reply: why, for those who would be
        :param is_slow: others would be held up if they tried it too
        """
        seconds = REMEMBERED if is_slow else BRIEFLY
        if self.refusal is None:
            log.info(
                "{where} is left alone for {s:g} s, then tried with one message at a time: {reply}",
                where=self.where,
                s=seconds,
                reply=str(reply),
            )
        self.refusal = reply
        self.dead_until = self._clock.seconds() + seconds
        self.limit = self._told_limit = self.first

    def forgive(self) -> None:
        """Forget what went wrong."""
        self.refusal = None
        self._failed_rounds = 0.0

    def _alive(self) -> None:
        self._fresh_until = self._clock.seconds() + FRESH
        if self.refusal is not None:
            self.forgive()
            log.info("{where} answers again", where=self.where)

    def _tell(self, what: str, reason: str) -> None:
        """Log how it grows and shrinks, now and then."""
        now = self._clock.seconds()
        if self._told is not None and now - self._told < TOLD_EVERY:
            return
        before, self._told_limit, self._told = self._told_limit, self.limit, now
        log.info(
            "{where} {what} connections: {before} before, {limit} now of at most {most} {reason}",
            where=self.where,
            what=what,
            before=before,
            limit=self.limit,
            most=self.most,
            reason=reason,
        )

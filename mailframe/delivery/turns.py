"""Turns: so many may go on at once, the others wait in the order of arrival."""

from __future__ import annotations

from typing import TypeAlias

from twisted.internet.defer import Deferred

from mailframe.delivery.line import Line
from mailframe.outcome import Throttled
from mailframe.reply import Reply

Refusal: TypeAlias = Reply | Throttled


class Turns:
    """Lets only so many go on at once; the others wait in the order of arrival.

    :param limit: how many
    :param line: for those who wait
    :param reply: what one is told who is not to wait
    """

    def __init__(self, limit: int, line: Line, reply: Reply) -> None:
        self._limit = limit
        self._free = limit
        self._line = line
        self._reply = reply
        self._serving = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def take(self, is_scarce: bool) -> Deferred[Refusal | None] | Refusal | None:
        """Ask for a turn.

        :param is_scarce: whether the places run short in which messages are tried
        :returns: ``None`` for a turn, to be ended by `give_back`; or why there is none; or, where
            one has to wait, what fires with either
        """
        if self._free and not self._line:
            self._free -= 1
            if not self._free:
                self._line.full()
            return None
        if is_scarce and self._line.is_slow(self._limit):
            return self._throttled()
        return self._line.wait()

    def give_back(self) -> None:
        """End a turn. Not nested: one served may be done before it returns."""
        if not self._free:
            self._line.moved()
        self._free += 1
        if self._serving:
            return
        self._serving = True
        try:
            while self._line and self._free:
                self._free -= 1
                self._line.next().callback(None)
        finally:
            self._serving = False

    def turn_away(self, reply: Reply) -> None:
        """Those who wait get the reply instead of a turn."""
        for who in self._line.too_many(0):
            who.callback(reply)

    def look(self, is_scarce: bool) -> None:
        """Send those who wait back to the queue when nobody gets on.

        :param is_scarce: whether the places run short in which messages are tried
        """
        self._line.look()
        if is_scarce and self._line.is_stuck:
            for who in self._line.too_many(0):
                who.callback(self._throttled())
        for who in self._line.too_long():
            who.callback(self._throttled())

    def _throttled(self) -> Throttled:
        return Throttled(where="", reply=self._reply, seconds=self._line.later(self._limit))

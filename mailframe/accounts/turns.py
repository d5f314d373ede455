"""Turns for work that takes long and costs much, in threads: the hashing of passwords.

Nobody can stop a thread. So whoever waits no longer, as a client that has closed its connection,
gives up its place in the queue, but a turn that has begun is taken until the work is done: else
clients that come and go would have us hash any number of passwords at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore


class Turns:
    """Runs so many pieces of work at once, and the others after them.

    :param at_once: how many
    :param in_thread: ``in_thread(function, *args)`` returns a Deferred of the function's result
    """

    def __init__(self, at_once: int, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._in_thread = in_thread
        self._places = DeferredSemaphore(at_once)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function when it is its turn; its result."""
        await self._places.acquire()
        waiting: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            self._places.release()
            if not waiting.called:
                waiting.callback(result)  # a Failure makes it an errback

        self._in_thread(function, *args).addBoth(done)
        return await waiting

"""How far long work has come, on a terminal."""

from __future__ import annotations

import sys
import time

EVERY = 0.2  # seconds from one sign of life to the next


class Counting:
    """Counts on standard error while that is a terminal, and says nothing elsewhere.

    :param what: what is counted, in the plural
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_seen = sys.stderr.isatty()
        self._shown = False
        self._next = time.monotonic() + EVERY
        self.count = 0

    def add(self, number: int) -> None:
        """So many more are done."""
        self.count += number
        if self._is_seen and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self._shown = True
            sys.stderr.write(f"\r{self.count} {self._what}")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave nothing of it on the screen."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

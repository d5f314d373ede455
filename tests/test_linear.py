"""The worst inputs cost in proportion to their size: `benchmarks.attacks`.

What is measured is CPU time, not time. An input of four times the size may take eight times as
long: in proportion it is four, and sixteen where time grows with the square. Other load of the
machine can only make a measurement larger, so the least of several counts, and a ratio that is too
large is measured again before it is believed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.attacks import ATTACKS, Attack
from benchmarks.linear import cost

FACTOR = 4
LIMIT = 8.0
LEAST = 0.002  # seconds: what takes less is not worth a measurement
TRIES = 4


class LinearTests(SynchronousTestCase):
    """Nobody stops the server by sending it something clever."""

    def setUp(self) -> None:
        """Don't measure coverage: it would be most of what is measured here."""
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)

    def check(self, attack: Attack) -> None:
        """Measure, and again when it looks bad."""
        seen = []
        for attempt in range(TRIES):
            small = cost(attack, attack.size, rounds=2 + attempt)
            large = cost(attack, attack.size * FACTOR, rounds=1 + 2 * attempt)
            seen.append(large / max(small, LEAST))
            if seen[-1] < LIMIT:
                return
        self.fail(f"{attack.name}: {FACTOR} times as much takes {seen} times as long")


def _test(attack: Attack) -> Callable[[LinearTests], Any]:
    def test(case: LinearTests) -> None:
        case.check(attack)

    test.__doc__ = f"{attack.name}."
    return test


for _attack in ATTACKS:
    _words = "".join(letter if letter.isalnum() else " " for letter in _attack.name).split()
    setattr(LinearTests, "test_" + "_".join(_words).lower(), _test(_attack))

"""What leads back to itself: `mailframe.accounts.circles`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.circles import on_circles


def slowly(targets: dict[int, list[int]]) -> set[int]:
    """The same by following every way from every key."""
    found = set()
    for key in targets:
        reached: set[int] = set()
        ahead = list(targets[key])
        while ahead:
            each = ahead.pop()
            if each not in reached:
                reached.add(each)
                ahead.extend(targets.get(each, ()))
        if key in reached:
            found.add(key)
    return found


class CircleTests(SynchronousTestCase):
    """Mail to an alias that leads back to itself would go round for ever."""

    def test_examples(self) -> None:
        """What only leads to a circle, or from one to another, is not on one."""
        self.assertEqual(on_circles({}), set())
        self.assertEqual(on_circles({1: [2], 2: [3]}), set())
        self.assertEqual(on_circles({1: [1]}), {1})
        self.assertEqual(
            on_circles({0: [1], 1: [2], 2: [1, 3], 3: [4], 4: [5], 5: [4]}), {1, 2, 4, 5}
        )

    @settings(deadline=None, max_examples=300)
    @given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 11), max_size=4)))
    def test_any(self, targets: dict[int, list[int]]) -> None:
        """A good alias would be refused, or a bad one accepted."""
        self.assertEqual(on_circles(targets), slowly(targets))

    def test_deep(self) -> None:
        """A long chain of aliases doesn't exhaust the stack."""
        count = 20_000
        chain = {key: [(key + 1) % count] for key in range(count)}
        self.assertEqual(len(on_circles(chain)), count)

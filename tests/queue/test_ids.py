"""Covers mailframe.queue.ids."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.ids import LENGTH, QueueIds, first_key, id_key, id_text


class IdTests(SynchronousTestCase):
    """Queue ids."""

    @given(st.integers(0, 2**63 - 1))
    def test_text_and_key(self, key: int) -> None:
        """An id that users copy from a log must find the message."""
        self.assertEqual(id_key(id_text(key)), key)
        self.assertEqual(id_key(id_text(key).upper()), key)
        self.assertEqual(len(id_text(key)), LENGTH)

    @given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
    def test_order(self, one: int, other: int) -> None:
        """A listing by text is a listing by arrival."""
        self.assertEqual(one < other, id_text(one) < id_text(other))

    def test_ids_only_grow(self) -> None:
        """Two messages of the same millisecond, or a clock set back, must not share an id."""
        ids = QueueIds(Random(1))
        made = [ids.make(now) for now in [1000.0] * 50 + [900.0] * 50]
        self.assertEqual(made, sorted(set(made)))

    def test_processes_differ(self) -> None:
        """Workers that share a queue must not refuse or overwrite each other's messages, however
        many come in the same millisecond.
        """
        workers = [QueueIds(Random(1), lambda place=place: place) for place in (0, 1, 63)]
        made = [each.make(now) for each in workers for now in [1000.0] * 2_000 + [999.0] * 2_000]
        self.assertEqual(len(set(made)), len(made))

    def test_without_places(self) -> None:
        """Machines that share a queue and know nothing of each other differ by chance."""
        made = {QueueIds(Random(seed)).make(1000.0) for seed in range(200)}
        self.assertGreater(len(made), 195)

    def test_the_place_is_asked_when_it_is_needed(self) -> None:
        """A command that only looks at a queue must not write into its folder."""
        asked: list[int] = []

        def place() -> int:
            asked.append(1)
            return 5

        ids = QueueIds(Random(1), place)
        self.assertEqual(asked, [])
        self.assertEqual({ids.make(1000.0) & 63, ids.make(1000.0) & 63}, {5})
        self.assertEqual(asked, [1])

    def test_what_is_no_id(self) -> None:
        """A mistyped id must be unknown, not a crash."""
        for text in ("", "x", "0" * 12, "0" * 14, "z" * 13, "v" * 13, "../../../etc/"):
            self.assertIsNone(id_key(text), text)

    def test_first_key(self) -> None:
        """Old histories are found by the time in the id."""
        key = QueueIds(Random(1)).make(1000.0)
        self.assertTrue(first_key(1000.0) <= key < first_key(1000.001))

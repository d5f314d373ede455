"""The judge of what arrived: it must find each kind of broken promise."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.internet.copies import Counts, Excuses, by_number, judge

NO_EXCUSE = Excuses({}, lambda name: False, lambda name: False)


def copy(number: int, ours: str = "a", carriers: str = "A") -> bytes:
    """A message as it arrives."""
    return (
        f"Received: from x by next.mindspring.example (Postfix) with ESMTP id XXX\n"
        f"Received: from mx.demo.example (mx.demo.example [192.0.2.1])\n"
        f"\tby next.carrier.example (Postfix) with ESMTP id {carriers}\n"
        f"Received: from client.example\n\tby mx.demo.example with ESMTP id {ours}\n"
        f"X-Number: {number}\n\ntext\n"
    ).encode()


class JudgeTests(SynchronousTestCase):
    """`judge`."""

    def judge(self, told: set[int], *messages: bytes, excuses: Excuses = NO_EXCUSE) -> Counts:
        counts = Counts()
        judge(told, messages, excuses, counts)
        return counts

    def test_once(self) -> None:
        """What arrives once is fine, even if its client was not told so."""
        counts = self.judge({1}, copy(1), copy(2), b"X: another\n\n")
        self.assertEqual((counts.messages, counts.broken), (1, []))
        self.assertEqual(set(by_number([copy(7), b""])), {7})

    def test_lost(self) -> None:
        """A run passes in which mail was lost."""
        counts = self.judge({1, 2}, copy(2))
        self.assertEqual((counts.lost, len(counts.broken)), (1, 1))
        self.assertIn("1 lost", str(counts))

    def test_each_sender_of_a_copy(self) -> None:
        """A run passes in which something came twice without need."""
        for second, excuse, counted in (
            (copy(1, "b", "B"), Excuses({1: 1}, *[lambda name: False] * 2), "twice_by_client"),
            (copy(1, "a", "B"), Excuses({}, "a".__eq__, lambda name: False), "twice_by_us"),
            (copy(1, "a", "A"), Excuses({}, lambda name: False, "A".__eq__), "twice_by_carrier"),
        ):
            counts = self.judge({1}, copy(1), second)
            self.assertEqual(len(counts.broken), 1)
            self.assertEqual(getattr(counts, counted), 1)
            counts = self.judge({1}, copy(1), second, excuses=excuse)
            self.assertEqual(counts.broken, [])
            self.assertEqual(getattr(counts, counted), 1)

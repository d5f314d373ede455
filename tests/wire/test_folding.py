"""Folding of header lines that are too long."""

from __future__ import annotations

import email
import email.policy

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.folding import MAX_LINE, folded, is_too_long

WORDS = st.lists(
    st.sampled_from([b"a", b"word", b"x" * 500, b"x" * 990, b"x" * 998, b" ", b"\t"]), max_size=12
)


class FoldingTests(SynchronousTestCase):
    """`folded`."""

    def test_short(self) -> None:
        """Headers that every server takes would be changed, and their signatures broken."""
        header = b"Subject: a  b\r\n\tc \r\nX: " + b"y" * 995 + b"\r\n"
        self.assertFalse(is_too_long(header))
        self.assertEqual(folded(header), header)
        self.assertEqual(folded(b""), b"")

    def test_long(self) -> None:
        """A program's long list of recipients would be refused, or cut in the middle of a name."""
        header = b"A: b\r\nTo: " + b", ".join([b"someone@blu.example"] * 200) + b"\r\nC: d\r\n"
        self.assertTrue(is_too_long(header))
        result = folded(header)
        assert result is not None
        self.assertFalse(is_too_long(result))
        self.assertEqual(result.replace(b"\r\n ", b" "), header)

    def test_nowhere(self) -> None:
        """A word that can't be folded would be torn, and mean something else."""
        for value in (b"x" * 1000, b" " * 2000, b"a " + b" " * 2000 + b"b", b"a " + b"x" * 998):
            self.assertIsNone(folded(b"X:" + value + b"\r\n"), value[:3])

    def test_blanks_at_the_end(self) -> None:
        """A line of blanks would end the header for some readers."""
        result = folded(b"X: " + b"x" * 990 + b" " * 100 + b"\r\n")
        self.assertEqual(result, b"X: " + b"x" * 990 + b" " * 5 + b"\r\n")

    @settings(deadline=None, max_examples=100)
    @given(WORDS)
    def test_any_field(self, words: list[bytes]) -> None:
        """A field would say something else, or stay too long."""
        value = b" ".join(words).strip()
        header = b"X: " + value + b"\r\nY: z\r\n"
        result = folded(header)
        if result is None:
            return
        self.assertFalse(is_too_long(result))
        self.assertEqual(result.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t"), header)
        parsed = email.message_from_bytes(result, policy=email.policy.compat32)
        self.assertEqual((len(parsed.keys()), parsed["Y"]), (2, "z"))
        for line in result.split(b"\r\n")[:-1]:
            self.assertTrue(line.strip())
        self.assertLessEqual(max(map(len, result.split(b"\r\n"))), MAX_LINE)

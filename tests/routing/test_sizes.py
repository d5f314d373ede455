"""Tests of mailframe.routing.sizes."""

from __future__ import annotations

import contextlib
import operator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.routing.sizes import SizeLimit

SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


class SizeLimitTests(SynchronousTestCase):
    def test_units(self) -> None:
        """Large mail would take the way of small mail."""
        self.assertEqual(SizeLimit.parse(">10MB").octets, 10_000_000)
        self.assertEqual(SizeLimit.parse("<= 64KiB").octets, 65_536)

    @given(st.sampled_from(sorted(SIGNS)), st.integers(0, 50), st.integers(0, 50))
    @settings(deadline=None, max_examples=200)
    def test_comparison(self, sign: str, limit: int, size: int) -> None:
        """Mail of just that size would take the wrong way."""
        wanted = SIGNS[sign](size, limit)
        self.assertEqual(SizeLimit.parse(f"{sign}{limit}B").holds(size), wanted)

    def test_mistakes(self) -> None:
        """A rule would match all mail, or none, for a slip."""
        for text in ("10MB", "=10MB", ">", ">10", ">ten", ">-1MB", "=>1MB", "> 10 MBytes"):
            error = self.assertRaises(ValueError, SizeLimit.parse, text)
            self.assertIn('allowed: a limit such as ">10MB"', error.args[0])

    @given(st.text(max_size=20))
    @settings(deadline=None, max_examples=100)
    def test_anything(self, text: str) -> None:
        """A slip in the file would end in a traceback."""
        with contextlib.suppress(ValueError):
            SizeLimit.parse(text)

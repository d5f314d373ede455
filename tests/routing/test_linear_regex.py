"""Tests of mailframe.routing.linear_regex."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.routing.linear_regex import check_regex


class CheckTests(SynchronousTestCase):
    def test_useful_ones(self) -> None:
        """Expressions as people write them could not be used."""
        for text, key in [
            (r"(sales|info)-[a-z]+@rosse\.example", "info-x@rosse.example"),
            (r".*\.(edu|gov|mil)", "a@b.gov"),
            (r"([^@]+)@(.+)\.example", "a.b@c.d.example"),
            (r"user\d{1,3}@[a-z.]+", "user17@rosse.example"),
            (r"(?:mr\.)?smith@.*", "SMITH@x"),
            (r"a[]x)+*|]+@b", "a]@b"),
            (r"a\+b\(@x", "a+b(@x"),
        ]:
            self.assertTrue(check_regex(text).fullmatch(key), text)

    def test_slow_ones(self) -> None:
        """One address, which a stranger chooses, would stop the server for hours."""
        for text, words in [
            (r"(a+)+@x", "repeats a group"),
            (r"(?:a|a)*@x", "repeats a group"),
            (r"(a|b){2,30}", "repeats a group"),
            (r".*.*.*.*x", "too many"),
            (r"a?" * 30 + "a" * 30, "too many"),
            (r"(a|a)" * 30, "too many"),
            (r"(a|(b|(c|d)))" * 9, "too many"),
            (r".*.*.*(a|b)", "too many"),
            (r"(.*)\1", "refers back"),
            (r"(?=a.*)a", "begins with (?"),
            (r"(?i)a", "begins with (?"),
            (r"(?P<x>a)(?P=x)", "begins with (?"),
        ]:
            error = self.assertRaises(ValueError, check_regex, text)
            self.assertIn(words, error.args[0])

    def test_no_expression(self) -> None:
        """A slip would end in a traceback."""
        for text in ("(", "[a", "*", "a{2,1}", "\\"):
            error = self.assertRaises(ValueError, check_regex, text)
            self.assertIn("is no regular expression", error.args[0])

    @given(st.text(st.sampled_from("ab()[]|*+?{2,}\\^-.1:"), max_size=12))
    @settings(deadline=None, max_examples=300)
    def test_anything(self, text: str) -> None:
        """A slip would end in a traceback, or what is let through in a standstill."""
        with contextlib.suppress(ValueError):
            check_regex(text).fullmatch("a" * 40 + "@")

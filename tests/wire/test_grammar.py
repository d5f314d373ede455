"""Arguments of commands: `mailframe.wire.grammar`."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.wire.grammar import (
    GrammarError,
    parse_forward_path,
    parse_helo_name,
    parse_parameters,
    parse_path,
    parse_reverse_path,
    parse_size,
    parse_xtext,
)


class PathTests(SynchronousTestCase):
    """The mailbox that is judged is the one that is delivered to."""

    def test_paths(self) -> None:
        """Every form of path that RFC 5321 knows is read."""
        for text, expected in (
            ("<a@b.example>", ("a@b.example", "")),
            (" <a@b.example>", ("a@b.example", "")),
            ("<>", ("", "")),
            ("<a@b.example> SIZE=1", ("a@b.example", " SIZE=1")),
            ('<"a> b\\"c"@b.example> X', ('"a> b\\"c"@b.example', " X")),
            ("<@one.example,@two.example:a@b.example>", ("a@b.example", "")),
            ("<a@[IPv6:2001:db8::1]>", ("a@[IPv6:2001:db8::1]", "")),
        ):
            self.assertEqual(parse_path(text), expected)

    def test_bad_paths(self) -> None:
        """What is no path is not guessed at."""
        for text in (
            "",
            "a@b.example",
            "<a@b.example",
            "a@b.example>",
            "<a b@c.example>",
            "< a@b.example>",
            "<<a@b.example>>",
            "<@a.example:>",
            "<@a.example>x",
            '<"a@b.example>',
        ):
            with self.assertRaises(GrammarError, msg=text):
                mailbox, rest = parse_path(text)
                # The second net: what looks like a path has to hold an address, or nothing else.
                Address.parse(mailbox) if not rest else parse_parameters(rest)

    def test_relay_probes(self) -> None:
        """None of the tricks that once opened relays changes whose mail it is."""
        for text, local_part, domain in (
            ("<@local.example:u@x.example>", "u", "x.example"),
            ("<@a.example,@b.example:u@x.example>", "u", "x.example"),
            ("<u%x.example@local.example>", "u%x.example", "local.example"),
            ('<"u@x.example"@local.example>', "u@x.example", "local.example"),
            ("<x.example!u@local.example>", "x.example!u", "local.example"),
            ("<u@LOCAL.example.>", "u", "local.example"),
            ("<u@[127.0.0.1]>", "u", "[127.0.0.1]"),
        ):
            recipient, rest = parse_forward_path(text, "local.example")
            self.assertEqual((recipient, rest), (Address(local_part, domain), ""))
        for text in ("<u@x@local.example>", '<"u%x.example">', "<u>", "<>", "<u@x.example@>"):
            with self.assertRaises(GrammarError, msg=text):
                parse_forward_path(text, "local.example")

    def test_postmaster(self) -> None:
        """The postmaster can be written to without a domain, in any case (RFC 5321 §4.5.1)."""
        expected = (Address("postmaster", "local.example"), "")
        self.assertEqual(parse_forward_path("<PostMaster>", "local.example"), expected)

    def test_reverse_path(self) -> None:
        """Bounces have the null reverse-path, and are taken."""
        self.assertEqual(parse_reverse_path("<> SIZE=1"), (None, " SIZE=1"))
        self.assertEqual(parse_reverse_path("<a@b.example>"), (Address("a", "b.example"), ""))
        with self.assertRaises(GrammarError):
            parse_reverse_path("<a>")

    @settings(deadline=None, max_examples=200)
    @given(st.text(st.sampled_from('<>@"\\:, .aA[]%!='), max_size=30))
    def test_never_fails_otherwise(self, text: str) -> None:
        """No argument at all brings down the dialogue."""
        for parse in (parse_path, parse_reverse_path, parse_parameters):
            try:
                parse(text)
            except GrammarError as error:
                self.assertTrue(str(error).isprintable())

    def test_linear(self) -> None:
        """The worst arguments of 20 times the allowed length cost next to nothing."""
        began = time.process_time()
        for text in (
            '<"' + "\\" * 10_000,
            '<"' + '\\"' * 5_000,
            "<@a" + ",@a" * 5_000,
            "<" * 10_000,
        ):
            with self.assertRaises(GrammarError):
                parse_path(text)
        self.assertLess(time.process_time() - began, 0.5)


class ParameterTests(SynchronousTestCase):
    """Parameters are read as they were meant, or refused."""

    def test_parameters(self) -> None:
        """Keywords in any case, with and without value, also with spaces too many."""
        self.assertEqual(
            parse_parameters(" size=10  BODY=8BITMIME x-y "),
            [("SIZE", "10"), ("BODY", "8BITMIME"), ("X-Y", None)],
        )

    def test_bad_parameters(self) -> None:
        """Malformed or repeated parameters are no reason to guess."""
        for text in ("SIZE=1", " SIZE=", " =1", " A=B=C", " SIZE=1 size=2", " -A", " a\tb"):
            with self.assertRaises(GrammarError, msg=text):
                parse_parameters(text)

    def test_size(self) -> None:
        """SIZE is a number of digits (RFC 1870)."""
        self.assertEqual(parse_size("0012"), 12)
        for text in (None, "", "-1", "+1", "1e3", "1" * 21, "\u0661"):
            with self.assertRaises(GrammarError):
                parse_size(text)

    def test_xtext(self) -> None:
        """xtext can't hide a line end or other control (RFC 3461 §4)."""
        self.assertEqual(parse_xtext("a+2Bb+3D"), "a+b=")
        self.assertEqual(parse_xtext("<>"), "<>")
        for text in (None, "+2b", "+", "a=b", "a b", "+0A", "+0D+0A", "+80"):
            with self.assertRaises(GrammarError, msg=text):
                parse_xtext(text)

    def test_helo_name(self) -> None:
        """Names as clients really give them are taken, two words are not."""
        for text in ("mx.example", "[192.0.2.1]", "under_score", "localhost"):
            self.assertEqual(parse_helo_name(text), text)
        for text in ("", "a b", "x" * 256):
            with self.assertRaises(GrammarError):
                parse_helo_name(text)

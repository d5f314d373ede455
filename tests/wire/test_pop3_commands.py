"""The table of POP3 commands."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.pop3_commands import COMMANDS, CommandError, parse


class ParseTests(SynchronousTestCase):
    """Reading command lines."""

    def test_reads(self) -> None:
        """Keywords in any case, numbers as numbers, text as it is."""
        for line, state, expected in (
            (b"retr 007", "transaction", ("RETR", (7,))),
            (b"TOP 1  20 ", "transaction", ("TOP", (1, 20))),
            (b"TOP 1 18446744073709551615", "transaction", ("TOP", (1, (1 << 64) - 1))),
            (b"List", "transaction", ("LIST", ())),
            (b"STAT ", "transaction", ("STAT", ())),
            (b"PASS  two  spaces ", "authorization", ("PASS", (b" two  spaces ",))),
            (b"AUTH PLAIN =", "authorization", ("AUTH", (b"PLAIN", b"="))),
            (b"QUIT", "authorization", ("QUIT", ())),
        ):
            self.assertEqual(parse(line, state), expected)

    def test_refuses(self) -> None:
        """The client is told what is wrong with its command."""
        for line, state, words in (
            (b"APOP a b", "authorization", "unknown command"),
            (b"USER", "authorization", "missing"),
            (b"USER a\0b", "authorization", "control character"),
            (b"RETR", "transaction", "missing"),
            (b"RETR 1 2", "transaction", "too many"),
            (b"RETR +1", "transaction", "not a number"),
            (b"RETR " + b"1" * 21, "transaction", "not a number"),
            (b"NOOP 1", "transaction", "no argument"),
            (b"RETR 1", "authorization", "log in first"),
            (b"USER a", "transaction", "before the login"),
        ):
            error = self.assertRaises(CommandError, parse, line, state)
            self.assertIn(words, str(error))

    def test_no_apop(self) -> None:
        """APOP would need passwords kept so that the server can read them (CVE-2007-1558)."""
        self.assertNotIn(b"APOP", COMMANDS)

"""What commands print."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli.output import print_fields, print_table, printable


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Output(SynchronousTestCase):
    """Text for people and for pipes."""

    def printed(self, stream: io.StringIO, cell: str = "x") -> str:
        with redirect_stdout(stream):
            print_table(("id", "reply"), [("abc", None), ("[red]d", cell)])
        return stream.getvalue()

    def test_pipe(self) -> None:
        """A script would have to take a table apart."""
        self.assertEqual(self.printed(io.StringIO()), "ID\tREPLY\nabc\t\n[red]d\tx\n")

    def test_terminal(self) -> None:
        """Words in brackets would be taken for colours and vanish."""
        text = self.printed(Terminal())
        self.assertIn("[red]d", text)
        self.assertNotIn("\t", text)

    def test_escape_sequences(self) -> None:
        """A remote server could move the cursor of the operator's terminal."""
        self.assertEqual(printable("a\x1b[2Jb\nc\u2028"), "a\\x1b[2Jb\\nc\\u2028")
        self.assertEqual(printable("J\u00f6rg"), "J\u00f6rg")
        self.assertNotIn("\x1b[2J", self.printed(Terminal(), "\x1b[2J"))

    def test_fields(self) -> None:
        """Names and values would not line up."""
        stream = io.StringIO()
        with redirect_stdout(stream):
            print_fields([("id", "abc"), ("longer", None)])
        self.assertEqual(stream.getvalue(), "id      abc\nlonger\n")
        self.assertIsNot(sys.stdout, stream)

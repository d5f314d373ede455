"""Long lists, printed as their elements come."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli import listing
from mailframe.cli.listing import JsonList, Rows
from mailframe.cli.output import print_json


class ListingCase(SynchronousTestCase):
    """What is written to standard output."""

    def setUp(self) -> None:
        self.stdout = io.StringIO()
        self.patch(sys, "stdout", self.stdout)

    def taken(self) -> str:
        """What was written since."""
        text = self.stdout.getvalue()
        self.stdout.seek(0)
        self.stdout.truncate()
        return text


class Table(ListingCase):
    """Rows."""

    def on_a_terminal(self) -> None:
        self.stdout.isatty = lambda: True  # type: ignore[method-assign]  # as a terminal's

    def test_pipe(self) -> None:
        """A script would wait for the last message of a long queue before it has the first, and
        the command would hold them all."""
        rows = Rows(("id", "to"))
        rows.add(("a", "b\nc"))
        self.assertEqual(self.taken(), "ID\tTO\na\tb\\nc\n")
        rows.add(("d", None))
        self.assertEqual(self.taken(), "d\t\n")
        rows.end()
        self.assertEqual(self.taken(), "")

    def test_empty(self) -> None:
        """A script could not tell an empty list from a command that failed."""
        rows = Rows(("id", "to"))
        rows.end()
        self.assertEqual(self.taken(), "ID\tTO\n")

    def test_terminal(self) -> None:
        """Nothing would be shown of a million rows until all are in memory."""
        self.patch(listing, "AT_ONCE", 2)
        self.on_a_terminal()
        rows = Rows(("id",))
        for number in range(5):
            rows.add((f"row{number}",))
            self.assertEqual("row1" in self.stdout.getvalue(), number > 0)
        self.assertNotIn("row4", self.stdout.getvalue())
        rows.end()
        text = self.taken()
        self.assertEqual([text.count(f"row{number}") for number in range(5)], [1] * 5)

    def test_most(self) -> None:
        """What a table comes to would run off the screen with it."""
        self.patch(listing, "AT_ONCE", 2)
        self.on_a_terminal()
        rows = Rows(("id",), most=3)
        for number in range(5):
            rows.add((f"row{number}",))
        rows.end()
        text = self.taken()
        self.assertEqual([text.count(f"row{number}") for number in range(5)], [1, 1, 1, 0, 0])


class Json(ListingCase):
    """A list."""

    def listed(self, elements: Sequence[Any]) -> str:
        document = JsonList("messages")
        for element in elements:
            document.add(element)
        document.end()
        return self.taken()

    def test_as_a_whole(self) -> None:
        """A script would find another document than where lists are short."""
        for elements in ([], [{}], [{"id": "a", "to": ["b", "c"]}, {"id": None, "\u00e9": "\n"}]):
            print_json({"messages": elements})
            whole = self.taken()
            self.assertEqual(self.listed(elements), whole)
            self.assertEqual(json.loads(whole), {"messages": elements})

    def test_at_once(self) -> None:
        """The command would hold all elements of the list."""
        document = JsonList("messages")
        document.add({"id": "a"})
        self.assertIn('"a"', self.taken())
        document.add({"id": "b"})
        self.assertIn('"b"', self.taken())

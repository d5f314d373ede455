"""Long lists, printed as their elements come, so that memory stays bounded however many there are:
rows of a table, and the one list of a JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from textwrap import indent

import click

from mailframe.cli.output import print_table, printable
from mailframe.documents import Document

AT_ONCE = 1000  # rows of one table on a terminal, which is as wide as its widest cells


class Rows:
    """A table. In a pipe each row is a line; a terminal gets tables of at most `AT_ONCE` rows.

    :param headings: of the columns
    :param most: rows that a terminal gets; ``None``: all
    """

    def __init__(self, headings: Sequence[str], most: int | None = None) -> None:
        self._headings = headings
        self._left = most
        self._is_terminal = sys.stdout.isatty()
        self._begun = False
        self._waiting: list[Sequence[object]] = []

    def add(self, row: Sequence[object]) -> None:
        """One more."""
        if not self._is_terminal:
            if self._begun:
                click.echo("\t".join(map(printable, row)))
            else:
                self._print([row])
            return
        if self._left is not None:
            if self._left <= 0:
                return
            self._left -= 1
        self._waiting.append(row)
        if len(self._waiting) >= AT_ONCE:
            self._flush()

    def end(self) -> None:
        """There are no more."""
        if self._waiting or not self._begun:
            self._flush()

    def _flush(self) -> None:
        self._print(self._waiting)
        self._waiting = []

    def _print(self, rows: Sequence[Sequence[object]]) -> None:
        self._begun = True
        print_table(self._headings, rows)


class JsonList:
    """A JSON document that holds nothing but a list; written as `print_json` writes it.

    :param name: of the list
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = False

    def add(self, element: Document) -> None:
        """One more."""
        text = indent(json.dumps(element, indent=2, ensure_ascii=True), "    ")
        click.echo(f"{',' if self._begun else self._head}\n{text}", nl=False)
        self._begun = True

    def end(self) -> None:
        """There are no more."""
        click.echo("\n  ]\n}" if self._begun else f"{self._head}]\n}}")

    @property
    def _head(self) -> str:
        return f'{{\n  "{self._name}": ['

"""How commands print: one JSON document, or text, with tables and colours only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import click

from mailframe.documents import Document

STYLES = {"ok": "green", "warn": "yellow", "error": "red"}


def print_json(document: Document) -> None:
    """Print the one document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def printable(text: object) -> str:
    """Text for a terminal or a pipe: what could move the cursor or break the line is escaped."""
    shown = "" if text is None else str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows: a table on a terminal, otherwise lines of fields with tabs between.

    A cell whose whole text is a key of `STYLES` gets its colour on a terminal.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in ([*map(str.upper, headings)], *cells):
            click.echo("\t".join(line))
        return
    # only a terminal needs rich, which takes a while to import
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in cells:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names with their values, one a line, the values aligned."""
    shown = [(name, printable(value)) for name, value in fields]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}".rstrip())

"""What was measured, as a table to read and as one for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

_DASH = "-"
WIDTH = 100  # of what is written in sentences


@attrs.frozen(kw_only=True)
class Row:
    """One thing that is measured of each server.

    :ivar title: what it is, with its unit
    :ivar best: which of the rounds counts
    :ivar goal: of the ratio to Postfix, or in the unit
    :ivar digits: behind the point
    :ivar compared: whether a ratio to Postfix says anything
    """

    title: str
    best: Callable[[Iterable[float]], float] = max
    goal: str = ""
    digits: int = 0
    compared: bool = True


@attrs.define
class Results:
    """The figures of all rounds, by row and server."""

    rows: Mapping[str, Row]
    figures: dict[str, dict[str, list[float]]] = attrs.Factory(dict)

    def add(self, server: str, measured: Mapping[str, float]) -> None:
        """Add what one round of one server gave, by row."""
        for row, figure in measured.items():
            self.figures.setdefault(row, {}).setdefault(server, []).append(figure)

    def best(self, row: str, server: str) -> float | None:
        """The figure that counts, or ``None`` when it was not measured."""
        found = self.figures.get(row, {}).get(server)
        return self.rows[row].best(found) if found else None

    def ratio(self, row: str, ours: str, theirs: str) -> float | None:
        """Our figure for each of theirs; ``None`` where that says nothing."""
        if not self.rows[row].compared:
            return None
        mine, other = self.best(row, ours), self.best(row, theirs)
        return mine / other if mine is not None and other else None

    def table(self, servers: Sequence[str]) -> list[list[str]]:
        """The cells. The first two servers are compared.

        :param servers: the columns
        """
        ours, theirs, *others = servers
        cells = [["work", ours, theirs, "ratio", "goal", *others]]
        for key, row in self.rows.items():
            if key not in self.figures:
                continue

            def shown(figure: float | None, digits: int = row.digits) -> str:
                return _DASH if figure is None else f"{figure:.{digits}f}"

            cells.append(
                [
                    row.title,
                    *(shown(self.best(key, server)) for server in (ours, theirs)),
                    shown(self.ratio(key, ours, theirs), 2),
                    row.goal or _DASH,
                    *(shown(self.best(key, server)) for server in others),
                ]
            )
        return cells


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = _widths(cells)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def as_rst(cells: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = _widths(cells)
    line = "  ".join("=" * width for width in widths)
    head, *rows = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    return "\n".join([line, head, line, *rows, line])


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def put_between_marks(path: Path, mark: str, text: str) -> None:
    """Replace what stands between two comments of a document.

    :param mark: what the comments say: ``.. MARK begins`` and ``.. MARK ends``
    :raises ValueError: they are not there
    """
    before, begins, rest = path.read_text().partition(f".. {mark} begins\n")
    _, ends, after = rest.partition(f".. {mark} ends\n")
    if not (begins and ends):
        raise ValueError(f"{path} has no comments '.. {mark} begins' and '.. {mark} ends'")
    path.write_text(f"{before}{begins}\n{text.strip()}\n\n{ends}{after}")

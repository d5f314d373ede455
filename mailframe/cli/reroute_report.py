"""What ``mailframe queue reroute`` tells of what it finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import IO

import click

from mailframe.cli.listing import Rows
from mailframe.cli.output import printable
from mailframe.cli.rerouting import Change
from mailframe.cli.trace import why
from mailframe.documents import address_text
from mailframe.entry import Entry

_HEADINGS = ("id", "to", "from", "goes", "why")
_SHOWN = 1000  # rows of the table on a terminal; what is piped on has all
_WAYS = 1000  # pairs of old and new ways that are counted each by itself
_TOLD = 20  # of which so many are told
_NOT_DUE = 20  # messages that could not be made due, told of by name


class Report:
    """Takes what is found message by message.

    :param spool: where the messages of the JSON document wait; ``None``: it is told as text
    :param dry_run: nothing is changed
    :ivar checked: messages that were looked at
    :ivar differ: those of them that go elsewhere
    :ivar due: those of them that were made due now
    :ivar refused: a line for each that is not there
    """

    def __init__(self, spool: IO[str] | None, dry_run: bool) -> None:
        self._spool = spool
        self._dry_run = dry_run
        self._rows = Rows(_HEADINGS, _SHOWN)
        self._ways: Counter[tuple[str, str]] = Counter()
        self._not_due: list[str] = []
        self.refused: list[str] = []
        self.checked = self.differ = self.due = 0

    def add(self, entry: Entry, changes: Sequence[Change], why_not: str | None) -> None:
        """A message goes elsewhere.

        :param why_not: why it could not be made due; ``""``: it was; ``None``: that was not tried
        """
        self.differ += 1
        if why_not == "":
            self.due += 1
        elif why_not and len(self._not_due) < _NOT_DUE:
            self._not_due.append(why_not)
        if self._spool is not None:
            document = {
                "id": entry.id,
                "sender": address_text(entry.envelope.sender),
                "held": entry.held,
                "due_now": why_not == "",
                "recipients": [change.document() for change in changes],
            }
            self._spool.write(f"{',' if self.differ > 1 else ''}\n{json.dumps(document)}")
            return
        for change in changes:
            after = change.after
            reason = why(after.reason, after.plugin, after.rule)
            self._rows.add((entry.id, change.recipient, change.old, change.new, reason))
            pair = change.old, change.new
            self._ways[pair if pair in self._ways or len(self._ways) < _WAYS else _OTHERS] += 1

    def end(self) -> None:
        """Tell it."""
        if self._spool is not None:
            self._print_json()
            return
        if self.differ:
            self._rows.end()
        for (old, new), number in self._ways.most_common(_TOLD):
            click.echo(f"{number} from {printable(old)} to {printable(new)}", err=True)
        if len(self._ways) > _TOLD:
            click.echo(f"and {len(self._ways) - _TOLD} more ways", err=True)
        click.echo(self._summary(), err=True)
        for line in self._not_due:
            click.echo(line, err=True)

    def _summary(self) -> str:
        of = f"{self.differ} of {self.checked} message{'' if self.checked == 1 else 's'}"
        if self._dry_run:
            return f"{of} would go elsewhere"
        return f"{of} go elsewhere by now; {self.due} of them due now"

    def _print_json(self) -> None:
        assert self._spool is not None, "only then there is a document"
        counts = {"checked": self.checked, "differ": self.differ, "due_now": self.due}
        click.echo(json.dumps(counts)[:-1] + ', "messages": [', nl=False)
        self._spool.seek(0)
        while piece := self._spool.read(65_536):
            click.echo(piece, nl=False)
        click.echo("]}")


_OTHERS = ("other ways", "others")

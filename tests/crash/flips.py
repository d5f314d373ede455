"""Every bit of a queue entry is flipped, one at a time, as a disk or a memory may do.

The database has three messages: a victim and its neighbours. Wherever something of the victim
stands, a bit is flipped: in its row, in the index, in its content, in its content's file. Then a
server is started on it. The neighbours must be delivered once, whole. The victim must be delivered
once, whole, or be set aside and reported; never changed, and never in silence not at all.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import attrs

from mailframe.files import Files
from mailframe.guard import as_deferred
from mailframe.queue.sqlite import HOUSEKEEPING
from tests.crash.model import House, _folder, _messages, _what, mark

VICTIM = {"small": 300, "large": 5000}
DATABASE = "state/queue/queue.db"
PAGE = 4096
ANN = "ann@here.example"


@attrs.define
class FlipReport:
    """What came of it.

    :ivar flips: how many bits were flipped
    :ivar delivered: how often the victim was delivered whole all the same
    :ivar reported: how often it was set aside
    """

    seed: str
    flips: int = 0
    delivered: int = 0
    reported: int = 0
    refused: int = 0
    broken: Counter[str] = attrs.field(factory=Counter)
    findings: list[str] = attrs.field(factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def __str__(self) -> str:
        text = (
            f"flips, seed {self.seed}: {self.flips} bits; the entry was delivered whole "
            f"{self.delivered} times, reported {self.reported} times; broken: {dict(self.broken)}"
        )
        return "\n  ".join([text, *self.findings])


def flips(seed: str, share: float = 1.0) -> FlipReport:
    """Flip bits.

    :param share: of the bits of each place, so many
    """
    report = FlipReport(seed)
    chance = Random(f"{seed}/flips")
    for kind, size in VICTIM.items():
        with _folder() as folder, _folder() as after:
            fill(folder, size)
            for path, bits in places(folder, size):
                chosen = [bit for bit in bits if chance.random() < share]
                for bit in chosen:
                    shutil.rmtree(after)
                    shutil.copytree(folder, after)
                    flip(f"{after}/{path}", bit)
                    report.flips += 1
                    for broken in judge(after, size, report):
                        report.broken[broken] += 1
                        if len(report.findings) < 20:
                            report.findings.append(f"{broken}: {kind}, bit {bit} of {path}")
    return report


def fill(folder: str, size: int) -> None:
    """Put three messages into a queue, the victim in the middle, and nothing of them in a log."""
    notes: list[Any] = []
    house = House(folder, Files(), notes.append, 1)
    house.runner.stopService()
    house.turn()
    for number, each in ((1, 300), (2, size), (3, 300)):
        house.accept(mark(number, each), ANN)
        house.turn(6)
    house.storage.committer._batches._ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    house.stop()
    assert len(notes) == 3, notes


def places(folder: str, size: int) -> Iterator[tuple[str, range]]:
    """Where the victim stands: paths below the folder, and bits from the beginning."""
    database = f"{folder}/{DATABASE}"
    with open(database, "rb") as file:
        octets = file.read()
    connection = sqlite3.connect(database)
    ((key, due, envelope, recipients),) = connection.execute(
        "SELECT key, due, envelope, recipients FROM message ORDER BY key LIMIT 1 OFFSET 1"
    )
    connection.close()
    texts = (envelope.encode(), recipients.encode())
    for first, last in ((texts[0], texts[1]), (b"\nend of " + mark(2, size),) * 2):
        if first in octets:
            at = octets.index(first)
            yield (
                DATABASE,
                range(8 * beginning(octets, at), 8 * (octets.index(last, at) + len(last))),
            )
    # In the index stand the time, as a whole number that was one, and the message's number.
    entry = int(due).to_bytes(4, "big") + key.to_bytes(8, "big")
    at = octets.index(entry)
    yield DATABASE, range(8 * beginning(octets, at), 8 * (at + len(entry)))
    for name in os.listdir(f"{folder}/state/queue/large"):
        path = f"state/queue/large/{name}"
        yield path, range(8 * os.path.getsize(f"{folder}/{path}"))


def beginning(octets: bytes, at: int) -> int:
    """Where the cell begins in which something stands: https://sqlite.org/fileformat2.html §1.6."""
    page = at // PAGE * PAGE
    assert octets[page] in (0x0A, 0x0D), "a leaf of an index or a table"
    count = int.from_bytes(octets[page + 3 : page + 5], "big")
    pointers = octets[page + 8 : page + 8 + 2 * count]
    cells = [page + int.from_bytes(pointers[n : n + 2], "big") for n in range(0, 2 * count, 2)]
    return max(cell for cell in cells if cell <= at)


def flip(path: str, bit: int) -> None:
    """Flip a bit of a file."""
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        octet = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([octet ^ 1 << bit % 8]))


def judge(root: str, size: int, report: FlipReport) -> Iterator[str]:
    """Start a server, let it come to rest, and see which promises it does not keep."""
    house = House(root, Files(), lambda note: None, 3)
    for _ in range(3):
        house.turn()
        house.clock.advance(HOUSEKEEPING)
    house.rest()
    aside: list[Any] = []
    as_deferred(house.storage.damaged()).addCallbacks(aside.extend, lambda failure: None)
    house.stop()
    found = [(_what(path), path) for path in _messages(f"{root}/mail")]
    whole = Counter(what for what, _ in found)
    for number in (1, 3):
        if whole["ann", mark(number, 300)] != 1:
            yield f"neighbour delivered {whole['ann', mark(number, 300)]} times"
    if None in whole:
        yield "delivered though changed"
    count = whole["ann", mark(2, size)]
    if count > 1:
        yield "delivered twice"
    elif count == 1:
        report.delivered += 1
    elif aside:
        report.reported += 1
    else:
        yield "neither delivered nor reported"

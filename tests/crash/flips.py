"""Every bit of a queue entry is flipped, one at a time, as a disk or a memory may do.

The database has three messages: a victim and its neighbours. Wherever something of the victim
stands, a bit is flipped: in its row, in the index, in its content, in its content's file, in its
history. Then a server is started on it. The neighbours must be delivered once, whole. The victim
must be delivered once, whole, or be set aside and reported; never changed, and never in silence not
at all.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import attrs

from mailframe.files import Files
from mailframe.guard import as_deferred
from mailframe.queue.housekeeping import EVERY
from tests.crash.model import START, House, _folder, _messages, _what, careless, mark

# Octets, so that the content lies in the database or in a file. What is leased has an owner that
# has died, and of whose lease some time is left.
VICTIM = {"small": 0, "large": 2500, "leased": 0}
NEIGHBOUR = 0
OWNER = "dead"
DATABASE = "state/queue/queue.db"
PAGE = 4096
ANN = "ann@here.example"


@attrs.define
class FlipReport:
    """What came of it.

    :ivar flips: how many bits were flipped, in each place
    :ivar delivered: how often the victim was delivered whole all the same
    :ivar reported: how often it was set aside
    """

    seed: str
    kind: str
    flips: Counter[str] = attrs.field(factory=Counter)
    delivered: int = 0
    reported: int = 0
    broken: Counter[str] = attrs.field(factory=Counter)
    findings: list[str] = attrs.field(factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def __str__(self) -> str:
        text = (
            f"flips, seed {self.seed}, {self.kind}: {self.flips.total()} bits "
            f"{dict(self.flips)}; the entry was reported {self.reported} times, "
            f"delivered whole {self.delivered} times; broken: {dict(self.broken) or 'nothing'}"
        )
        return "\n  ".join([text, *self.findings])


def flips(seed: str, kind: str, share: float = 1.0) -> FlipReport:
    """Flip bits.

    :param kind: of victim, see `VICTIM`
    :param share: of the bits of each place, so many
    """
    report = FlipReport(seed, kind)
    chance = Random(f"{seed}/flips")
    size = VICTIM[kind]
    with _folder() as folder, _folder() as after:
        fill(folder, size)
        if kind == "leased":
            lease(folder)
        for place, path, bits in places(folder, size):
            for bit in bits:
                if chance.random() >= share:
                    continue
                shutil.rmtree(after)
                shutil.copytree(folder, after)
                flip(f"{after}/{path}", bit)
                report.flips[place] += 1
                for broken in judge(after, size, report):
                    report.broken[broken] += 1
                    if len(report.findings) < 20:
                        report.findings.append(f"{broken}: bit {bit} of {path}")
    return report


def fill(folder: str, size: int) -> None:
    """Put three messages into a queue, the victim in the middle, and nothing of them in a log."""
    notes: list[Any] = []
    house = House(folder, Files(), notes.append, 1)
    house.runner.stopService()
    house.turn()
    for number, each in ((1, NEIGHBOUR), (2, size), (3, NEIGHBOUR)):
        house.accept(mark(number, each), ANN)
        house.turn(6)
    for entry in house.waiting():  # so that they have histories
        as_deferred(house.storage.retry(entry.id, house.clock.seconds()))
        house.turn(6)
    house.stop()
    with closing(sqlite3.connect(f"{folder}/{DATABASE}")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert len(notes) == 3, notes


def lease(folder: str) -> None:
    """Have the victim be leased by somebody who has died."""
    with closing(sqlite3.connect(f"{folder}/{DATABASE}")) as connection:
        connection.execute(
            "UPDATE message SET owner = ?, due = ? WHERE key ="
            " (SELECT key FROM message ORDER BY key LIMIT 1 OFFSET 1)",
            (OWNER, START + 500.0),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(f"{folder}/state/queue/owners/{OWNER}", "w", encoding="ascii"):
        pass  # that nobody has it locked says that he is dead


def places(folder: str, size: int) -> Iterator[tuple[str, str, range]]:
    """Where the victim stands: what that is, a path below the folder, and bits of that file."""
    database = f"{folder}/{DATABASE}"
    with open(database, "rb") as file:
        octets = file.read()
    with closing(sqlite3.connect(database)) as connection:
        ((key, due, recipients),) = connection.execute(
            "SELECT key, due, recipients FROM message ORDER BY key LIMIT 1 OFFSET 1"
        )
        ((events,),) = connection.execute("SELECT events FROM history WHERE key = ?", (key,))
    # In the index stand the time, as a whole number that was one, and the message's number.
    index = int(due).to_bytes(4, "big") + key.to_bytes(8, "big")
    for place, last in (
        ("row", recipients.encode()),
        ("content", b"\nend of " + mark(2, size) + b"\r\n"),
        ("index", index),
        ("owners", OWNER.encode() + key.to_bytes(8, "big")),
        ("history", events.encode()),
    ):
        if last in octets:
            at = octets.index(last)
            yield place, DATABASE, range(8 * beginning(octets, at), 8 * (at + len(last)))
    for name in os.listdir(f"{folder}/state/queue/large"):
        path = f"state/queue/large/{name}"
        yield "file", path, range(8 * os.path.getsize(f"{folder}/{path}"))


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
    house = House(root, careless(Files()), lambda note: None, 3)
    if house.rest(EVERY):
        house.rest()
    aside = house.damaged()
    house.stop()
    whole = Counter(_what(path) for path in _messages(f"{root}/mail"))
    for number in (1, 3):
        if (count := whole["ann", mark(number, NEIGHBOUR)]) != 1:
            yield f"neighbour delivered {count} times"
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

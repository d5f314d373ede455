"""What was promised, what was seen, and the judgement: lost, torn, twice, back.

Every message has a mark of its own, which says how large it is, and so what its text must be. A
client that is not told 250 never sends the same mark again. So in every mailbox each mark may be
seen under one name only, at whatever time; and each that was acknowledged must be seen in the end.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

LINE = 72  # octets, line end included
MARK = re.compile(rb"^(?:Subject|Original-Envelope-Id): (m-\d+-\d+)\r?$", re.MULTILINE)
SIZE = re.compile(r",S=(\d+)")
STILL_READ = 2.0  # seconds for which a sink may read what a server sent that is gone
RELAYED_LATE = 5.0  # seconds from a sink's answer until it must have been recorded

NEVER = float("inf")

Broken: TypeAlias = Literal["lost", "torn", "twice", "back", "resent", "bounced"]


def body(mark: bytes) -> bytes:
    """The text of the message with a mark, from its subject on; with LF line ends."""
    size = int(mark.rsplit(b"-", 1)[1])
    line = (mark + b" ").ljust(LINE - 1, b"x") + b"\n"
    return b"Subject: " + mark + b"\n\n" + line * (size // LINE) + b"end of " + mark + b"\n"


@attrs.define(eq=False)
class Letter:
    """A message that was sent.

    :ivar boxes: the mailboxes it is for
    :ivar remote: it is for somebody elsewhere as well
    :ivar refused: and for somebody whom the sink refuses, so that a notice is due
    """

    mark: bytes
    boxes: frozenset[str]
    remote: bool
    refused: bool
    acknowledged: bool = False
    at: float = 0.0


@attrs.define
class Tally:
    """The counts of a campaign."""

    acknowledged: int = 0
    seen: int = 0
    deleted: int = 0
    notices: int = 0
    relayed: int = 0
    again: int = 0  # taken by the sink a second time, as may be when cut off meanwhile
    lost: int = 0
    torn: int = 0
    twice: int = 0
    back: int = 0  # deleted, confirmed, and there again
    resent: int = 0  # to the sink, though there was time enough to record it
    bounced: int = 0  # a notice says that it failed, and nobody had refused it

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        bad = (self.lost, self.torn, self.twice, self.back, self.resent, self.bounced)
        return not any(bad)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in attrs.asdict(self).items())

    def __add__(self, other: Tally) -> Tally:
        mine, others = attrs.astuple(self), attrs.astuple(other)
        return Tally(*(a + b for a, b in zip(mine, others, strict=True)))


@attrs.define(eq=False)
class Books:
    """The record of one epoch, which ends when all that was acknowledged must have arrived.

    Threads write to it.

    :ivar away: held by a client that waits for the server to be there again
    :ivar changed: that something was acknowledged is notified by it
    :ivar switched: how often the power was cut and switched on; odd while it is off. The server
        runs on for a moment then, and some file systems answer a sync with success after they
        were ended. So what was not asked and read between the same two cuts counts for nothing.
        Nor does what is asked in one epoch and read in the next
    """

    tally: Tally = attrs.field(factory=Tally)
    findings: list[str] = attrs.field(factory=list)
    lock: threading.RLock = attrs.field(factory=threading.RLock)
    changed: threading.Condition = attrs.field()
    away: threading.Lock = attrs.field(factory=threading.Lock)
    letters: dict[bytes, Letter] = attrs.field(factory=dict)
    names: dict[tuple[str, bytes], str] = attrs.field(factory=dict)
    deleted: dict[tuple[str, bytes], float] = attrs.field(factory=dict)
    taken: dict[bytes, float] = attrs.field(factory=dict)
    torn: set[str] = attrs.field(factory=set)
    present: set[tuple[str, bytes] | None] = attrs.field(factory=set)
    numbers: int = 0
    switched: int = 0

    @changed.default
    def _changed(self) -> threading.Condition:
        return threading.Condition(self.lock)

    # --- what happens --------------------------------------------------------------------------

    def new_letter(self, size: int, boxes: Iterable[str], remote: bool, refused: bool) -> Letter:
        """A message that is about to be sent."""
        with self.lock:
            self.numbers += 1
            mark = b"m-%d-%d" % (self.numbers, size)
            letter = Letter(mark, frozenset(boxes), remote, refused)
            self.letters[mark] = letter
            return letter

    def acknowledge(self, letter: Letter, switched: int) -> None:
        """The server said 250.

        :param switched: as it was when the message was begun
        """
        with self.lock:
            if not self._counts(switched):
                return
            letter.acknowledged, letter.at = True, time.monotonic()
            self.tally.acknowledged += 1
            self.changed.notify_all()

    def saw(self, box: str, name: str, text: bytes, at: float) -> tuple[str, bytes] | None:
        """A message was seen in a mailbox.

        :param name: its file's, flags and all
        :param at: when one began to read it
        :param text: the whole of it, with LF line ends
        :returns: what it is; ``None`` for one that is torn
        """
        found = MARK.search(text)
        size = SIZE.search(name)
        is_notice = text.startswith(b"Return-Path: <>\n")
        whole = found is not None and (is_notice or text.endswith(b"\n" + body(found[1])))
        if size is not None and int(size[1]) != len(text):
            whole = False
        if not whole or found is None:
            if name not in self.torn:
                self.find("torn", f"{name} in {box} has {len(text)} octets: {text[:200]!r}")
                self.torn.add(name)
            return None
        what = ("notice to " if is_notice else "") + box, found[1]
        name = name.partition(",")[0]
        with self.lock:
            before = self.names.get(what)
            if before is None:
                self.names[what] = name
                self.tally.seen += 1
                self.tally.notices += is_notice
                letter = self.letters.get(found[1])
                if is_notice and letter is not None and not letter.refused:
                    self.find("bounced", f"{letter}: {text.decode(errors='replace')[:2000]}")
            elif before != name:
                self.find("twice", f"{what} as {before} and as {name}")
            if self.deleted.get(what, NEVER) < at:
                self.find("back", f"{what} was deleted as {before}, and is there as {name}")
        return what

    def deleting(self, what: tuple[str, bytes]) -> None:
        """A message is about to be deleted."""
        with self.lock:
            self.deleted.setdefault(what, NEVER)

    def confirm_deleted(self, what: tuple[str, bytes], switched: int) -> None:
        """The server said that the message is deleted; ``switched`` as above."""
        with self.lock:
            if not self._counts(switched):
                return
            self.deleted[what] = time.monotonic()
            self.tally.deleted += 1

    def void_since(self, at: float) -> None:
        """The power was off from then on: what was said since counts for nothing."""
        with self.lock:
            self.switched += 2  # for who has read it, and did not come to say so yet
            for letter in self.letters.values():
                if letter.acknowledged and letter.at >= at:
                    letter.acknowledged = False
                    self.tally.acknowledged -= 1
            for what, since in self.deleted.items():
                if at <= since < NEVER:
                    self.deleted[what] = NEVER
                    self.tally.deleted -= 1

    def _counts(self, switched: int) -> bool:
        return switched == self.switched and switched % 2 == 0

    def sink_took(self, mark: bytes, crashes: Iterable[float]) -> None:
        """The server elsewhere has taken a message.

        :param crashes: when the server was cut off, latest last
        """
        with self.lock:
            before = self.taken.get(mark)
            self.taken[mark] = time.monotonic()
            self.tally.relayed += 1
            if before is None:
                return
            self.tally.again += 1
            if not any(-STILL_READ < cut - before < RELAYED_LATE for cut in crashes):
                self.find("resent", f"{mark!r} was taken at {before}; crashes {crashes}")

    # --- the judgement -------------------------------------------------------------------------

    def find(self, kind: Broken, what: str) -> None:
        """A promise was broken."""
        with self.lock:
            setattr(self.tally, kind, getattr(self.tally, kind) + 1)
            if len(self.findings) < 20:
                self.findings.append(f"{kind}: {what}")

    def scan(self, mail: str) -> None:
        """Look at every message that lies in a mailbox now."""
        present = set()
        for box in _files(mail):
            for folder in ("new", "cur"):
                for name in _files(f"{mail}/{box}/{folder}"):
                    at = time.monotonic()
                    try:
                        with open(f"{mail}/{box}/{folder}/{name}", "rb") as file:
                            text = file.read()
                    except FileNotFoundError:
                        continue  # a reader was quicker
                    present.add(self.saw(box, name, text, at))
        self.present = present

    def missing(self) -> list[str]:
        """What was acknowledged, was not deleted, and is not there at the last look."""
        with self.lock:
            found = []
            for letter in self.letters.values():
                if not letter.acknowledged:
                    continue
                places = set(letter.boxes)
                if letter.refused:
                    places.add("notice to cat")
                found += [
                    f"{letter} for {place}, seen as {self.names.get(what)}"
                    for place in places
                    if (what := (place, letter.mark)) not in self.present
                    and what not in self.deleted
                ]
                if letter.remote and letter.mark not in self.taken:
                    found.append(f"{letter.mark.decode()} for far")
            return found

    def end(self, mail: str) -> bool:
        """End the epoch: what is missing now is lost. Mailboxes are emptied by the caller.

        :returns: whether nothing is missing
        """
        self.scan(mail)
        missing = self.missing()
        for what in missing:
            self.find("lost", what)
        self.forget()
        return not missing

    def forget(self) -> None:
        """Begin anew. What was begun before, and is not acknowledged yet, counts for nothing."""
        with self.lock:
            self.switched += 2
            self.letters.clear()
            self.names.clear()
            self.present = set()
            self.deleted.clear()
            self.taken.clear()

    def is_empty(self) -> bool:
        """Whether nothing was acknowledged since it was begun anew."""
        with self.lock:
            return not any(letter.acknowledged for letter in self.letters.values())


def _files(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []

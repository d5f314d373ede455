"""Campaigns against a whole server: power cuts and kills, at random and at every single call."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress

import attrs

from tests.crash.books import Tally
from tests.crash.disks import Disk, Folder
from tests.crash.hooks import SURVEY
from tests.crash.world import By, World
from tests.crash.zygote import Zygote

EPOCH = 10  # rounds, after which everything must have arrived
MOST_CALLS = 1500  # of which one is struck
SMALL_LOG = 40  # pages after which SQLite copies them from its log, in some rounds


@attrs.define
class Report:
    """What a campaign came to.

    :ivar what: its name
    :ivar rounds: how often the server was ended
    :ivar sites: how many calls in the program were struck, before and after
    :ivar unreached: of those, the ones that the server did not come to
    """

    what: str
    rounds: int = 0
    sites: int = 0
    unreached: list[str] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)
    findings: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"{self.what}: {self.rounds} rounds in {self.seconds:.0f} s"
        if self.sites:
            text += f", {self.sites} of them at a call of its own"
        if self.unreached:
            text += f", {len(self.unreached)} of these not reached"
        return "\n  ".join([f"{text}; {self.tally}", *self.findings])


Progress = Callable[[Report], None]


def survey(zygote: Zygote, seed: str) -> list[str]:
    """Every place in the program where something is done to a file, as sites.

    Found by watching a server through some kills, as what a start does after one counts as well.
    """
    disk = Folder()
    path = f"{disk.path}.sites"
    found: set[str] = set()
    try:
        with World(disk, zygote, seed) as world:
            for _ in range(4):
                for hooks in ({"survey": path}, {"survey": path, "small_log": SMALL_LOG}):
                    world.hooks = hooks
                    world.start()
                    world.wait_for_mail(80)
                    time.sleep(2.5 * SURVEY)
                    world.server.kill()
                    with open(path, encoding="utf-8") as file:
                        found |= json.load(file).keys()
            world.drain()
    finally:
        disk.close()
        with suppress(FileNotFoundError):
            os.unlink(path)
    return sorted(found)


def crash(
    zygote: Zygote,
    by: By,
    kind: str,
    *,
    rounds: int,
    sites: Sequence[str],
    seed: str,
    mutant: str = "",
    progress: Progress = lambda report: None,
    until_found: bool = False,
) -> Report:
    """End a server again and again, and judge.

    :param kind: of the disk: ``ext4``, ``xfs`` or ``folder``
    :param rounds: at random moments
    :param sites: calls before and after each of which it is ended once, in addition
    :param until_found: stop as soon as a promise was broken
    """
    begin = time.monotonic()
    chance = random.Random(f"{seed}/{kind}")  # to be repeated, not to be secret
    report = Report(f"{by} on {kind}, seed {seed}")
    strikes: list[tuple[str, str] | None] = [
        (s, when) for s in sites for when in ("before", "after")
    ]
    report.sites = len(strikes)
    strikes += [None] * rounds
    chance.shuffle(strikes)
    disk = Folder() if kind == "folder" else Disk(kind)
    with closing(disk), World(disk, zygote, f"{seed}/{kind}") as world:
        report.tally, report.findings = world.books.tally, world.books.findings
        for number, strike in enumerate(strikes, 1):
            world.hooks = {"mutant": mutant}
            if chance.random() < 0.3 or (strike and "queue.db at" in strike[0]):
                world.hooks["small_log"] = SMALL_LOG
            if strike is not None:
                site, when = strike
                if not world.end_at(by, site, when, chance.choice((1, 1, 2, 3, 5, 9))):
                    report.unreached.append(f"{when} {site}")
            elif chance.random() < 0.5:
                world.end_at_random(by)
            else:
                when = chance.choice(("before", "after"))
                world.end_at(by, "", when, chance.randint(1, MOST_CALLS))
            report.rounds = number
            report.seconds = time.monotonic() - begin
            if number % EPOCH == 0 or number == len(strikes):
                world.drain()
                progress(report)
            if until_found and not report.tally.is_clean:
                break
    report.seconds = time.monotonic() - begin
    return report


def shares(rounds: int, kinds: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The rounds, shared out among kinds of disks."""
    for n, kind in enumerate(kinds):
        yield kind, rounds // len(kinds) + (n < rounds % len(kinds))

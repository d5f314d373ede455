"""Campaigns against a whole server: power cuts and kills, at random and at every single call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import attrs

from tests.crash.books import Tally
from tests.crash.disks import Disk, Folder
from tests.crash.sites import SMALL_LOG, Strike
from tests.crash.world import PATIENCE, By, World
from tests.crash.zygote import Zygote

EPOCH = 20  # rounds, after which everything must have arrived
MOST_CALLS = 1500  # of which one is struck


@attrs.define
class Report:
    """What a campaign came to.

    :ivar what: its name
    :ivar rounds: how often the server was ended
    :ivar sites: at how many calls of the program it was ended, before or after
    :ivar unreached: of those, the ones that no server came to
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


def crash(
    zygote: Zygote,
    by: By,
    kind: str,
    *,
    rounds: int,
    sites: Sequence[Strike],
    seed: str,
    mutant: str = "",
    several: float = 0.0,
    progress: Progress = lambda report: None,
    until_found: bool = False,
) -> Report:
    """End a server again and again, and judge.

    :param kind: of the disk: ``ext4``, ``xfs`` or ``folder``
    :param rounds: at random moments
    :param sites: calls at which it is ended, once at each, in addition
    :param several: the share of rounds in which the server is several processes
    :param until_found: stop as soon as a promise was broken
    """
    report = Report(f"{by} on {kind}, seed {seed}", sites=len(sites))
    disk = Folder() if kind == "folder" else Disk(kind)
    with closing(disk), World(disk, zygote, f"{seed}/{kind}") as world:
        report.tally, report.findings = world.books.tally, world.books.findings
        campaign = _Campaign(world, by, mutant, report, progress, until_found)
        campaign.run(rounds, round(rounds * several), sites)
    return report


class _Found(Exception):
    """A promise was broken, which was to be found out."""


@attrs.define
class _Campaign:
    """What is done in which order."""

    world: World
    by: By
    mutant: str
    report: Report
    progress: Progress
    until_found: bool
    begin: float = attrs.field(factory=time.monotonic)
    since: int = 0  # the last drain
    missed: list[Strike] = attrs.field(factory=list)

    def run(self, count: int, several: int, sites: Sequence[Strike]) -> None:
        """Do all of it."""
        chance = self.world.chance
        steps: list[Strike | str] = [strike for strike in sites if not strike.fresh]
        steps += ["one"] * (count - several) + ["several"] * several
        fresh = [strike for strike in sites if strike.fresh]
        chance.shuffle(steps)
        chance.shuffle(fresh)
        try:
            for step in steps:
                self._strike_fresh(fresh)
                if isinstance(step, Strike):
                    if not self._strike(step):
                        self.missed.append(step)
                elif step == "one":
                    self._end_one()
                elif several > 0:
                    several -= (ended := self.world.end_several(self.by))
                    self._ended(ended)
            while fresh:
                self._drain()
                self._strike_fresh(fresh)
            for strike in self.missed:
                if not self._strike_again(strike):
                    self.report.unreached.append(str(strike))
            self._drain()
        except _Found:
            return

    def _strike_fresh(self, strikes: list[Strike]) -> None:
        """Strike at the first start, as long as nothing is lost by emptying the disk."""
        while strikes and self.world.books.is_empty():
            self.world.wipe()
            strike = strikes.pop()
            if not self._strike(strike):
                self.missed.append(strike)

    def _strike(self, strike: Strike) -> bool:
        self._set_hooks(strike.small_log)
        number = strike.number(self.world.chance)
        reached = self.world.end_at(self.by, strike.site, strike.when, number)
        self._ended(1)
        return reached

    def _strike_again(self, strike: Strike) -> bool:
        """Strike at a call that is made now and then only; whether it was, this time.

        Some come when SQLite remembers little, when there is nothing in the database's log, or when
        there are many changes at once.
        """
        world = self.world
        for more in ({}, {"small_memory": 10}, {"small_memory": 10, "slow_turns": 0.05}):
            if strike.fresh:
                self._drain()
                world.wipe()
            elif more:
                world.start()
                world.wait_for_mail(1)
                world.stop()
            self._set_hooks(strike.small_log)
            world.hooks.update(more)
            reached = world.end_at(self.by, strike.site, strike.when, 1, 2 * PATIENCE)
            self._ended(1)
            if reached:
                return True
        return False

    def _end_one(self) -> None:
        chance = self.world.chance
        self._set_hooks(False)
        if chance.random() < 0.5:
            self.world.end_at_random(self.by)
        else:
            number = round(math.exp(chance.random() * math.log(MOST_CALLS)))
            self.world.end_at(self.by, "", chance.choice(("before", "after")), number)
        self._ended(1)

    def _set_hooks(self, small_log: bool) -> None:
        self.world.hooks = {"mutant": self.mutant}
        if small_log or self.world.chance.random() < 0.3:
            self.world.hooks["small_log"] = SMALL_LOG

    def _ended(self, count: int) -> None:
        self.report.rounds += count
        self.report.seconds = time.monotonic() - self.begin
        self.since += count
        if self.since >= EPOCH:
            self._drain()
            self.progress(self.report)
        if self.until_found and not self.report.tally.is_clean:
            raise _Found

    def _drain(self) -> None:
        self.since = 0
        self.world.drain()
        self.report.seconds = time.monotonic() - self.begin


def shares(rounds: int, kinds: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The rounds, shared out among kinds of disks."""
    for n, kind in enumerate(kinds):
        yield kind, rounds // len(kinds) + (n < rounds % len(kinds))

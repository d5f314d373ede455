"""Campaigns against a whole server: power cuts and kills, at random and at every single call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import attrs

from tests.crash.books import Tally
from tests.crash.disks import Disk, Folder
from tests.crash.sites import SMALL_LOG, Strike
from tests.crash.world import PATIENCE, By, World
from tests.crash.zygote import Zygote

EPOCH = 25  # rounds, after which everything must have arrived
PART = 50  # rounds, after which another disk is used
MOST_CALLS = 1500  # of which one is struck


@attrs.define
class Report:
    """What a campaign came to.

    :ivar what: its name
    :ivar rounds: how often a server that clients use was ended, or one of its processes
    :ivar starts: how often one was started
    :ivar sites: at how many calls of the program it was ended, before or after
    :ivar several: how many of the rounds were of servers in several processes
    :ivar unreached: calls at which it was to be ended, and that no server came to
    :ivar seconds: how long it took, were its parts done one after the other
    """

    what: str
    rounds: int = 0
    starts: int = 0
    sites: int = 0
    several: int = 0
    unreached: list[str] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)
    findings: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"{self.what}: {self.rounds} rounds, {self.starts} starts, {self.seconds:.0f} s"
        if self.sites:
            text += f"; {self.sites} rounds at a call of its own"
        if self.unreached:
            text += f", {len(self.unreached)} of these not reached"
        if self.several:
            text += f"; {self.several} rounds of several processes"
        return "\n  ".join([f"{text}; {self.tally}", *self.findings])

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return self.tally.is_clean

    def __add__(self, other: Report) -> Report:
        return Report(
            self.what,
            rounds=self.rounds + other.rounds,
            starts=self.starts + other.starts,
            sites=self.sites + other.sites,
            several=self.several + other.several,
            unreached=self.unreached + other.unreached,
            tally=self.tally + other.tally,
            findings=self.findings + other.findings,
            seconds=self.seconds + other.seconds,
        )


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
    report = Report(f"{by} on {kind}", sites=len(sites))
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
                    self.report.several += ended
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
        self.report.starts = self.world.starts
        self.since += count
        if self.since >= EPOCH:
            self._drain()
            self.progress(self.report)
        if self.until_found and not self.report.tally.is_clean:
            raise _Found

    def _drain(self) -> None:
        self.since = 0
        self.world.drain()
        self.report.starts = self.world.starts
        self.report.seconds = time.monotonic() - self.begin


def parts(
    by: By,
    kinds: Sequence[str],
    *,
    rounds: int,
    sites: Sequence[Strike],
    seed: str,
    several: float = 0.0,
) -> dict[int, partial[Report]]:
    """A campaign in parts, by their numbers; each has a seed and a disk of its own.

    A longer campaign begins as a shorter one does, when the rounds of both are whole `PART` ones.

    :param kinds: of the disks, in turns
    :param rounds: at random moments
    :param sites: see `crash`
    """
    count = max(math.ceil(max(rounds, len(sites)) / PART), len(kinds))
    return {
        n: partial(
            crash,
            by=by,
            kind=kinds[n % len(kinds)],
            rounds=rounds * (n + 1) // count - rounds * n // count,
            sites=sites[n::count],
            seed=f"{seed}/{n}",
            several=several,
        )
        for n in range(count)
    }

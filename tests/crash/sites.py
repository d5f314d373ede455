"""Which calls a server makes, and when: what the campaigns strike at, each of them.

Found by watching servers that start on an empty disk or on one that was left by a kill.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterable, Sequence

import attrs

from tests.crash.disks import Folder
from tests.crash.hooks import NOTED, SERVING
from tests.crash.world import World
from tests.crash.zygote import Zygote

SMALL_LOG = 40  # pages after which SQLite copies them from its log, in some rounds
# Whether the disk is empty, and whether the log is small, in each run that is watched.
RUNS = (
    *((True, False), (False, False), (False, True), (True, True)),
    *((False, True), (False, False), (True, False), (False, True), (False, False)),
)
AT_START = 8  # messages, after which what a start does is over
SERVED = 60  # messages that are watched then


@attrs.frozen(order=True)
class Strike:
    """One call of the program, before or after it is made.

    :ivar site: which, see `mailframe.testing.storage_calls.place_of`
    :ivar when: ``before`` or ``after``
    :ivar most: how often one server came to it, as far as was counted
    :ivar fresh: it comes when a server starts on an empty disk, only
    :ivar starting: it comes when a server starts, only
    :ivar small_log: it comes when SQLite's log is to be small, only
    """

    site: str
    when: str
    most: int
    fresh: bool
    starting: bool
    small_log: bool

    def __str__(self) -> str:
        return f"{self.when} {self.site}"

    def number(self, chance: random.Random) -> int:
        """At how manieth of these calls to strike: mostly at one of the first."""
        return chance.choice([1] + [number for number in NOTED if number <= self.most])


def survey(zygote: Zygote, seed: str, runs: Sequence[tuple[bool, bool]] = RUNS) -> list[Strike]:
    """Every call that does something to a file, before and after.

    :param runs: some or all of `RUNS`
    """
    disk = Folder()
    path = f"{disk.path}.calls"
    found: dict[tuple[str, str], Strike] = {}
    try:
        with World(disk, zygote, f"{seed}/survey") as world:
            for fresh, small_log in runs:
                if fresh:
                    world.wipe()
                world.start(survey=path, small_log=SMALL_LOG if small_log else 0)
                world.wait_for_mail(AT_START)
                world.server.signal(SERVING)
                world.wait_for_mail(SERVED)
                world.end("kill")
                with open(path, encoding="utf-8") as file:
                    _add(found, file, fresh, small_log)
                os.unlink(path)
    finally:
        disk.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return sorted(found.values())


def _add(
    found: dict[tuple[str, str], Strike], lines: Iterable[str], fresh: bool, small_log: bool
) -> None:
    """Add what one run has noted."""
    for line in lines:
        phase, when, number, site = line.rstrip("\n").split("\t")
        strike = Strike(site, when, int(number), fresh, phase == "start", small_log)
        before = found.get((site, when), strike)
        found[site, when] = Strike(
            site,
            when,
            max(before.most, strike.most),
            before.fresh and fresh,
            before.starting and strike.starting,
            before.small_log and small_log,
        )

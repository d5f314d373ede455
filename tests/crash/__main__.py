"""Crash campaigns: ``python -m tests.crash KIND ... [--rounds N] [--calls N] [--seed S]``.

``power``   the power of a loop-mounted disk, ext4 and xfs, is cut N times under load: at random
            moments, at the moment of a 250, and before and after calls that do something to files
``kill``    the same with SIGKILL, N times, and before and after every single such call in addition
``faults``  every call of the program that does something to files fails in every way
``pairs``   the same with N pairs of failures
``model``   at every moment of a day's work a server is started on each of the states in which a
            disk could be then that forgets what was not synced
``mutants`` each sync and each ordering is taken away, one at a time: ``model`` must find it
``flips``   every bit of a queue entry is flipped, one at a time

In a round of ``power`` and ``kill`` a server is started on what the one before it left, clients
send, fetch, move and delete, and its end comes within some messages. In some rounds the server is
several processes, of which one worker, the supervising one or all are killed, and each killing is
a round. Now and then everything must have arrived; that is no round.

Campaigns are done in parts, several at a time (``--lanes``). With ``--continue FILE`` the parts
that are done are kept in a file, and left out when the same command is given again; the counts
include them.

Ends with 1 when a promise was broken, with 3 when that can't be found out on this machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from types import FrameType
from typing import Any

import attrs

from tests.crash.campaigns import Report
from tests.crash.campaigns import parts as crash_parts
from tests.crash.disks import Unavailable, own_mounts
from tests.crash.faults import FaultReport
from tests.crash.faults import parts as fault_parts
from tests.crash.lanes import Kept, side_by_side
from tests.crash.proofs import PROOFS, quietly
from tests.crash.sites import RUNS, Strike, survey
from tests.crash.zygote import Zygote

SEVERAL = 0.06  # of the rounds that are at random
OFTEN = 10.0  # seconds between two reports, until the last one
NOT_HERE = 3  # the exit status
LANES = (os.cpu_count() or 1) + 1  # one waits while the others work


@attrs.define
class Task:
    """What was asked for, and what the campaigns share.

    :ivar rounds: how often, where that can be chosen
    :ivar calls: no more calls than this are struck at or made to fail; ``None``: all
    :ivar lanes: how many parts are done at once
    :ivar file: where the parts that are done are kept; empty: nowhere
    :ivar sites: every call
    """

    rounds: int
    calls: int | None
    seed: str
    lanes: int
    file: str
    sites: list[Strike]

    def some_sites(self) -> list[Strike]:
        """Those to strike at."""
        chance = random.Random(f"{self.seed}/sites")
        return chance.sample(self.sites, len(self.sites))[: self.calls]

    def do(
        self,
        campaign: str,
        kind: type[Report] | type[FaultReport],
        parts: Mapping[int, Any],
    ) -> bool:
        """Do the parts of a campaign, and tell what it came to; whether every promise was kept."""
        kept: Kept[Any] = Kept(self.file, f"{campaign}, seed {self.seed}")
        reports = kept.read(kind)
        left = {number: part for number, part in parts.items() if number not in reports}
        begin = said = time.monotonic()

        def told(number: int, report: Any, done: bool) -> None:
            nonlocal said
            reports[number] = report
            if done:
                kept.add(number, report)
            if time.monotonic() - said > OFTEN:
                said = time.monotonic()
                for total in _totals(reports):
                    print(total, file=sys.stderr, flush=True)

        side_by_side(left, self.lanes, told)
        totals = _totals(reports)
        for total in totals:
            print(total, flush=True)
            if total.unreached:
                print("  not reached:", *total.unreached, sep="\n    ", flush=True)
        print(
            f"  seed {self.seed}; {len(left)} of {len(reports)} parts now, "
            f"{self.lanes} at a time, in {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        return all(total.is_clean for total in totals)


def _totals(reports: Mapping[int, Any]) -> list[Any]:
    """The sum of the reports about the same."""
    totals: dict[str, Any] = {}
    for _, report in sorted(reports.items()):
        total = totals.get(report.what)
        totals[report.what] = report if total is None else total + report
    return [*totals.values()]


def power(task: Task) -> bool:
    """Cut the power; up to half of the times at a call of its own, on one disk or on both."""
    kinds, sites = ("ext4", "xfs"), task.some_sites()
    if task.rounds > 4 * len(sites):
        sites = [each for each in sites for _ in kinds]  # neighbours are struck at on either disk
    sites = sites[: task.rounds // 2]
    parts = crash_parts(
        "cut",
        kinds,
        rounds=task.rounds - len(sites),
        sites=sites,
        seed=task.seed,
        several=SEVERAL,
    )
    return task.do("power", Report, parts)


def kill(task: Task) -> bool:
    """Kill."""
    sites = task.some_sites()
    parts = crash_parts(
        "kill", ["folder"], rounds=task.rounds, sites=sites, seed=task.seed, several=SEVERAL
    )
    return task.do("kill", Report, parts)


def single_faults(task: Task) -> bool:
    """Have every call fail."""
    parts = fault_parts(task.sites, seed=task.seed, most=task.calls)
    return task.do("faults", FaultReport, parts)


def pairs(task: Task) -> bool:
    """Have two calls fail."""
    parts = fault_parts(task.sites, seed=task.seed, pairs=task.rounds)
    return task.do("pairs", FaultReport, parts)


KINDS: dict[str, Callable[[Task], bool]] = {
    "power": power,
    "kill": kill,
    "faults": single_faults,
    "pairs": pairs,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. :param arguments: its own unless given"""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kinds", nargs="+", choices=sorted({*KINDS, *PROOFS}), metavar="KIND")
    parser.add_argument("--rounds", type=int, default=200, help="where there are rounds")
    parser.add_argument("--calls", type=int, help="strike at no more calls than this")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--lanes", type=int, default=LANES, help="parts done at once")
    parser.add_argument("--continue", dest="file", default="", help="the file of what is done")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)  # so that nothing is left
    kept = [quietly(PROOFS[kind], options.seed) for kind in options.kinds if kind in PROOFS]
    campaigns = [kind for kind in options.kinds if kind in KINDS]
    if not campaigns:
        return 0 if all(kept) else 1
    own_mounts()
    try:
        with closing(Zygote()) as zygote:
            sites = survey(zygote, options.seed, RUNS if options.calls is None else RUNS[:3])
        task = Task(
            rounds=options.rounds,
            calls=options.calls,
            seed=options.seed,
            lanes=options.lanes,
            file=options.file,
            sites=sites,
        )
        kept += [KINDS[kind](task) for kind in campaigns]
    except Unavailable as error:
        print(f"can't be found out here: {error}")
        return NOT_HERE
    return 0 if all(kept) else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: there is much to take away
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())

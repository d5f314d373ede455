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

In some of the rounds of ``power`` and ``kill`` the server is several processes, of which one
worker, the supervising one or all are killed.

Ends with 1 when a promise was broken, with 3 when that can't be found out on this machine.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from types import FrameType

import attrs

from tests.crash.campaigns import Report, crash, shares
from tests.crash.disks import Unavailable, own_mounts
from tests.crash.faults import FaultReport, faults
from tests.crash.proofs import PROOFS, quietly
from tests.crash.sites import RUNS, Strike, survey
from tests.crash.zygote import Zygote

SEVERAL = 0.06  # of the rounds that are at random
OFTEN = 10.0  # seconds between two reports, until the last one
NOT_HERE = 3  # the exit status


@attrs.define
class Task:
    """What was asked for, and what the campaigns share.

    :ivar rounds: how often, where that can be chosen
    :ivar calls: no more calls than this are struck at or made to fail; ``None``: all
    :ivar sites: every call
    """

    rounds: int
    calls: int | None
    seed: str
    zygote: Zygote
    sites: list[Strike]
    told: float = attrs.field(factory=time.monotonic)

    def progress(self, report: Report | FaultReport) -> None:
        """Tell, now and then, on stderr."""
        if time.monotonic() - self.told > OFTEN:
            self.told = time.monotonic()
            print(report, file=sys.stderr, flush=True)

    def crash(self, kind: str, rounds: int, several: float, sites: list[Strike]) -> bool:
        """Cut the power of a disk, or kill where there is none."""
        report = crash(
            self.zygote,
            "kill" if kind == "folder" else "cut",
            kind,
            rounds=rounds,
            sites=sites,
            seed=self.seed,
            several=several,
            progress=self.progress,
        )
        print(report, flush=True)
        if report.unreached:
            print("  not reached:", *report.unreached, sep="\n    ", flush=True)
        return report.tally.is_clean


def power(task: Task) -> bool:
    """Cut the power; up to half of the times at a call of its own, on one disk or on both."""
    kinds = ("ext4", "xfs")
    sites = random.Random(f"{task.seed}/sites").sample(task.sites, len(task.sites))[: task.calls]
    good = True
    for number, (kind, rounds) in enumerate(shares(task.rounds, kinds)):
        some = sites if rounds > 2 * len(sites) else sites[number :: len(kinds)][: rounds // 2]
        good &= task.crash(kind, rounds - len(some), SEVERAL, some)
    return good


def kill(task: Task) -> bool:
    """Kill."""
    sites = random.Random(f"{task.seed}/sites").sample(task.sites, len(task.sites))
    return task.crash("folder", task.rounds, SEVERAL, sites[: task.calls])


def single_faults(task: Task) -> bool:
    """Have every call fail."""
    return _faults(task, pairs=None)


def pairs(task: Task) -> bool:
    """Have two calls fail."""
    return _faults(task, pairs=task.rounds)


def _faults(task: Task, pairs: int | None) -> bool:
    report = faults(
        task.zygote,
        task.sites,
        seed=task.seed,
        pairs=pairs,
        most=task.calls,
        progress=task.progress,
    )
    print(report, flush=True)
    if report.unreached:
        print("  not reached:", *report.unreached, sep="\n    ", flush=True)
    return report.is_clean


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
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)  # so that nothing is left
    kept = [quietly(PROOFS[kind], options.seed) for kind in options.kinds if kind in PROOFS]
    campaigns = [kind for kind in options.kinds if kind in KINDS]
    if not campaigns:
        return 0 if all(kept) else 1
    own_mounts()
    with closing(Zygote()) as zygote:
        try:
            sites = survey(zygote, options.seed, RUNS if options.calls is None else RUNS[:3])
            task = Task(options.rounds, options.calls, options.seed, zygote, sites)
            kept += [KINDS[kind](task) for kind in campaigns]
        except Unavailable as error:
            print(f"can't be found out here: {error}")
            return NOT_HERE
    return 0 if all(kept) else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())

"""Crash campaigns: ``python -m tests.crash KIND ... [--rounds N] [--seed S]``.

``power``   the power of a loop-mounted disk, ext4 and xfs, is cut under load: at random moments, at
            the moment of a 250, and before and after every single call that does something to files
``kill``    the same with SIGKILL
``faults``  every call of the program that does something to files fails in every way
``model``   every state in which a disk could be that forgets what was not synced
``mutants`` each sync and each ordering is removed, one at a time: the above must find it
``flips``   every bit of a queue entry is flipped

Ends with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import closing
from types import FrameType

from tests.crash.campaigns import Report, crash, shares, survey
from tests.crash.faults import FaultReport, faults
from tests.crash.zygote import Zygote


def power(rounds: int, seed: str) -> bool:
    """Cut the power."""
    return _crash(rounds, seed, cut=True)


def kill(rounds: int, seed: str) -> bool:
    """Kill."""
    return _crash(rounds, seed, cut=False)


def _crash(rounds: int, seed: str, *, cut: bool) -> bool:
    good = True
    with closing(Zygote()) as zygote:
        sites = survey(zygote, seed)
        for kind, share in shares(rounds, ("ext4", "xfs") if cut else ("folder",)):
            report = crash(
                zygote,
                "cut" if cut else "kill",
                kind,
                rounds=share,
                sites=sites,
                seed=seed,
                progress=_show,
            )
            print(report, flush=True)
            print("  not reached:", *report.unreached, sep="\n    ")
            good = good and report.tally.is_clean
    return good


def _show(report: Report | FaultReport) -> None:
    print(report, flush=True)


def every_fault(rounds: int, seed: str) -> bool:
    """Have every call fail."""
    with closing(Zygote()) as zygote:
        report = faults(zygote, survey(zygote, seed), seed=seed, pairs=rounds > 0, progress=_show)
        print(report, flush=True)
        print("  not reached:", *sorted(report.unreached), sep="\n    ")
    return report.is_clean


KINDS = {"power": power, "kill": kill, "faults": every_fault}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS), metavar="KIND")
    parser.add_argument("--rounds", type=int, default=200, help="where there are rounds")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # so that nothing stays mounted
    kept = [KINDS[kind](options.rounds, options.seed) for kind in options.kinds]
    return 0 if all(kept) else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())

"""What is proved in one process, on a model of a disk or by flipping bits."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import globalLogBeginner

from tests.crash.flips import VICTIM, flips
from tests.crash.model import explore
from tests.crash.mutants import MUTANTS

MOST = 12  # states at every moment of the model, besides those that always are


def model(seed: str) -> bool:
    """Cut the power at every moment."""
    report = explore(seed, most=MOST)
    print(report, flush=True)
    return report.is_clean


def mutants(seed: str) -> bool:
    """Take one sync or ordering away at a time, and see whether the model finds it."""
    found = 0
    for name, mutant in MUTANTS.items():
        with mutant.installed():
            report = explore(seed, until_found=True)
        found += not report.is_clean
        what = f"NOT FOUND in {report.states} states" if report.is_clean else dict(report.broken)
        print(f"{name}, {mutant.what}: {what}", flush=True)
    print(f"mutants, seed {seed}: {found} of {len(MUTANTS)} found", flush=True)
    return found == len(MUTANTS)


def every_flip(seed: str) -> bool:
    """Flip every bit of an entry, of a small and of a large one."""
    good = True
    for kind in VICTIM:
        report = flips(seed, kind)
        print(report, flush=True)
        good &= report.is_clean
    return good


def quietly(prove: Callable[[str], bool], seed: str) -> bool:
    """Prove something without the log: it would tell of every single damage."""
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    return prove(seed)


PROOFS: dict[str, Callable[[str], bool]] = {
    "model": model,
    "mutants": mutants,
    "flips": every_flip,
}

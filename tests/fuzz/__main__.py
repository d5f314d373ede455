"""Fuzz the parsers: ``python -m tests.fuzz [--seconds N] [target ...]``.

Without a target all take turns. An input for which a claim does not hold is made as small as can
be, shown, and put into ``tests/fuzz/corpus``, where every test run tries it again.

With ``--atheris`` one target is run by atheris (``pip install atheris``), which looks at what code
an input reaches; what it finds interesting is kept in the folder ``--keep``.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback

from tests.fuzz.campaign import CORPUS, TARGETS, Failure, keep, run
from tests.fuzz.target import Target


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--atheris", action="store_true", help="run one target by atheris")
    parser.add_argument("--keep", default="", help="atheris: folder for interesting inputs")
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(
            f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}"
        )
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    if options.atheris:
        if len(chosen) != 1:
            parser.error("atheris runs one target")
        return by_atheris(chosen[0], options.seconds, options.keep)
    return max([campaign(target, options.seconds) for target in chosen])


def campaign(target: Target, seconds: float) -> int:
    """Run one target."""
    try:
        tried = run(target, seconds=seconds, examples=2000, start=random.randrange(2**32))
    except Failure as failure:
        traceback.print_exception(failure.__cause__)
        print(
            f"{target.name}: FAILED for {failure.octets!r}; kept as {keep(target, failure.octets)}"
        )
        return 1
    print(f"{target.name}: {tried} inputs")
    return 0


def by_atheris(target: Target, seconds: float, folder: str) -> int:
    """Hand a target to atheris, which ends the process."""
    import atheris  # not needed for anything else

    atheris.instrument_all()
    arguments = [sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=600"]
    folders = [folder] if folder else []
    if (CORPUS / target.name).is_dir():
        folders.append(str(CORPUS / target.name))
    atheris.Setup([*arguments, *folders], target.check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

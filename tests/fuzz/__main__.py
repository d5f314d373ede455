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
import tempfile
import traceback
from collections.abc import Iterator
from types import FunctionType

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

    for function in _functions():
        atheris.instrument_func(function)
    arguments = [sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=600"]
    arguments.append(f"-dict={_dictionary(target)}")
    folders = [folder] if folder else []
    if (CORPUS / target.name).is_dir():
        folders.append(str(CORPUS / target.name))
    atheris.Setup([*arguments, *folders], target.check)
    atheris.Fuzz()
    return 0


def _dictionary(target: Target) -> str:
    """A file with the target's words, as libFuzzer reads it; returns its path."""
    with tempfile.NamedTemporaryFile("w", suffix=".dict", delete=False) as file:
        for word in target.words:
            if 0 < len(word) <= 60:
                file.write('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n')
    return file.name


def _functions() -> Iterator[FunctionType]:
    """All functions and methods of the package that are imported; others are not of interest."""
    modules = [module for name, module in sys.modules.items() if name.startswith("mailframe")]
    found = [value for module in modules for value in vars(module).values()]
    for owner in [value for value in found if isinstance(value, type)]:
        found += vars(owner).values()
    seen: set[int] = set()
    for value in found:
        function = getattr(value, "__func__", getattr(value, "__wrapped__", value))
        if (
            isinstance(function, FunctionType)
            and str(function.__module__).startswith("mailframe")
            and id(function) not in seen
        ):
            seen.add(id(function))
            yield function


if __name__ == "__main__":
    sys.exit(main())

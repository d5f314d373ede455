"""The command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

import benchmarks.against_postfix as package
from benchmarks.against_postfix.foreign import Aiosmtpd, Haraka
from benchmarks.against_postfix.report import WIDTH, Results, as_rst, as_text, put_between_marks
from benchmarks.against_postfix.servers import CPUS, Mailframe, Postfix, Server, Sink
from benchmarks.against_postfix.works import ROWS, WORKS, Amounts
from benchmarks.machine import describe, file_system, working_folder
from benchmarks.programs import Failed, find_program

MARK = "benchmarks.against_postfix"
_LARGE_FOR_EACH = 100  # messages of 4 KB


def chosen_options() -> argparse.Namespace:
    """What the command line says; ends with a message when that is nothing to work with."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against_postfix",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("works", nargs="*", metavar="work", help=", ".join(WORKS))
    parser.add_argument("--messages", type=int, default=4000, help="of 4 KB, for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="begin no further round that would last longer"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=int(os.environ.get("MAILFRAME_PROCESSES", CPUS)),
        help="of mailframe; by default one for each CPU",
    )
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table into a file, too")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the table into a document, between its marks"
    )
    options = parser.parse_args()
    if unknown := set(options.works) - set(WORKS):
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    options.works = [work for work in WORKS if work in (options.works or WORKS)]
    if "latency" in options.works and "accept" not in options.works:
        options.works.insert(0, "accept")  # the load is half of what that reaches
    if os.geteuid() != 0:
        parser.error("Postfix has to be started by root")
    if find_program("postfix") is None:
        parser.error("Postfix is not installed (Debian: apt-get install postfix)")
    kind, _ = file_system(working_folder())
    if kind in ("tmpfs", "ramfs"):
        parser.error(
            f"{working_folder()} is in memory, where a sync costs nothing:"
            " name a folder on a disk with BENCHMARK_DIR"
        )
    return options


def participants(processes: int) -> dict[str, Server]:
    """The servers that can be measured here, by name; says which can't."""
    found: dict[str, Server] = {}
    every: tuple[Server, ...] = (Mailframe(processes), Postfix(), Haraka(), Aiosmtpd(), Sink())
    for server in every:
        if reason := server.missing():
            print(f"left out: {reason}", file=sys.stderr)
        else:
            found[server.name] = server
    return found


def measure(
    options: argparse.Namespace, servers: Mapping[str, Server], amounts: Amounts, results: Results
) -> int:
    """Measure every work of every server in each round; returns how many rounds there were."""
    begin = time.monotonic()
    for number in range(1, options.rounds + 1):
        began = time.monotonic()
        for work in options.works:
            for name in [name for name in WORKS[work].servers if name in servers]:
                try:
                    measured = WORKS[work].measure(servers[name], amounts, results)
                except Failed as error:  # the others, and the other rounds, count
                    print(f"round {number}: {name}: {work} failed: {error}", file=sys.stderr)
                    continue
                results.add(name, measured)
                shown = ", ".join(f"{row} {figure:.2f}" for row, figure in measured.items())
                passed = time.monotonic() - begin
                print(f"{passed:5.0f} s  round {number}: {name}: {shown}", file=sys.stderr)
        now = time.monotonic()
        if (now - begin) + (now - began) > options.minutes * 60:
            return number
    return int(options.rounds)


def main() -> None:
    """Run the works, and print the tables."""
    options = chosen_options()
    machine = describe()
    servers = participants(options.processes)
    amounts = Amounts(
        messages=options.messages,
        large=max(options.messages // _LARGE_FOR_EACH, 10),
        seconds=min(options.messages / 1000, 10.0),
    )
    results = Results(ROWS)
    rounds = measure(options, servers, amounts, results)
    cells = results.table(list(servers))
    which = f"The best of {rounds} rounds" if rounds > 1 else "One round"
    about = fill(
        f"{which} of {amounts.messages} messages, {amounts.large} of 20 MB; mailframe with"
        f" {options.processes} processes. {machine}",
        WIDTH,
    )
    print(f"\n{about}\n\n{as_text(cells)}\n\nBefore its 250,")
    for name, server in servers.items():
        print(f"{name}: {server.promise}")
    document = f"{about}\n\n{as_rst(cells)}"
    if options.rst:
        options.rst.write_text(f"{document}\n")
    if options.docs:
        put_between_marks(options.docs, MARK, document)


if __name__ == "__main__":
    main()

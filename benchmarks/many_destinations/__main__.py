"""The command."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from textwrap import fill

import benchmarks.many_destinations as package
from benchmarks.against_postfix.report import WIDTH, as_rst, as_text, put_between_marks
from benchmarks.against_postfix.servers import CPUS
from benchmarks.machine import describe
from benchmarks.many_destinations.internet import (
    WAYS,
    Destination,
    Sinks,
    dead,
    destinations,
    name_server,
    wait_until_taken,
)
from benchmarks.many_destinations.senders import Mailframe, Postfix, Sender
from benchmarks.programs import Failed, find_program, folder
from benchmarks.usage import cpu_seconds
from tests.interop.programs import free_ports

MARK = "benchmarks.many_destinations"
GOAL = 1.2


def seconds(
    sender: Sender, every: Sequence[Destination], messages: int, patience: float
) -> tuple[float, float] | None:
    """How long it takes until the healthy have theirs, and the CPU time of all the server's
    processes meanwhile; ``None`` when it takes longer than ``patience``.

    :param messages: for each destination
    """
    os.sync()  # what the one before has left to be written is not this one's work
    recipients = [each for each in every for _ in range(messages)]
    Random(821).shuffle(recipients)
    healthy = [each for each in every if not each.dead]
    (port,) = free_ports(1)
    sinks = Sinks(messages)
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(folder())
        dns = stack.enter_context(name_server(root, every))
        stack.enter_context(dead(every, port))
        stack.enter_context(sinks.serve(root, port, healthy))
        sending = stack.enter_context(sender.sending(root, recipients, port, dns))
        used = cpu_seconds(sending.pid)
        try:
            passed = wait_until_taken(sinks, sending.due, patience)
            return passed, cpu_seconds(sending.pid) - used
        except Failed as error:
            print(f"{sender.name}: {error}", file=sys.stderr)
            return None


def measure(options: argparse.Namespace, senders: Sequence[Sender]) -> list[list[str]]:
    """The cells of the table."""
    every = destinations(options.destinations, options.dead)
    loads = {"without": [each for each in every if not each.dead], "with": list(every)}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(1, options.rounds + 1):
        for sender in senders:
            for load, some in loads.items():
                taken = seconds(sender, some, options.messages, options.patience)
                if taken is not None:
                    found.setdefault((sender.name, load), []).append(taken)
                shown = "too long" if taken is None else "{:.2f} s, CPU {:.2f} s".format(*taken)
                print(f"round {number}: {sender.name}, {load} the dead: {shown}", file=sys.stderr)
    cells = [["until the healthy have theirs", "without the dead", "with them", "ratio", "goal"]]
    for sender in senders:
        for column, title in enumerate(("s", "the same, CPU time: s")):
            alone, beside = (
                min((each[column] for each in found.get((sender.name, load), ())), default=None)
                for load in loads
            )
            is_goal = isinstance(sender, Mailframe) and not column
            cells.append(
                [
                    title if column else f"{sender.name}: {title}",
                    *(_shown(figure, options.patience) for figure in (alone, beside)),
                    f"{beside / alone:.2f}" if alone and beside else "-",
                    f"≤ {GOAL}" if is_goal else "-",
                ]
            )
    return cells


def _shown(figure: float | None, patience: float) -> str:
    return f"over {patience:g}" if figure is None else f"{figure:.2f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.many_destinations",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--destinations", type=int, default=1000)
    parser.add_argument("--dead", type=int, default=50, help="how many of them")
    parser.add_argument("--messages", type=int, default=10, help="for each")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--patience", type=float, default=400.0, help="seconds for one run")
    parser.add_argument("--without-postfix", action="store_true")
    parser.add_argument("--processes", type=int, nargs="*", default=sorted({1, CPUS}))
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the table into a document, between its marks"
    )
    options = parser.parse_args()
    for program, distribution in (("smtp-sink", "postfix"), ("dnsmasq", "dnsmasq-base")):
        if find_program(program) is None:
            parser.error(f"{program} is not installed (Debian: apt-get install {distribution})")
    senders: list[Sender] = [Mailframe(processes) for processes in options.processes]
    if not options.without_postfix:
        if reason := Postfix().missing():
            print(f"left out: {reason}", file=sys.stderr)
        else:
            senders.append(Postfix())
    machine = describe()
    try:
        cells = measure(options, senders)
    except Failed as error:
        sys.exit(f"{parser.prog}: {error}")
    count = options.destinations - options.dead
    about = fill(
        f"{count * options.messages:,} messages of 4 KB for {count:,} healthy destinations, and"
        f" {options.dead * options.messages:,} for {options.dead} dead ones"
        f" ({options.dead // len(WAYS)} of each kind). The best of {options.rounds} rounds."
        f" {machine}",
        WIDTH,
    )
    print(f"\n{about}\n\n{as_text(cells)}")
    if options.docs:
        put_between_marks(options.docs, MARK, f"{about}\n\n{as_rst(cells)}")


if __name__ == "__main__":
    main()

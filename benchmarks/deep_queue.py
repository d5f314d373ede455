"""What a long queue costs: ``python -m benchmarks.deep_queue [--queued N] [--rounds N]``.

A million messages of 1 KB are put into a queue, through the queue's own ledger, with their next
attempts spread over the coming days. Beside it stands an empty one. Measured of both, in turns:

* the time from the start of the server to its first greeting, with nothing of the queue's database
  in the system's memory
* the memory of all its processes while it is idle, and the most while it accepts (pages that
  several share are counted once)
* messages of 4 KB that it accepts in a second (as `benchmarks.against_postfix` does for "accept"),
  and the CPU time of all its processes for each
* the ledger's own operations, each in a transaction that is synced, and how SQLite finds the rows
  for every statement in them

The database takes 2.5 GB below ``$BENCHMARK_DIR`` or the system's temporary folder. Needs Postfix's
``smtp-source``. Ends what it started, by process id.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import attrs

from benchmarks.against_postfix.loads import load, silent_hop
from benchmarks.against_postfix.report import WIDTH, as_rst, as_text, put_between_marks
from benchmarks.against_postfix.servers import CPUS, Mailframe
from benchmarks.machine import describe
from benchmarks.programs import Failed, find_program, folder, greeted, running
from benchmarks.usage import cpu_seconds, memory, watched
from mailframe.address import Address
from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.queue.ids import QueueIds, id_key
from mailframe.queue.ledger import Arrival, Ledger
from tests.interop.programs import free_ports

MARK = "benchmarks.deep_queue"
BODY = b"From: a@far.example\r\nSubject: later\r\n\r\n" + (b"x" * 76 + b"\r\n") * 13
DAYS = 86400.0
# What waits is not to be tried while we measure, so the next attempts are days away.
QUEUE = (
    '[queue]\nplugin = "sqlite"\nretry_every = "6d"\nwarn_after = "10d"\ngive_up_after = "30d"\n'
)
AT_ONCE = 5000  # messages in one transaction
TIMED = 200  # operations of each kind
SENDER = Address("a", "far.example")
RECIPIENT = Address("jsmith", "demo.example")
CLIENT = Client(server="mx", protocol="smtp", address="192.0.2.7", port=4711, helo="far.example")
PERMIT = Permit(reason="a customer", rule="network", plugin="providers", provider="load")
POSTPONED = Event(at=0.0, kind="postponed", recipient=RECIPIENT, reason="no answer")


def database(root: Path) -> Path:
    """Where the server that is started in a folder has its queue."""
    return root / "state" / "queue" / "queue.db"


def arrival(ids: QueueIds, arrived: float, first_attempt: float | None = None) -> Arrival:
    """A message of 1 KB."""
    envelope = Envelope(
        sender=SENDER,
        recipients=(Recipient(address=RECIPIENT, evidence=PERMIT),),
        client=CLIENT,
        arrived=arrived,
        not_before=first_attempt,
    )
    return Arrival(key=ids.make(arrived), envelope=envelope, size=len(BODY), content=BODY)


def fill(path: Path, queued: int) -> None:
    """Put messages into a queue: they came during five days, and wait for up to five more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(str(path))
    # Nobody relies on these messages.
    ledger.connection.execute("PRAGMA synchronous = OFF")
    draws, now = Random(821), time.time()
    ids = QueueIds(draws)
    for start in range(0, queued, AT_ONCE):
        ledger.begin()
        ledger.insert(
            [
                arrival(
                    ids,
                    now - 5 * DAYS * (1 - number / queued),
                    now + 3600 + draws.random() * 5 * DAYS,
                )
                for number in range(start, min(start + AT_ONCE, queued))
            ]
        )
        ledger.commit()
    ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()


def tidy(path: Path) -> None:
    """Take out what is due soon: the messages that were accepted while the server was measured."""
    ledger = Ledger(str(path))
    soon = time.time() + 1800
    while True:
        ledger.begin()
        # No lease ends later than that.
        claimed = ledger.claim("benchmark", soon, AT_ONCE, soon)
        keys = [key for entry in claimed if (key := id_key(entry.id)) is not None]
        ledger.leave(dict.fromkeys(keys, ()), None)
        ledger.commit()
        if not keys:
            break
    ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()


def forget_cached(path: Path) -> None:
    """Have the system read a file from the disk when it is read next."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def serving(root: Path, messages: int, processes: int) -> Mapping[str, float]:
    """Start a server in a folder, and measure it."""
    os.sync()
    if database(root).exists():
        forget_cached(database(root))
    (port,) = free_ports(1)
    with silent_hop() as sink:
        configuration = Mailframe(processes).configure(
            root, port, local=False, sink=sink, more=QUEUE
        )
        command = (sys.executable, "-m", "twisted", "--log-level=warn", "mailframe")
        begin = time.monotonic()
        # What waits there does not mind how the server ends.
        with running(*command, "-c", configuration, cwd=root, at_once=True) as process:
            greeted(port, process, every=0.002)
            started = time.monotonic() - begin
            time.sleep(2)
            idle = memory(process.pid)
            with watched(process.pid) as peak:
                used, begin = cpu_seconds(process.pid), time.monotonic()
                load(port, messages)
                rate = messages / (time.monotonic() - begin)
                cpu = (cpu_seconds(process.pid) - used) / messages * 1000
    return {
        "start": started,
        "idle": idle / 1e6,
        "busy": peak.highest / 1e6,
        "accept": rate,
        "cpu": cpu,
    }


# --- the ledger alone ----------------------------------------------------------------------------


def operations(ledger: Ledger) -> Iterator[tuple[str, Callable[[], object]]]:
    """Again and again what happens to a message that is deferred, by name."""
    ids = QueueIds(Random(821))
    while True:
        now = time.time()
        message = arrival(ids, now)
        yield "insert", lambda message=message: ledger.insert([message])  # type: ignore[misc]  # bound for this turn
        yield "next_due", ledger.next_due
        yield "claim", lambda now=now: ledger.claim("benchmark", now + 1, 200, now + 300)  # type: ignore[misc]  # as above
        step = Step(
            recipients=(QueuedRecipient(address=RECIPIENT, attempts=1),),
            next_attempt=now + 900,
            warned=False,
            events=(POSTPONED,),
        )
        yield (
            "settle",
            lambda key=message.key, step=step: ledger.settle(key, "benchmark", step, ()),  # type: ignore[misc]  # as above
        )
        yield "leave", lambda key=message.key: ledger.leave({key: ()}, None)  # type: ignore[misc]  # as above
        yield "abandon", lambda: ledger.abandon("a process that has died")


def times(path: Path) -> tuple[dict[str, float], dict[str, set[str]]]:
    """Of each operation of the ledger the median milliseconds, and how its rows are found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(str(path))
    taken: dict[str, list[float]] = {}
    plans: dict[str, set[str]] = {}
    for name, act in operations(ledger):
        statements: list[str] = []
        first = name not in plans
        ledger.connection.set_trace_callback(statements.append if first else None)
        begin = time.perf_counter()
        ledger.begin()
        act()
        ledger.commit()
        taken.setdefault(name, []).append((time.perf_counter() - begin) * 1000)
        if first:
            plans[name] = {line for each in statements for line in plan(ledger, each)}
        if name == "abandon" and len(taken[name]) == TIMED:
            break
    ledger.close()
    return {name: statistics.median(each) for name, each in taken.items()}, plans


def plan(ledger: Ledger, statement: str) -> Iterator[str]:
    """How SQLite finds the rows of the queue's tables that a statement is about."""
    if statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
        for *_, detail in ledger.connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if any(table in detail for table in ("message", "content", "history", "damaged")):
                yield detail


# --- the command ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Line:
    """One line of the table.

    :ivar goal: of the long queue's figure, or of its ratio to the empty one's
    """

    title: str
    best: Callable[[list[float]], float]
    goal: str = "-"
    digits: int = 2


LINES: Mapping[str, Line] = {
    "accept": Line(title="accept, 20 sessions: messages/s", best=max, goal="ratio ≥ 0.9", digits=0),
    "cpu": Line(title="the same, CPU time for each: ms", best=min),
    "start": Line(title="start to the first greeting, cold: s", best=max, goal="< 5"),
    "idle": Line(title="memory when idle: MB", best=max, goal="< 200", digits=0),
    "busy": Line(title="memory while accepting: MB", best=max, goal="< 200", digits=0),
    "insert": Line(title="insert one, synced: ms", best=min),
    "next_due": Line(title="next_due: ms", best=min),
    "claim": Line(title="claim, synced: ms", best=min),
    "settle": Line(title="settle (postponed), synced: ms", best=min),
    "leave": Line(title="leave, synced: ms", best=min),
    "abandon": Line(title="take over from the dead: ms", best=min),
}


def table(measured: Mapping[str, Mapping[str, list[float]]], queued: int) -> list[list[str]]:
    """The cells.

    :param measured: the figures of all rounds, by queue (``empty``, ``long``) and line
    """
    cells = [["measured", "0 queued", f"{queued:,} queued", "ratio", "goal"]]
    for name, line in LINES.items():
        empty, long = (line.best(measured[queue][name]) for queue in ("empty", "long"))
        figures = [f"{figure:.{line.digits}f}" for figure in (empty, long)]
        cells.append([line.title, *figures, f"{long / empty:.2f}", line.goal])
    return cells


def measure(options: argparse.Namespace) -> str:
    """Measure, and give what is to be told."""
    measured: dict[str, dict[str, list[float]]] = {"empty": {}, "long": {}}

    def add(queue: str, figures: Mapping[str, float]) -> None:
        for name, figure in figures.items():
            measured[queue].setdefault(name, []).append(figure)
        shown = ", ".join(f"{name} {figure:.2f}" for name, figure in figures.items())
        print(f"{queue:5}: {shown}", file=sys.stderr)

    machine = describe()
    with folder() as long:
        begin = time.monotonic()
        fill(database(long), options.queued)
        size = database(long).stat().st_size / 1e9
        seconds = time.monotonic() - begin
        print(f"filled in {seconds:.0f} s: {size:.2f} GB", file=sys.stderr)
        for _ in range(options.rounds):
            with folder() as empty:
                taken, _ = times(database(empty))
                add("empty", taken)
            with folder() as empty:
                add("empty", serving(empty, options.messages, options.processes))
            taken, plans = times(database(long))
            add("long", taken)
            add("long", serving(long, options.messages, options.processes))
            tidy(database(long))
    cells = table(measured, options.queued)
    scans = sorted({line for lines in plans.values() for line in lines if "SCAN" in line})
    about = textwrap.fill(
        f"{options.queued:,} messages of 1 KB, {size:.1f} GB; mailframe with {options.processes}"
        f" processes. The best of {options.rounds} rounds (of start and memory the worst)."
        f" {machine}",
        WIDTH,
    )
    for name, lines in plans.items():
        print(name, *sorted(lines), sep="\n    ")
    print(f"\n{about}\n\n{as_text(cells)}\n")
    print(
        "SCANNED: " + "; ".join(scans) if scans else "Every statement finds its rows by an index."
    )
    return f"{about}\n\n{as_rst(cells)}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deep_queue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--messages", type=int, default=4000, help="accepted in each round")
    parser.add_argument(
        "--processes", type=int, default=int(os.environ.get("MAILFRAME_PROCESSES", CPUS))
    )
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the table into a document, between its marks"
    )
    options = parser.parse_args()
    if find_program("smtp-source") is None:
        parser.error("smtp-source is not installed (Debian: apt-get install postfix)")
    try:
        document = measure(options)
    except Failed as error:
        sys.exit(f"{parser.prog}: {error}")
    if options.docs:
        put_between_marks(options.docs, MARK, document)


if __name__ == "__main__":
    main()

"""The works: what each does to a server, and which rows of the table come of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs

from benchmarks.against_postfix.latency import measure as measure_latency
from benchmarks.against_postfix.loads import counting_sink, load, silent_hop
from benchmarks.against_postfix.report import Results, Row
from benchmarks.against_postfix.servers import MAILBOX, Server, Serving
from benchmarks.programs import Failed, folder, wait_until
from benchmarks.usage import cpu_seconds, watched
from tests.interop.programs import free_ports

LARGE = 20 * 10**6  # octets
LARGE_SESSIONS = 10
OURS, REFERENCE = "mailframe", "Postfix"
_PAIR = (OURS, REFERENCE)

ROWS: Mapping[str, Row] = {
    "accept": Row(title="accept, connections kept: messages/s", goal="≥ 4"),
    "cpu": Row(title="the same, CPU time for each: ms", best=min, digits=2),
    "connect": Row(title="accept, a connection each: messages/s", goal="≥ 2"),
    "maildir": Row(title="accept, to all in a Maildir: messages/s", goal="≥ 3"),
    "relay": Row(title="accept, to all at a sink: messages/s", goal="≥ 3"),
    "large": Row(title="accept 20 MB each, 10 at a time: MB/s", goal="≥ 1.5", digits=1),
    "large cpu": Row(title="the same, CPU time for each MB: ms", best=min, digits=2),
    "growth": Row(
        title="memory that grows by these 10: MB", goal="≤ 64 MB", digits=1, compared=False
    ),
    "half p50": Row(title="latency at half its rate, p50: ms", best=min, digits=2),
    "half p99": Row(title="latency at half its rate, p99: ms", best=min, goal="≤ 1", digits=2),
    "same p50": Row(title="latency at half Postfix's, p50: ms", best=min, digits=2),
    "same p99": Row(title="latency at half Postfix's, p99: ms", best=min, goal="≤ 1", digits=2),
}


@attrs.frozen(kw_only=True)
class Amounts:
    """How much is done.

    :ivar messages: of 4 KB
    :ivar large: messages of 20 MB
    :ivar seconds: for which the latency is measured
    """

    messages: int
    large: int
    seconds: float


Measure: TypeAlias = Callable[[Server, Amounts, Results], Mapping[str, float]]


@contextlib.contextmanager
def serving(server: Server, *, sink: int = 0, local: bool = False) -> Iterator[tuple[int, Serving]]:
    """Run a server with a fresh spool; gives its port."""
    os.sync()  # what the one before has left to be written is not this one's work
    (port,) = free_ports(1)
    with folder() as root, server.serve(root, port, local=local, sink=sink) as served:
        yield port, served


def accept(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """Acknowledged, while the next hop takes connections and never says a word."""
    rate, cpu = _accepting(server, amounts.messages, kept=True)
    return {"accept": rate, "cpu": cpu}


def connect(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """The same over one connection for each message."""
    rate, _ = _accepting(server, amounts.messages, kept=False)
    return {"connect": rate}


def _accepting(server: Server, messages: int, *, kept: bool) -> tuple[float, float]:
    """Messages a second, and milliseconds of CPU time for each."""
    with silent_hop() as sink, serving(server, sink=sink) as (port, served):
        used, begin = cpu_seconds(served.pid), time.monotonic()
        load(port, messages, kept=kept)
        passed = time.monotonic() - begin
        return messages / passed, (cpu_seconds(served.pid) - used) / messages * 1000


def maildir(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """From the first connection until all messages lie in a Maildir."""
    with serving(server, local=True) as (port, served):
        begin = time.monotonic()
        load(port, amounts.messages)
        wait_until("all in the Maildir", lambda: served.delivered() >= amounts.messages)
        return {"maildir": amounts.messages / (time.monotonic() - begin)}


def relay(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """From the first connection until smtp-sink has taken all messages."""
    with (
        folder() as root,
        counting_sink(root, amounts.messages) as (sink, has_all),
        serving(server, sink=sink) as (port, _),
    ):
        begin = time.monotonic()
        load(port, amounts.messages)
        wait_until("all at the sink", has_all)
        return {"relay": amounts.messages / (time.monotonic() - begin)}


def large(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """Messages of 20 MB, 10 at a time, acknowledged; and the memory that this takes."""
    with silent_hop() as sink, serving(server, sink=sink) as (port, served):
        load(port, 200)  # what it needs for any mail at all is no growth
        time.sleep(1)
        with watched(served.pid) as peak:
            used, begin = cpu_seconds(served.pid), time.monotonic()
            load(port, amounts.large, size=LARGE, sessions=LARGE_SESSIONS, kept=False)
            passed = time.monotonic() - begin
        megabytes = amounts.large * LARGE / 1e6
        return {
            "large": megabytes / passed,
            "large cpu": (cpu_seconds(served.pid) - used) / megabytes * 1000,
            "growth": (peak.highest - peak.start) / 1e6,
        }


def latency(server: Server, amounts: Amounts, results: Results) -> Mapping[str, float]:
    """The time from the final dot to the 250, at half of the rate that it reached before, and at
    half of Postfix's.
    """
    measured: dict[str, float] = {}
    for load_of, reached_by in (("half", server.name), ("same", REFERENCE)):
        if load_of == "same" and server.name == REFERENCE:
            measured |= {"same p50": measured["half p50"], "same p99": measured["half p99"]}
            continue
        reached = results.best("accept", reached_by)
        if reached is None:
            raise Failed(f"the rate of {reached_by} is not known: have accept measured before")
        with silent_hop() as sink, serving(server, sink=sink) as (port, _):
            found = measure_latency(port, reached / 2, amounts.seconds, MAILBOX)
        measured[f"{load_of} p50"] = found.p50 * 1000
        measured[f"{load_of} p99"] = found.p99 * 1000
    return measured


@attrs.frozen
class Work:
    """A work that can be named.

    :ivar servers: of which it is measured
    """

    measure: Measure
    servers: tuple[str, ...]


WORKS: Mapping[str, Work] = {
    "accept": Work(accept, (*_PAIR, "Haraka", "aiosmtpd", "smtp-sink")),
    "connect": Work(connect, (*_PAIR, "smtp-sink")),
    "maildir": Work(maildir, _PAIR),
    "relay": Work(relay, (*_PAIR, "Haraka")),
    "large": Work(large, _PAIR),
    "latency": Work(latency, _PAIR),
}

"""Every call of the program that does something to files fails in every way.

The server goes on through all of it: what it can't do it answers with 4xx or puts off, no
descriptor stays open, and as soon as the fault is over it serves as before.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from tests.crash.books import Tally
from tests.crash.disks import Folder
from tests.crash.hooks import control_path
from tests.crash.sites import Strike
from tests.crash.world import Broken, World
from tests.crash.zygote import Process, Zygote

# ENOSPC is what a call gets that makes a file when no inode is left, too.
NUMBERS = ("ENOSPC", "EDQUOT", "EIO", "EMFILE", "EROFS")
PATIENCE = 0.7  # seconds until a call must have been made
LONGER = 2.0  # the same, from the start of a server on
SLOW = 0.05  # seconds between the batches of a queue that does much at once
PART = 75  # faults, after which another server is used
TOGETHER = 25  # faults, after which everything must have arrived
EXPECTED = re.compile(
    r"OSError|\w*(NotFound|Permission|Exists|Directory)\w*Error|StorageFault|StorageFull"
    r"|sqlite3\.\w+|ForeignMaildir|PluginFault|PartError|ConnectionLost|ConnectionDone"
)
FEW = 3  # more descriptors than there were: kept Maildirs and the like come and go

Fault: TypeAlias = tuple[Literal["errno", "short"], int]
Order: TypeAlias = dict[str, str | int]


@attrs.define
class FaultReport:
    """What a campaign came to.

    :ivar faults: how many were made
    :ivar replies: what clients were told instead of 250, by its first four characters
    :ivar not_started: how many of them kept a server from starting
    :ivar unreached: calls that the server did not come to
    """

    what: str = "faults"
    faults: int = 0
    sites: int = 0
    not_started: int = 0
    replies: Counter[str] = attrs.field(factory=Counter)
    unreached: list[str] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)
    findings: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = (
            f"{self.what}: {self.faults} at {self.sites} calls, {self.seconds:.0f} s, "
            f"{self.not_started} of them ended a start, {len(self.unreached)} not reached; "
            f"replies {dict(self.replies)}; {self.tally}"
        )
        return "\n  ".join([text, *self.findings])

    def __add__(self, other: FaultReport) -> FaultReport:
        return FaultReport(
            faults=self.faults + other.faults,
            sites=max(self.sites, other.sites),
            not_started=self.not_started + other.not_started,
            replies=self.replies + other.replies,
            unreached=self.unreached + other.unreached,
            tally=self.tally + other.tally,
            findings=self.findings + other.findings,
            seconds=self.seconds + other.seconds,
        )

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return self.tally.is_clean and not self.findings


def parts(
    sites: Sequence[Strike], *, seed: str, pairs: int | None = None, most: int | None = None
) -> dict[int, partial[FaultReport]]:
    """Every fault at every site, in parts, by their numbers; each has a server of its own.

    :param pairs: make so many pairs instead, of faults and sites that are chosen at random
    :param most: of all that there are, make no more than so many
    """
    chance = random.Random(f"{seed}/faults")  # to be repeated, not to be secret
    sites = [strike for strike in sites if strike.when == "before"]
    kinds: list[Fault] = [("errno", getattr(errno, name)) for name in NUMBERS]
    cases = list(itertools.product(sites, kinds))
    short: list[Fault] = [("short", 0), ("short", 1)]
    cases += itertools.product((each for each in sites if each.site.startswith("write")), short)
    chance.shuffle(cases)
    if pairs is None:
        cases = cases[:most]
        count = math.ceil(len(cases) / PART)
        given = [cases[n::count] for n in range(count)]
    else:
        cases = [case for case in cases if not case[0].starting]
        given = [cases] * math.ceil(pairs / PART)
    return {
        n: partial(
            faults,
            cases=some,
            sites=len(sites),
            pairs=None if pairs is None else min(PART, pairs - n * PART),
            seed=f"{seed}/{n}",
        )
        for n, some in enumerate(given)
    }


def faults(
    zygote: Zygote,
    cases: Sequence[tuple[Strike, Fault]],
    *,
    sites: int,
    seed: str,
    pairs: int | None = None,
    progress: Callable[[FaultReport], None] = lambda report: None,
) -> FaultReport:
    """Make faults, or pairs of them that are chosen at random.

    :param sites: at how many calls, for the report
    """
    chance = random.Random(f"{seed}/order")  # as above
    report = FaultReport(sites=sites)
    disk = Folder()
    with (
        closing(disk),
        World(disk, zygote, f"{seed}/faults") as world,
        closing(Control(control_path(world.place))) as control,
    ):
        report.tally, report.findings = world.books.tally, world.books.findings
        world.hooks = {"orders": [], "impatient": True, "small_log": 200, "small_memory": 10}
        world.start()
        world.wait_for_mail(20)
        campaign = _Campaign(world, control, report, chance, progress)
        if pairs is None:
            campaign.run(cases)
        else:
            campaign.run_pairs(cases, pairs)
        campaign.look_back()
    return report


class _Campaign:
    """What is done in which order."""

    def __init__(
        self,
        world: World,
        control: Control,
        report: FaultReport,
        chance: random.Random,
        progress: Callable[[FaultReport], None],
    ) -> None:
        self._world = world
        self._report = report
        self._chance = chance
        self._progress = progress
        self._control = control
        self._begin = time.monotonic()
        self._since = 0  # the last drain
        self._before = descriptors(world.server.pid)

    def run(self, cases: Sequence[tuple[Strike, Fault]]) -> None:
        """Make faults in a server that runs, and then those that only a start can meet."""
        starting = [case for case in cases if case[0].starting]
        for case in cases:
            if not case[0].starting and not self._make(case):
                starting.append(case)
        rare = [case for case in starting if not self._start_with(*case)]
        # Some come when there is nothing in the database's log, and some with many changes at once.
        rare = [case for case in rare if not self._start_with(*case, stop=True)]
        self._world.hooks["slow_turns"] = SLOW
        rare = [case for case in rare if not self._start_with(*case)]
        self._report.unreached += [f"{strike.site} {fault}" for strike, fault in rare]
        self._settle()

    def run_pairs(self, cases: Sequence[tuple[Strike, Fault]], count: int) -> None:
        """Make two faults at once, again and again."""
        for _ in range(count):
            self._make(*self._chance.sample(cases, 2))
        self._settle()

    def _make(self, *cases: tuple[Strike, Fault]) -> bool:
        """Make faults in the server that runs; whether it came to all of them."""
        orders = [
            self._control.prepared(strike.site, fault, self._chance.choice((1, 1, 3)))
            for strike, fault in cases
        ]
        made = self._control.order(*orders)
        self._report.faults += made
        if not self._world.server.is_alive():
            self._report.findings.append(f"the server died of {cases}")
            self._world.start()
        self._one_more()
        return made == len(cases)

    def _start_with(self, strike: Strike, fault: Fault, *, stop: bool = False) -> bool:
        """Have a fault wait for a server that starts; whether it came to that.

        That may be the end of the start, but the next one succeeds.

        :param stop: have the server before it stop, instead of killing it
        """
        world = self._world
        if strike.fresh and not world.books.is_empty():
            self._settle()
        if stop:
            world.stop()
        else:
            world.end("kill")
        if strike.fresh:
            world.wipe()
        order = self._control.prepared(strike.site, fault, 1)
        world.start(orders=[order])
        reached = self._control.answers(LONGER, order, server=world.server)
        self._report.faults += reached
        try:
            world.wait_for_mail(1)
        except Broken:
            if world.server.is_alive():
                raise
            self._report.not_started += 1
            world.start()
            world.wait_for_mail(1)
        self._one_more()
        return bool(reached)

    def _one_more(self) -> None:
        self._since += 1
        if self._since == TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Everything must have arrived when there are no faults any more, and nothing be open."""
        self._since = 0
        self._control.order()
        self._world.drain(restart=False)
        until = time.monotonic() + LONGER
        while len(after := descriptors(self._world.server.pid)) > len(self._before) + FEW:
            if time.monotonic() < until:
                time.sleep(0.01)  # somebody reads his mail at the moment
                continue
            left = Counter(after) - Counter(self._before)
            self._report.findings.append(f"descriptors stay open: {dict(left)}")
            self._before = after
            break
        self._report.seconds = time.monotonic() - self._begin
        self._progress(self._report)

    def look_back(self) -> None:
        """See what clients were told, and what was logged."""
        report = self._report
        for sender in self._world.senders:
            report.replies.update(reply[:4].decode() for reply in sender.refusals)
        wrong = [reply for reply in report.replies if not re.match("4|2", reply)]
        if wrong:
            report.findings.append(f"replies that are not 4xx: {wrong}")
        log = Path(self._world.place.log).read_text(errors="replace")
        report.findings += unexpected(log)


def unexpected(log: str) -> list[str]:
    """The failures that were logged and are none of the storage."""
    # Of one that was not raised on its way Twisted shows no frames, and says so before its name.
    ends = re.findall(r"^\t(?:Failure: )?([A-Za-z_][\w.]*)(?::.*)?$", log, re.MULTILINE)
    kinds = {end for end in ends if end not in ("Traceback", "Unhandled")}
    return [f"logged: {kind}" for kind in sorted(kinds) if not EXPECTED.search(kind)]


class Control:
    """Gives a server orders.

    :param path: where it takes them
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._own = f"{path}.answers"
        with suppress(FileNotFoundError):
            os.unlink(self._own)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._own)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Give no more orders."""
        self._socket.close()
        os.unlink(self._own)

    def prepared(self, site: str, fault: Fault, times: int) -> Order:
        """An order."""
        kind, value = fault
        number = next(self._numbers)
        return {"site": site, kind: value, "times": times, "answer": self._own, "number": number}

    def order(self, *orders: Order, patience: float = PATIENCE) -> int:
        """Have calls fail in the server that runs; how many of them it came to."""
        with suppress(OSError):
            self._socket.sendto(json.dumps(orders).encode(), self._path)
        return self.answers(patience, *orders)

    def answers(self, patience: float, *orders: Order, server: Process | None = None) -> int:
        """Wait until some calls have failed, but no longer than a server lives; how many have."""
        waiting = {order["number"] for order in orders}
        until = time.monotonic() + patience
        while waiting and time.monotonic() < until:
            alive = server is None or server.is_alive()  # what it did before its end counts
            self._socket.settimeout(min(0.05, patience))
            with suppress(TimeoutError):
                waiting.discard(int(self._socket.recv(100)))
                continue
            if not alive:
                break
        return len(orders) - len(waiting)


def descriptors(pid: int) -> list[str]:
    """The open files of a process, sockets left out, as those come and go with clients."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return [re.sub(r"\d{6,}.*", "...", path) for path in found if not path.startswith("socket:")]

"""Every call of the program that does something to files fails in every way.

The server goes on through all of it: what it can't do it answers with 4xx or puts off, no
descriptor stays open, and as soon as the fault is over it serves as before.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from tests.crash.books import Tally
from tests.crash.disks import Folder
from tests.crash.hooks import control_path
from tests.crash.world import World
from tests.crash.zygote import Zygote

NUMBERS = ("ENOSPC", "EDQUOT", "EIO", "EMFILE", "EROFS")
PATIENCE = 0.7  # seconds until a call must have been made
TOGETHER = 25  # faults, after which everything must have arrived
# What is done once, when a server starts: a fault there keeps it from starting.
STARTING = re.compile(r"queue\.schema\.|Ledger\._prepare|Ledger\.__init__|Spool\.sync|show_alive")
EXPECTED = re.compile(
    r"OSError|\w*(NotFound|Permission|Exists|Directory)\w*Error|StorageFault|StorageFull"
    r"|sqlite3\.\w+|ForeignMaildir|PluginFault|ConnectionLost|ConnectionDone"
)
FEW = 3  # more descriptors than there were: kept Maildirs and the like come and go


@attrs.define
class FaultReport:
    """What a campaign came to.

    :ivar faults: how many were made
    :ivar replies: what clients were told instead of 250, by its first four characters
    :ivar unreached: calls that the server did not come to
    """

    seed: str
    faults: int = 0
    sites: int = 0
    replies: Counter[str] = attrs.field(factory=Counter)
    unreached: list[str] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)
    findings: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = (
            f"faults, seed {self.seed}: {self.faults} at {self.sites} calls, {self.seconds:.0f} s, "
            f"{len(self.unreached)} not reached; replies {dict(self.replies)}; {self.tally}"
        )
        return "\n  ".join([text, *self.findings])

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return self.tally.is_clean and not self.findings


def faults(
    zygote: Zygote,
    sites: Sequence[str],
    *,
    seed: str,
    pairs: bool = False,
    share: float = 1.0,
    progress: Callable[[FaultReport], None] = lambda report: None,
) -> FaultReport:
    """Make every fault at every site.

    :param pairs: of each, make two in a row, the second at a site that is chosen at random
    :param share: of all that there are, so many are made
    """
    begin = time.monotonic()
    report = FaultReport(seed)
    chance = random.Random(f"{seed}/faults")  # to be repeated, not to be secret
    kinds: list[tuple[str, int]] = [("errno", getattr(errno, name)) for name in NUMBERS]
    sites = [site for site in sites if not STARTING.search(site)]
    report.sites = len(sites)
    cases = list(itertools.product(sites, kinds))
    cases += [(site, ("short", n)) for site in sites if site.startswith("write") for n in (0, 1)]
    chance.shuffle(cases)
    cases = cases[: round(len(cases) * share)]
    disk = Folder()
    try:
        with World(disk, zygote, f"{seed}/faults") as world:
            report.tally, report.findings = world.books.tally, world.books.findings
            world.hooks = {"watched": True, "impatient": True, "small_log": 200}
            control = Control(control_path(world.place))
            world.start()
            world.wait_for_mail(20)
            before = descriptors(world.server.pid)
            for number, (site, fault) in enumerate(cases, 1):
                wanted = [(site, fault)]
                if pairs:
                    wanted.append((chance.choice(sites), chance.choice(kinds)))
                for place, (kind, value) in wanted:
                    times = chance.choice((1, 1, 3))
                    if control.order(place, kind, value, times):
                        report.faults += 1
                    else:
                        report.unreached.append(f"{place} {kind} {value}")
                    if not world.server.is_alive():
                        report.findings.append(f"the server died of {place} {kind} {value}")
                        world.start()
                if number % TOGETHER == 0 or number == len(cases):
                    control.forget()
                    world.drain(restart=False)
                    after = descriptors(world.server.pid)
                    if len(after) > len(before) + FEW:
                        left = Counter(after) - Counter(before)
                        report.findings.append(f"descriptors stay open: {dict(left)}")
                        before = after
                    report.seconds = time.monotonic() - begin
                    progress(report)
            for sender in world.senders:
                report.replies.update(reply[:4].decode() for reply in sender.refusals)
            wrong = [reply for reply in report.replies if not re.match("4|2", reply)]
            if wrong:
                report.findings.append(f"replies that are not 4xx: {wrong}")
            report.findings += unexpected(Path(world.place.log).read_text(errors="replace"))
    finally:
        disk.close()
    report.seconds = time.monotonic() - begin
    return report


def unexpected(log: str) -> list[str]:
    """The failures that were logged and are none of the storage."""
    ends = re.findall(r"^\t([A-Za-z_][\w.]*)(?::.*)?$", log, re.MULTILINE)
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
        self._socket.settimeout(PATIENCE)

    def order(self, site: str, kind: str, value: int, times: int) -> bool:
        """Have a call fail; whether it came to that."""
        order = {"site": site, kind: value, "times": times, "answer": self._own}
        self._send(order)
        try:
            return self._socket.recv(100) == b"done"
        except TimeoutError:
            return False

    def forget(self) -> None:
        """No more faults."""
        self._send({})

    def _send(self, order: object) -> None:
        with suppress(OSError):
            self._socket.sendto(json.dumps(order).encode(), self._path)


def descriptors(pid: int) -> list[str]:
    """The open files of a process, sockets left out, as those come and go with clients."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return [re.sub(r"\d{6,}.*", "...", path) for path in found if not path.startswith("socket:")]

"""Messages that flow through the whole chain while links are cut and our server is killed.

What is promised: whatever a client was told 250 for arrives, and Angelo is told of no failure. And
it arrives once, but for what nobody can know: a reply to the final dot that did not come. Such
copies are counted by who sent them, and each must have an excuse: the client did not hear our
reply; our history says that a copy may arrive twice, or we were killed while it was under way; the
carrier's log says the same of its own.
"""

from __future__ import annotations

import random
import re
import signal
import smtplib
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import attrs

from tests.interop.internet.case import InternetCase
from tests.interop.internet.wires import saying
from tests.interop.programs import maildir

LINKS = (
    ("client", "provider"),
    ("provider", "carrier"),
    ("carrier", "destination"),
    ("provider", "resolver"),
)
CUSTOMERS = """plugin = "providers"
[[authorisation.provider]]
name = "rosse"
networks = ["192.0.2.128/25"]
"""
CLIENTS = 4
PAUSE = 0.2  # seconds after which a client tries again
PATIENCE = 4.0  # seconds that it waits for a reply
LONGEST = 180.0  # seconds from the last cut until everything has arrived
DOT = saying(b"\r\n.\r\n", b" LAST\r\n")
_OURS = re.compile(rb"by mx\.demo\.example\s.*?id (\w+)", re.S)
_CARRIERS = re.compile(rb"by next\.carrier\.example \(Postfix\).*?id (\w+)", re.S)
_NUMBER = re.compile(rb"^X-Number: (\d+)$", re.M)


@attrs.define
class Counts:
    """What happened in a run.

    :ivar messages: that clients were told 250 for
    :ivar broken: promises that were broken, in words
    """

    messages: int = 0
    cuts: int = 0
    kills: int = 0
    lost: int = 0
    twice_by_client: int = 0
    twice_by_us: int = 0
    twice_by_carrier: int = 0
    broken: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.messages} messages, {self.cuts} cuts, {self.kills} kills: {self.lost} lost; "
            f"sent twice by the client {self.twice_by_client}, by us {self.twice_by_us}, by the "
            f"carrier {self.twice_by_carrier}; broken promises: {len(self.broken)}"
        )


class Client:
    """Sends numbered messages, each until it is told 250, from a thread of its own."""

    def __init__(self, case: Flow, numbers: range) -> None:
        self.told: list[int] = []  # numbers of the messages that it was told 250 for
        self.unsure: Counter[int] = Counter()  # how often it heard no reply to the final dot
        self.fault = ""  # what went wrong at last
        self._case = case
        self._numbers = numbers
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has sent everything."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._case.internet.at("client"):
            for number in self._numbers:
                while not self._case.ended.is_set() and not self._is_sent(number):
                    time.sleep(PAUSE)

    def _is_sent(self, number: int) -> bool:
        is_at_end = False
        try:
            with smtplib.SMTP("192.0.2.1", 25, "client.example", timeout=PATIENCE) as client:
                client.ehlo()
                client.mail("angelo@demo.example")
                client.rcpt("jsmith@mindspring.example")
                is_at_end = True
                code, _ = client.data(b"Subject: flow\r\nX-Number: %d\r\n\r\ntext\r\n" % number)
                is_at_end = False
                if code == 250:
                    self.told.append(number)
                return code == 250
        except smtplib.SMTPResponseException as refusal:
            self.fault = repr(refusal)
            return False
        except (OSError, smtplib.SMTPException) as fault:
            self.fault = repr(fault)
            if number in self.told[-1:]:  # it was only QUIT that failed
                return True
            self.unsure[number] += is_at_end
            return False


class Flow(InternetCase):
    """The chain, and who cuts it."""

    def runTest(self) -> None:
        """Not a test of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.ended = threading.Event()
        self.addCleanup(self.ended.set)
        self.start_provider(authorisation=CUSTOMERS)
        self.start_carrier()
        self.box = self.start_destination()
        self.killed: list[float] = []
        self._next = 0

    def round(self, *, messages: int, strikes: int, random: random.Random, counts: Counts) -> None:
        """Send messages while links are cut and the server is killed, and count what arrived."""
        share = -(-messages // CLIENTS)
        first = self._next
        self._next += share * CLIENTS
        clients = [
            Client(self, range(first + n * share, first + (n + 1) * share)) for n in range(CLIENTS)
        ]
        for _ in range(strikes):
            time.sleep(random.uniform(0.1, 0.6))
            self._strike(random, counts)
        self._wait_for_clients(clients)
        told = {number for client in clients for number in client.told}
        self.wait_for("all to arrive", lambda: told <= set(self._arrived()), LONGEST)
        self.wait_for("empty queues", lambda: not self._is_waiting(), LONGEST)
        unsure = sum((client.unsure for client in clients), Counter[int]())
        self._count(told, unsure, counts)
        for path in (self.box / "new").iterdir():
            path.unlink()

    def _wait_for_clients(self, clients: list[Client]) -> None:
        try:
            self.wait_for("the clients", lambda: all(client.is_done for client in clients), LONGEST)
        except self.failureException as failure:
            faults = {client.fault for client in clients if not client.is_done}
            raise self.failureException(f"clients say {faults}; {failure}") from None

    def _strike(self, random: random.Random, counts: Counts) -> None:
        seconds = random.uniform(0.2, 1.5)
        kind = random.choice((*LINKS, *LINKS, "kill", "kill", "dot"))
        if kind == "kill":
            counts.kills += 1
            assert self.server is not None
            self.killed.append(time.time())
            self.end(self.server, signal.SIGKILL)
            with self.at("provider"):
                self.server = self.serve(self.configuration, 25, 587, 110)
            return
        counts.cuts += 1
        one, other = ("provider", "carrier") if kind == "dot" else kind
        if kind == "dot":
            moment = self.internet.cut_when(one, other, DOT, forward=True)
            moment.happened.wait(seconds)
        else:
            self.internet.cut(one, other)
        time.sleep(seconds)
        self.internet.mend(one, other)

    def _arrived(self) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        for message in maildir(self.box):
            if number := _NUMBER.search(message):
                found.setdefault(int(number[1]), []).append(message)
        return found

    def _is_waiting(self) -> bool:
        """Whether there is anything in a queue."""
        spool = self.folder / "carrier" / "spool"
        files = (
            path for name in ("incoming", "active", "deferred") for path in _files(spool / name)
        )
        return any(True for _ in files) or bool(self.queued())

    # --- judging ---------------------------------------------------------------------------------

    def _count(self, told: set[int], unsure: Counter[int], counts: Counts) -> None:
        arrived = self._arrived()
        counts.messages += len(told)
        for number in sorted(told - set(arrived)):
            counts.lost += 1
            counts.broken.append(f"message {number} is lost")
        counts.broken += [f"a notice: {notice[:2000]!r}" for notice in self.inbox()]
        for number, copies in arrived.items():
            if len(copies) > 1:
                self._judge(number, copies, unsure[number], counts)

    def _judge(self, number: int, copies: list[bytes], unsure: int, counts: Counts) -> None:
        by_id: dict[str, Counter[str]] = {}
        for copy in copies:
            ours, carriers = _OURS.search(copy), _CARRIERS.search(copy)
            assert ours is not None
            assert carriers is not None
            by_id.setdefault(ours[1].decode(), Counter())[carriers[1].decode()] += 1
        counts.twice_by_client += len(by_id) - 1
        if len(by_id) - 1 > unsure:
            counts.broken.append(f"{number} came {len(by_id)} times from a client that was sure")
        for name, carriers_ids in by_id.items():
            if (more := len(carriers_ids) - 1) and not self._may_be_twice(name):
                counts.broken.append(f"{number} was sent twice by us:\n{self.trace(name)}")
            counts.twice_by_us += more
            for carriers_id, times in carriers_ids.items():
                counts.twice_by_carrier += times - 1
                if times > 1 and not self._carrier_tells_of(carriers_id):
                    counts.broken.append(f"{number} was sent twice by the carrier ({carriers_id})")

    def _may_be_twice(self, name: str) -> bool:
        """Whether we say so, or were killed while it was in our queue."""
        lines = self.trace(name).splitlines()
        if any("may arrive twice" in line for line in lines):
            return True
        (accepted,) = (_seconds(line) for line in lines if "\taccepted\t" in line)
        relayed = max(_seconds(line) for line in lines if "\trelayed\t" in line)
        return any(accepted <= moment <= relayed + 1 for moment in self.killed)

    def _carrier_tells_of(self, name: str) -> bool:
        log = (self.folder / "carrier" / "postfix.log").read_text()
        return any(name in line and "more than once" in line for line in log.splitlines())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _seconds(line: str) -> float:
    """When a line of a trace happened."""
    return datetime.fromisoformat(line.split("\t")[0]).timestamp()

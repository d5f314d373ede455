"""Messages that flow through the whole chain while links are cut and our server is killed.

What is promised: whatever a client was told 250 for arrives, and Angelo is told of no failure. And
it arrives once, but for what nobody can know: a reply to the final dot that did not come. Such
copies are counted by who sent them, and each must have an excuse: the client did not hear our
reply; our history says that a copy may arrive twice, or we were killed while it was under way; the
carrier's log says the same of its own.
"""

from __future__ import annotations

import random
import signal
import smtplib
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from tests.interop.internet.case import InternetCase
from tests.interop.internet.copies import Counts, Excuses, by_number, judge
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
KILLS = 0.2  # of all strikes
AT_DOT = 0.3  # of the cuts
DOT = saying(b"\r\n.\r\n", b" LAST\r\n")


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
        end = time.monotonic() + LONGEST
        while not told <= set(by_number(maildir(self.box))) and time.monotonic() < end:
            time.sleep(PAUSE)
        self.wait_for("empty queues", lambda: not self._is_waiting(), LONGEST)
        unsure = sum((client.unsure for client in clients), Counter[int]())
        excuses = Excuses(unsure, self._may_be_twice, self._carrier_tells_of)
        judge(told, maildir(self.box), excuses, counts)
        counts.broken += [f"a notice: {notice[:2000]!r}" for notice in self.inbox()]
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
        if random.random() < KILLS:
            counts.kills += 1
            self._kill()
        else:
            counts.cuts += 1
            self._cut(*random.choice(LINKS), random.random() < AT_DOT, seconds)

    def _kill(self) -> None:
        """End our server as a crash does, and start it again."""
        assert self.server is not None
        self.killed.append(time.time())
        self.end(self.server, signal.SIGKILL)
        with self.at("provider"):
            self.server = self.serve(self.configuration, 25, 587, 110)

    def _cut(self, one: str, other: str, at_dot: bool, seconds: float) -> None:
        """Cut a link for a while, at once or after a final dot."""
        if at_dot:
            moment = self.internet.cut_when(one, other, DOT, forward=True)
            moment.happened.wait(seconds)
        else:
            self.internet.cut(one, other)
        time.sleep(seconds)
        self.internet.mend(one, other)

    def _is_waiting(self) -> bool:
        """Whether there is anything in a queue."""
        spool = self.folder / "carrier" / "spool"
        files = (
            path for name in ("incoming", "active", "deferred") for path in _files(spool / name)
        )
        return any(True for _ in files) or bool(self.queued())

    # --- judging ---------------------------------------------------------------------------------

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

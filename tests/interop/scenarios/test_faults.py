"""``smtp-sink``'s switches for faults at every stage, against the whole server."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator, Sequence

import attrs

from tests.interop.ourselves import PASSWORD
from tests.interop.relaying import TEXT
from tests.interop.scenarios.faults import (
    DELIVERED,
    NEXT,
    POSTPONED,
    REFUSED,
    Fault,
    every_fault,
)
from tests.interop.scenarios.faulty_servers import FaultyServersCase

PATIENCE = 5  # seconds for each answer of a server
TIMEOUTS = "[relay.timeouts]\n" + "".join(
    f'{stage} = "{PATIENCE}s"\n' for stage in ("greeting", "command", "data", "final")
)


@attrs.frozen(kw_only=True)
class Case:
    """One message for a server with a fault.

    :ivar recipient: whom it is for, different in each
    :ivar expected: what becomes of it
    :ivar id: the queue's
    """

    fault: Fault
    recipient: str
    expected: str
    id: str = ""

    def __str__(self) -> str:
        return f"{self.fault}, {self.recipient}, {self.expected}"


class FaultTests(FaultyServersCase):
    """Every fault alone, and with a good server after it."""

    timeout = 240

    def test_every_fault(self) -> None:
        """A fault of another server loses a message, doubles it, or is told wrongly."""
        cases = self.submit_all(self.start_everything())
        self.wait_for("an attempt at each", lambda: self.all_were_tried(cases), 120)
        good, faulty = self.taken("good"), self.taken("faulty")
        wrong = [
            problem
            for case in cases
            for problem in self.problems(case, good[case.recipient], faulty[case.recipient])
        ]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        bounces = b"".join(self.inbox()).decode("utf-8", "replace")
        refused = {case.recipient for case in cases if case.expected == REFUSED}
        told = {case.recipient for case in cases if f"rfc822; {case.recipient}\n" in bounces}
        self.assertEqual(told, refused)
        self.mend(cases)

    def start_everything(self) -> list[Case]:
        """Start the server and the sinks; gives the cases."""
        faults = [*every_fault()] * 2
        self.ports, self.sinks = self.start_sinks([f.options for f in faults], "faulty")
        (good, good_lmtp), _ = self.start_sinks([(), ("-L",)], "good")
        cases, rules = [], []
        for number, (fault, port) in enumerate(zip(faults, self.ports, strict=True)):
            beside = number >= len(faults) // 2
            hop = f"tcp:127.0.0.1:{port}"
            other = f"tcp:127.0.0.1:{good_lmtp if fault.lmtp else good}"
            domain = f"case{number}.example"
            rules.append(
                f'[[routing.rule]]\nrecipients = ["*@{domain}"]\n'
                f"via = {json.dumps([hop, other] if beside else hop)}\n"
                f'protocol = "{"lmtp" if fault.lmtp else "smtp"}"\n'
            )
            cases.append(
                Case(
                    fault=fault,
                    recipient=f"kim@{domain}",
                    expected=fault.beside if beside else fault.alone,
                )
            )
        self.serve_mail(TIMEOUTS, rules="".join(rules), queue='retry_every = "1h"')
        return cases

    def submit_all(self, cases: Sequence[Case]) -> list[Case]:
        """Submit a message for each."""
        with smtplib.SMTP("127.0.0.1", self.submission, "client.example", timeout=30) as client:
            client.login("angelo@demo.example", PASSWORD)
            found = []
            for case in cases:
                client.mail("angelo@demo.example", ["BODY=8BITMIME"])
                client.rcpt(case.recipient)
                code, text = client.data(TEXT)
                self.assertEqual(code, 250)
                found.append(attrs.evolve(case, id=text.decode().split()[-1]))
        return found

    # --- what came of it -------------------------------------------------------------------------

    def all_were_tried(self, cases: Sequence[Case]) -> bool:
        """Whether there was an attempt at each message, and what it came to is recorded."""
        self.told = self.traces([case.id for case in cases])
        return all(
            not told["queued"] or told["message"]["recipients"][0]["attempts"] == 1
            for told in self.told.values()
        )

    def none_is_queued(self, cases: Sequence[Case]) -> bool:
        """Whether all have left the queue."""
        return not any(told["queued"] for told in self.traces([case.id for case in cases]).values())

    def problems(self, case: Case, good: int, faulty: int) -> Iterator[str]:
        """What does not agree with what should have become of a message.

        :param good: how often the good server was given it
        :param faulty: how often that with the fault was
        """
        events = self.told[case.id]["events"]
        told = [f"{event['event']} {event['reply']}" for event in events]
        kind = {POSTPONED: "postponed", REFUSED: "refused"}.get(case.expected, "relayed")
        if kind not in [event["event"] for event in events]:
            yield f"{case}: {told}"
        elif case.expected in (POSTPONED, REFUSED) and case.fault.reply not in " ".join(told):
            yield f"{case}: it is not told that {case.fault.reply!r}, but {told}"
        queued = self.told[case.id]["queued"]
        if queued != (case.expected == POSTPONED):
            yield f"{case}: in the queue: {queued}"
        if good != (case.expected == NEXT):
            yield f"{case}: the next server has {good}"
        if case.expected == DELIVERED and faulty != 1:
            yield f"{case}: the server has {faulty}"

    def mend(self, cases: Sequence[Case]) -> None:
        """The servers are mended: what was postponed arrives, once, and whole."""
        assert self.server is not None
        for process in (self.server, *self.sinks):  # a restart forgets who let nobody in
            self.end(process)
        self.start_sinks([["-L"] if case.fault.lmtp else [] for case in cases], "later", self.ports)
        self.mailframe("queue", "retry", "-c", self.configuration, "--all")
        self.server = self.serve(self.configuration, self.submission)
        self.wait_for("an empty queue", lambda: self.none_is_queued(cases), 60)
        postponed = [case.recipient for case in cases if case.expected == POSTPONED]
        self.assertEqual(self.taken("later"), dict.fromkeys(postponed, 1))
        for name in ("good", "later"):
            for path in self.dumped(name):
                self.assert_same(path.read_bytes()[:-1])

"""Five days of waiting in virtual time: curves by rule, hours that open, and what the sender reads.

A whole server with the shipped parts, as in `tests.test_story`.
"""

from __future__ import annotations

import email
from itertools import pairwise

from mailframe.backoff import Backoff
from mailframe.entry import Event
from mailframe.guard import as_deferred
from mailframe.queue.memory import MemoryStorage
from mailframe.queue.schedule import Schedule
from mailframe.routing.table import RuleSettings, TableSettings
from mailframe.units import Seconds
from tests.whole_server import JSMITH, ServerTests

HOUR = 3600.0
DAY = 24 * HOUR
NEXT_HOP = "192.0.2.9"
VIA = f"tcp:{NEXT_HOP}:25"
CURVE = Backoff(first=Seconds(600.0), factor=3.0, longest=Seconds(6 * HOUR), jitter=0.2)


class BackoffStoryTests(ServerTests):
    """Mail for elsewhere, handed over by somebody who may."""

    def setUp(self) -> None:
        super().setUp()
        self.storage = MemoryStorage(clock=self.reactor, random=self.lent()["random"])
        self.start(
            queue=self.storage,
            routing=TableSettings(
                rule=(
                    RuleSettings(name="slow", recipients=("*@slow.example",), via=VIA, retry=CURVE),
                    RuleSettings(
                        name="night",
                        recipients=("*@night.example",),
                        via=VIA,
                        hours=("19:00-07:00",),
                        outside_hours="wait",
                    ),
                    RuleSettings(name="usual", recipients=("*@usual.example",), via=VIA),
                ),
            ),
        )

    def accept(self, *recipients: str) -> str:
        """A message from a mailbox here that is accepted; its queue id."""
        peer = self.connect()
        self.say(peer, "EHLO pc.example", "MAIL FROM:<jsmith@here.example>")
        for recipient in recipients:
            self.assertIn(b"250", self.say(peer, f"RCPT TO:<{recipient}>"))
        said = self.say(peer, "DATA", "Subject: lunch\r\n\r\nAt one?\r\n.")
        self.assertIn(b"250 2.0.0 queued as ", said)
        self.say(peer, "QUIT")
        return said.split()[-1].decode()

    def history(self, id: str, *kinds: str) -> list[Event]:
        """The events of these kinds."""
        events = self.successResultOf(as_deferred(self.storage.history(id)))
        return [event for event in events if event.kind in kinds]

    def test_five_days(self) -> None:
        """A rule's curve is not kept to; what is told of the next attempts does not come true."""
        self.reactor.down(NEXT_HOP)
        began = self.reactor.seconds()
        id = self.accept("anna@slow.example", "mary@usual.example")
        times = Schedule().times(began, id=id, retry=CURVE)
        planned = list(times.attempts(began))
        self.reactor.advance(5 * DAY + HOUR)
        tried = [
            event for event in self.history(id, "postponed") if str(event.recipient)[:4] == "anna"
        ]
        self.assertEqual(len(tried), len(planned))
        for event, at, following in zip(tried, planned, [*planned[1:], None], strict=True):
            self.assertLess(abs(event.at - at), 61.0)  # an attempt takes its time
            if following is not None and event.next_attempt is not None:
                self.assertLess(abs(event.next_attempt - following), 61.0)
        waits = [later.at - now.at for now, later in pairwise(tried)]
        self.assertLess(waits[0], 661.0)
        self.assertLessEqual(max(waits), 6 * HOUR + 61.0)
        usual = [e for e in self.history(id, "postponed") if str(e.recipient)[:4] == "mary"]
        self.assertGreater(len(usual), 400)
        self.assertEqual(len(self.history(id, "warned")), 2)
        self.assertEqual(len(self.history(id, "expired")), 2)

    def test_what_the_sender_reads(self) -> None:
        """The sender can't tell whose words those are, nor which rule sent the mail there."""
        self.reactor.down(NEXT_HOP)
        self.accept("anna@slow.example")
        self.reactor.advance(5 * DAY + HOUR)
        warning, failure = map(email.message_from_bytes, self.agent.delivered[JSMITH])
        for notice in (warning, failure):
            words = " ".join(str(notice.get_payload(0)).split())
            self.assertIn(f'It was to go this way: rule "slow" matches: {VIA} (table slow)', words)
            self.assertIn("Diagnostic-Code: X-mailframe; 4", str(notice.get_payload(1)))

    def test_the_night(self) -> None:
        """Mail that is to wait for the night goes by day, or some quarters of an hour late."""
        self.reactor.advance(12 * HOUR - self.reactor.seconds() % DAY)
        self.serve_sink(NEXT_HOP)
        id = self.accept("anna@night.example")
        noon = self.reactor.seconds()
        self.reactor.advance(7 * HOUR - 1)
        self.assertEqual(self.history(id, "relayed", "postponed"), [])
        (throttled,) = self.history(id, "throttled")
        self.assertEqual(throttled.rule, "night")
        self.assertIn("so it waits until Tue 19:00 UTC", throttled.reason)
        self.assertEqual(len(self.history(id, "warned")), 1)
        self.reactor.advance(2)
        (relayed,) = self.history(id, "relayed")
        self.assertLess(relayed.at, noon + 7 * HOUR + 2)

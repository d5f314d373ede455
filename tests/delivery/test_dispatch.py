"""Covers mailframe.delivery.dispatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.address import Address
from mailframe.delivery.dispatch import Agent, Dispatch
from mailframe.entry import Entry, QueuedRecipient, Ready, Wait
from mailframe.envelope import Client
from mailframe.guard import as_deferred
from mailframe.interfaces import (
    NOTHING_KNOWN,
    IContent,
    IDeliveryAgent,
    Job,
    Known,
    StorageFault,
)
from mailframe.outcome import (
    Delivered,
    Hold,
    Local,
    NextHop,
    Outcome,
    Postponed,
    Redirect,
    Refused,
    Relay,
    Route,
    Throttled,
    Tried,
    Unroutable,
)
from mailframe.queue.content import BytesContent
from mailframe.reply import Reply
from tests.queue.samples import ANGELO, JSMITH, LATER, LOCAL, MARY, NEVER, OK, RELAY, entry

OTHER = Address("kim", "other.example")
OTHER_RELAY = Relay(hops=(NextHop(where="mx:other.example"),), reason="not ours")


class FakeRouter:
    def __init__(self, routes: dict[Address, Route]) -> None:
        self.routes = routes
        self.asked: list[tuple[Address | None, Address, Client | None, float]] = []
        self.known: list[Known] = []

    async def route(
        self,
        sender: Address | None,
        recipient: Address,
        client: Client | None,
        now: float,
        known: Known = NOTHING_KNOWN,
    ) -> Route:
        self.known.append(known)
        self.asked.append((sender, recipient, client, now))
        return self.routes[recipient]


@implementer(IDeliveryAgent)
class FakeAgent:
    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.answer: Any = None

    def deliver(self, job: Job) -> Any:
        self.jobs.append(job)
        if self.answer is not None:
            return self.answer
        return self._deliver(job)

    async def _deliver(self, job: Job) -> Sequence[Delivered]:
        return [Delivered(where=str(r), reply=OK) for r in job.recipients]


class DispatchTests(SynchronousTestCase):
    """One attempt at one message."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.content = b"hello\r\n"
        self.recorded: dict[int, Ready | None] = {}
        self.arrived: list[Tried] = []
        self.record_trouble: Exception | None = None
        self.router = FakeRouter({MARY: LOCAL, ANGELO: LOCAL, JSMITH: RELAY, OTHER: OTHER_RELAY})
        self.local, self.relay = FakeAgent(), FakeAgent()
        self.dispatch = Dispatch(
            router=self.router,
            local=Agent(name="maildir", part=self.local, seconds=60.0),
            relay=Agent(name="smtp", part=self.relay, seconds=60.0),
            clock=self.clock,
        )

    def begin(self, *recipients: Address) -> Deferred[Sequence[Tried]]:
        return self.begin_with(entry(*recipients))

    def begin_with(self, queued: Entry) -> Deferred[Sequence[Tried]]:
        async def record_ready(ready: Mapping[int, Ready | None]) -> None:
            self.recorded.update(ready)

        async def record_arrived(tried: Sequence[Tried]) -> None:
            if self.record_trouble is not None:
                raise self.record_trouble
            self.arrived.extend(tried)

        async def content() -> IContent:
            return BytesContent(self.content)

        return Deferred.fromCoroutine(
            self.dispatch.attempt(queued, content, record_ready, record_arrived)
        )

    def attempt(self, *recipients: Address) -> dict[int, Tried]:
        tried = [*self.successResultOf(self.begin(*recipients)), *self.arrived]
        self.assertEqual(len({t.index for t in tried}), len(tried))
        return {t.index: t for t in tried}

    def test_local_and_remote(self) -> None:
        """Each recipient must go to the agent that its route names."""
        tried = self.attempt(MARY, JSMITH)
        self.assertEqual(self.local.jobs[0].recipients, (MARY,))
        self.assertEqual(self.relay.jobs[0].recipients, (JSMITH,))
        self.assertEqual(tried[0].outcome, Delivered(where=str(MARY), reply=OK))
        self.assertIs(tried[1].route, RELAY)

    def test_one_job_for_each_way(self) -> None:
        """A message with three recipients at one host must cross the network once."""
        second = Address("second", "mindspring.com")
        self.router.routes[second] = RELAY
        self.attempt(JSMITH, OTHER, second)
        self.assertEqual([job.recipients for job in self.relay.jobs], [(JSMITH, second), (OTHER,)])

    def test_the_route_is_asked_with_what_is_known(self) -> None:
        """A policy that looks at the client or the time must get them at each attempt."""
        self.clock.advance(77)
        self.attempt(MARY)
        self.assertEqual(self.router.asked, [(ANGELO, MARY, entry().envelope.client, 77.0)])

    def test_what_is_known_of_the_message(self) -> None:
        """Rules on size, provider and redirects would decide by what was known at RCPT."""
        queued = entry(ANGELO)
        redirected = QueuedRecipient(address=MARY, parent=0)
        first = attrs.evolve(queued.recipients[0], state="redirected")
        queued = attrs.evolve(queued, recipients=(first, redirected), size=77)
        self.successResultOf(self.begin_with(queued))
        self.successResultOf(self.begin_with(entry(MARY)))
        provider = queued.envelope.recipients[0].evidence.provider
        one = Known(accepted=True, provider=provider, size=77, original=ANGELO)
        two = Known(accepted=True, provider=provider, size=entry(MARY).size)
        self.assertEqual(self.router.known, [one, two])

    def test_redirects_come_first_and_alone(self) -> None:
        """An alias beside a normal recipient must cause no second copy."""
        redirect = Redirect(addresses=(MARY,), reason="an alias", rule="alias")
        self.router.routes[ANGELO] = redirect
        tried = self.attempt(ANGELO, JSMITH)
        self.assertEqual(list(tried.values()), [Tried(index=0, route=redirect, outcome=None)])
        self.assertEqual(self.relay.jobs, [])

    def read(self, job: Job) -> bytes:
        opened = self.successResultOf(as_deferred(job.open()))
        octets = b""
        while piece := self.successResultOf(as_deferred(opened.read())):
            octets += piece
        opened.close()
        return octets

    def test_what_is_sent_on_is_marked(self) -> None:
        """Mail in a loop through another server would be known only after dozens of rounds, and
        everybody else behind the alias get a copy in each."""
        queued = entry(ANGELO, MARY, JSMITH)
        redirected = attrs.evolve(queued.recipients[0], state="redirected")
        targets = [
            QueuedRecipient(address=address, parent=0)
            for address in (OTHER, Address("second", "other.example"), MARY)
        ]
        self.router.routes[targets[1].address] = OTHER_RELAY
        recipients = (redirected, *queued.recipients[1:], *targets)
        queued = attrs.evolve(queued, recipients=recipients)
        self.successResultOf(self.begin_with(queued))
        plain, marked = self.relay.jobs
        self.assertEqual((plain.recipients, self.read(plain)), ((JSMITH,), b"hello\r\n"))
        self.assertEqual(marked.recipients, (OTHER, targets[1].address))
        first = f"Delivered-To: {ANGELO}\r\n".encode()
        self.assertEqual(self.read(marked), first + b"hello\r\n")
        self.assertEqual(marked.size, plain.size + len(first))
        (local,) = self.local.jobs
        self.assertEqual(self.read(local), b"hello\r\n")

    def test_what_comes_back_is_not_sent_on(self) -> None:
        """The mail would go round and round."""
        self.router.routes[ANGELO] = Redirect(addresses=(OTHER,), reason="moved", rule="moved")
        self.content = f"delivered-to:  {str(ANGELO).upper()} \r\n\r\nhello\r\n".encode()
        tried = self.attempt(ANGELO, JSMITH)
        self.assertEqual(len(self.relay.jobs), 1)
        self.assertIsInstance(tried[1].outcome, Delivered)
        outcome, route = tried[0].outcome, tried[0].route
        assert isinstance(outcome, Refused)
        assert isinstance(route, Unroutable)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (554, "5.4.6"))
        self.assertEqual(
            (route.rule, route.reason),
            ("moved", f"moved; it was sent on for {ANGELO} before, and has come back"),
        )

    def test_what_was_sent_on_for_others(self) -> None:
        """Two forwarders in a row would be taken for a loop."""
        self.router.routes[ANGELO] = Redirect(addresses=(OTHER,), reason="moved")
        self.content = f"Delivered-To: {MARY}\r\n\r\nDelivered-To: {ANGELO}\r\n".encode()
        tried = self.attempt(ANGELO)
        self.assertIsInstance(tried[0].route, Redirect)

    def test_reverse_path_of_the_route(self) -> None:
        """Forwarded mail would be sent with a reverse-path that fails the sender's SPF."""
        ours = Address("SRS0=x", "demo.example")
        second = Address("second", "mindspring.com")
        self.router.routes[second] = attrs.evolve(RELAY, reverse_path=ours)
        self.attempt(JSMITH, second)
        self.assertEqual(
            [(job.recipients, job.sender) for job in self.relay.jobs],
            [((JSMITH,), ANGELO), ((second,), ours)],
        )

    def test_hold(self) -> None:
        """A message that is to be held would be sent on, or its other recipients would wait."""
        held = self.router.routes[ANGELO] = Hold(reason="why not")
        released = attrs.evolve(entry(ANGELO).recipients[0], held=True)
        queued = attrs.evolve(entry(ANGELO, JSMITH))
        queued = attrs.evolve(queued, recipients=(released, queued.recipients[1]))
        tried = {t.index: t for t in self.successResultOf(self.begin_with(queued))}
        self.assertEqual(tried[0], Tried(index=0, route=held, outcome=None))
        self.assertEqual([job.recipients for job in self.relay.jobs], [(JSMITH,)])
        self.assertEqual([known.released for known in self.router.known], [True, False])

    def test_what_was_begun_is_finished(self) -> None:
        """A changed route sends a message on that may lie in its old mailbox already."""
        ready = Ready(mailbox=MARY, since=1.0, where="x")
        queued = entry(ANGELO, JSMITH)
        recipients = (queued.recipients[0], attrs.evolve(queued.recipients[1], ready=ready))
        queued = attrs.evolve(queued, recipients=recipients)
        tried = {t.index: t for t in self.successResultOf(self.begin_with(queued))}
        (job,) = self.local.jobs
        self.assertEqual((job.recipients, job.ready), ((ANGELO, JSMITH), (None, ready)))
        route = tried[1].route
        assert isinstance(route, Local)
        self.assertEqual((route.mailbox, route.plugin), (MARY, "maildir"))
        self.assertEqual([recipient for _, recipient, _, _ in self.router.asked], [ANGELO])

    def test_slow_beside_fast(self) -> None:
        """A crash while a slow server is waited for makes a fast one get the message twice."""
        slow: Deferred[Sequence[Outcome]] = Deferred()
        self.relay.answer = slow
        for trouble in (None, StorageFault("disk")):
            self.record_trouble = trouble
            self.arrived.clear()
            self.relay.answer = slow = Deferred()
            attempt = self.begin(MARY, JSMITH)
            self.assertNoResult(attempt)
            early = [] if trouble else [0]
            self.assertEqual([each.index for each in self.arrived], early)
            slow.callback([Delivered(where="mx", reply=OK)])
            rest = self.successResultOf(attempt)
            self.assertEqual(sorted([t.index for t in (*rest, *self.arrived)]), [0, 1])

    def test_only_what_arrived_is_recorded_early(self) -> None:
        """A sender gets a notice for each server that refused, instead of one for all."""
        slow: Deferred[Sequence[Outcome]] = Deferred()
        self.relay.answer = slow
        refused: Deferred[Sequence[Outcome]] = Deferred()
        refused.callback([Refused(where="mary", reply=NEVER)])
        self.local.answer = refused
        attempt = self.begin(MARY, JSMITH)
        self.assertEqual(self.arrived, [])
        slow.callback([Delivered(where="mx", reply=OK)])
        self.assertEqual(len(self.successResultOf(attempt)), 2)

    def test_record_ready(self) -> None:
        """A crash is recorded of the wrong recipient, and another loses the message."""
        ready = Ready(mailbox=MARY, since=1.0, where="x")
        self.attempt(JSMITH, MARY, OTHER, ANGELO)
        (job,) = self.local.jobs
        self.successResultOf(as_deferred(job.record_ready({1: ready, 0: None})))
        self.assertEqual(self.recorded, {3: ready, 1: None})

    def test_unroutable(self) -> None:
        """A refusal is final, a passing fault is not."""
        self.router.routes[MARY] = Unroutable(reason="gone", reply=NEVER)
        self.router.routes[JSMITH] = Unroutable(reason="table unreadable", reply=LATER)
        tried = self.attempt(MARY, JSMITH)
        self.assertEqual(tried[0].outcome, Refused(where="", reply=NEVER))
        self.assertEqual(tried[1].outcome, Postponed(where="", reply=LATER))

    def test_whose_turn_is_later(self) -> None:
        """Greylisted mail is tried each minute, because another recipient's is."""
        queued = entry(MARY, JSMITH)
        waits = attrs.evolve(queued.recipients[1], wait=Wait(until=900.0, planned=0.0))
        queued = attrs.evolve(queued, recipients=(queued.recipients[0], waits))
        self.clock.advance(60)
        tried = self.successResultOf(self.begin_with(queued))
        self.assertEqual([each.index for each in tried], [0])
        asked = attrs.evolve(queued, next_attempt=60.0)  # as an operator does
        self.assertEqual(len(self.successResultOf(self.begin_with(asked))) + len(self.arrived), 2)

    def test_a_way_that_is_not_open(self) -> None:
        """Mail that is to wait for the night goes out by day; or is counted as tried."""
        reason = "it waits until Thu 19:00 UTC"
        self.router.routes[JSMITH] = attrs.evolve(RELAY, not_before=100.0, reason=reason)
        tried = self.attempt(JSMITH)
        reply = Reply(451, "4.3.0", reason)
        self.assertEqual(tried[0].outcome, Throttled(where="", reply=reply, seconds=100.0))
        self.assertEqual(self.relay.jobs, [])
        self.clock.advance(100)
        self.assertIsInstance(self.attempt(JSMITH)[0].outcome, Delivered)

    def test_throttled(self) -> None:
        """A limit of ours becomes a fault of the agent, and costs an attempt."""
        throttled = Throttled(where="x", reply=LATER, seconds=5.0)
        self.relay.answer = succeed([throttled])
        self.assertEqual(self.attempt(JSMITH)[0].outcome, throttled)

    def test_an_agent_that_raises_costs_its_recipients_a_delay(self) -> None:
        """A broken agent must not touch the recipients of the other."""
        self.local.deliver = lambda job: 1 / 0  # type: ignore[method-assign, assignment]  # broken on purpose
        tried = self.attempt(MARY, JSMITH)
        self.assertIsInstance(tried[0].outcome, Postponed)
        self.assertIsInstance(tried[1].outcome, Delivered)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_agent_that_hangs(self) -> None:
        """An agent that never answers must not keep a message for ever."""
        self.relay.answer = Deferred()
        waiting = self.begin(JSMITH)
        self.assertNoResult(waiting)
        self.clock.advance(61)
        (tried,) = self.successResultOf(waiting)
        self.assertIsInstance(tried.outcome, Postponed)

    def test_nonsense_answers(self) -> None:
        """An answer of the wrong shape is a fault of the agent, never a delivery."""
        for nonsense in (
            None,
            "ok",
            [],
            [None],
            [Delivered(where="", reply=OK)] * 2,
            [Reply(250, None, "ok")],
        ):
            answer: Deferred[object] = Deferred()
            answer.callback(nonsense)
            self.relay.answer = answer
            tried = self.attempt(JSMITH)
            self.assertIsInstance(tried[0].outcome, Postponed, repr(nonsense))

    def test_the_job(self) -> None:
        """An agent needs the envelope and a content that it can open."""
        self.attempt(JSMITH)
        (job,) = self.relay.jobs
        self.assertEqual((job.id, job.sender, job.size), (entry().id, ANGELO, 100))
        self.assertEqual(
            (job.attempt, job.envelope.arrived, job.originals), (0, 0.0, job.envelope.recipients)
        )
        self.assertIsInstance(
            self.successResultOf(Deferred.fromCoroutine(job.open())), BytesContent
        )

    def test_local_routes_name_their_mailboxes(self) -> None:
        """The agent is told the mailbox of each recipient."""
        self.attempt(MARY, ANGELO)
        routes = self.local.jobs[0].routes
        self.assertTrue(all(isinstance(route, Local) for route in routes))
        self.assertEqual(len(routes), 2)

"""Which messages of the queue would go elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.assembly import Parts
from mailframe.cli import queued, rerouting
from mailframe.cli.rerouting import Change, Rerouting
from mailframe.entry import Entry, Event, EventKind, QueuedRecipient, Ready
from mailframe.guard import as_deferred
from mailframe.outcome import (
    Decision,
    Hold,
    Local,
    NextHop,
    Permit,
    Redirect,
    Relay,
    Unroutable,
)
from mailframe.reply import Reply
from mailframe.routing.resolution import Router
from mailframe.routing.table import RuleSettings, TableRouting
from mailframe.testing.fakes import FakeAccounts
from mailframe.testing.samples import make_envelope

NOW = 1_700_000_000.0  # Tue 22:13 UTC
ANNA = Address("anna", "rosse.example")
INFO = Address("info", "rosse.example")
JSMITH = Address("jsmith", "mindspring.example")
USUAL = "mindspring.example is not a local domain: to its mail exchangers"


class Queue:
    """As much of a storage as is asked here."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.events: dict[str, list[Event]] = {}

    async def messages(self, after: str | None, limit: int) -> Sequence[Entry]:
        return [each for each in self.entries if each.id > (after or "")][:limit]

    async def find(self, id: str) -> Entry | None:
        return next((each for each in self.entries if each.id == id), None)

    async def history(self, id: str) -> Sequence[Event]:
        return self.events.get(id, [])


@attrs.frozen(kw_only=True)
class Site:
    reactor: Clock


@attrs.frozen(kw_only=True)
class Part:
    part: Queue


@attrs.frozen(kw_only=True)
class SomeParts:
    """What is asked of `Parts` here."""

    site: Site
    queue: Part
    rules: Sequence[RuleSettings]
    accounts: FakeAccounts

    def router(self) -> Router:
        return Router(
            policy=TableRouting(self.rules),
            policy_name="table",
            accounts=self.accounts,
            accounts_name="file",
            local_domains=frozenset({"rosse.example"}),
            clock=self.site.reactor,
            plugin_time=5.0,
        )


def a_rule(via: str | tuple[str, ...], **settings: Any) -> RuleSettings:
    return RuleSettings(via=via, **settings)


class ReroutingCase(SynchronousTestCase):
    """A queue, and tables of rules."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.queue = Queue()
        self.accounts = FakeAccounts({ANNA: b""}, {INFO: (ANNA, JSMITH)})

    def parts(self, *rules: RuleSettings, accounts: FakeAccounts | None = None) -> Parts:
        parts = SomeParts(
            site=Site(reactor=self.clock),
            queue=Part(part=self.queue),
            rules=rules,
            accounts=accounts or self.accounts,
        )
        return cast(Parts, parts)

    def put(self, address: Address = JSMITH, **changes: Any) -> Entry:
        """A message to somebody, of whom the queue knows this."""
        entry = Entry(
            id=f"q{len(self.queue.entries)}",
            envelope=make_envelope(address),
            size=100,
            recipients=(QueuedRecipient(address=address, **changes),),
            next_attempt=NOW + 900,
        )
        self.queue.entries.append(entry)
        return entry

    def tried(
        self,
        reason: str = USUAL,
        rule: str = "",
        kind: EventKind = "postponed",
        address: Address = JSMITH,
        **changes: Any,
    ) -> Entry:
        """A message that went a way."""
        entry = self.put(address, **({"attempts": 1} | changes))
        event = Event(
            at=NOW, kind=kind, recipient=address, reason=reason, rule=rule, plugin="table"
        )
        self.queue.events[entry.id] = [event]
        return entry

    def changes(self, entry: Entry, now: Parts, later: Parts | None = None) -> list[Change]:
        deferred = as_deferred(Rerouting(now, later).changes([entry]))
        (changes,) = self.successResultOf(deferred)
        return list(changes)


class Compared(ReroutingCase):
    """The decisions of two configurations."""

    def test_elsewhere(self) -> None:
        """Nobody would see what a change does to the queue."""
        (change,) = self.changes(self.put(), self.parts(), self.parts(a_rule("tcp:a.example:25")))
        self.assertEqual(change.recipient, str(JSMITH))
        self.assertEqual(change.old, "mx:mindspring.example")
        self.assertEqual(change.new, "tcp:a.example:25")
        document = change.document()
        self.assertEqual(document["before"]["kind"], "relay")
        self.assertEqual(document["before"]["reason"], USUAL)
        self.assertEqual(document["after"]["rule"], "rule 1")
        self.assertNotIn("hosts", document["after"])

    def test_the_same(self) -> None:
        """A rule that says what happens without it would seem to move all the mail."""
        self.assertEqual(self.changes(self.put(), self.parts(), self.parts(a_rule("mx"))), [])

    def test_behind_an_alias(self) -> None:
        """Mail for an alias would seem to stay, for the first step is the same."""
        later = self.parts(a_rule("tcp:a.example:25", recipients=("*@mindspring.example",)))
        (change,) = self.changes(self.put(INFO), self.parts(), later)
        self.assertEqual(change.old, f"{ANNA}: mailbox {ANNA}; {JSMITH}: mx:mindspring.example")
        self.assertEqual(change.new, f"{ANNA}: mailbox {ANNA}; {JSMITH}: tcp:a.example:25")

    def test_begun(self) -> None:
        """What is half in a mailbox would be said to go elsewhere."""
        entry = self.put(ready=Ready(mailbox=ANNA, since=NOW, where="x"))
        self.assertEqual(self.changes(entry, self.parts(), self.parts(a_rule("tcp:a:25"))), [])


class Since(ReroutingCase):
    """The decision at the last attempt, and what the table says now."""

    def test_elsewhere(self) -> None:
        """Queued mail would wait for its time before it goes the new way."""
        (change,) = self.changes(self.tried(), self.parts(a_rule("tcp:a.example:25")))
        self.assertEqual((change.old, change.new), (USUAL, "tcp:a.example:25"))
        self.assertIsNone(change.document()["before"]["kind"])

    def test_stays(self) -> None:
        """All mail would be tried at once, for nothing."""
        for entry, rules in (
            (self.tried(), ()),
            (self.tried(), (a_rule("mx", name="mx"),)),
            (self.tried('rule "mx" matches: mx', "mx"), ()),
            (self.put(), (a_rule("tcp:a.example:25"),)),
            (self.tried("rosse.example is a local domain", address=ANNA), (a_rule("local"),)),
        ):
            self.assertEqual(self.changes(entry, self.parts(*rules)), [])

    def test_another_name(self) -> None:
        """A rule that is put before others, or gets a name, would have all their mail tried at
        once: what has no name is called by its place."""
        entry = self.tried("rule 1 matches: tcp:a.example:25", "rule 1")
        first, other = a_rule("hold", senders=("*@bad.example",)), a_rule("tcp:a.example:25")
        self.assertEqual(self.changes(entry, self.parts(first, other)), [])
        named = attrs.evolve(other, name="matches: x; y")
        self.assertEqual(self.changes(entry, self.parts(named)), [])
        entry = self.tried('rule "old; er" matches: tcp:a.example:25 (map "m")', "old; er")
        self.assertEqual(self.changes(entry, self.parts(other)), [])
        (change,) = self.changes(entry, self.parts(a_rule("tcp:b.example:25", name="old; er")))
        self.assertEqual(change.new, "tcp:b.example:25")

    def test_other_tls(self) -> None:
        """Mail that is to be encrypted from now on would not be told of, nor what asks for it."""
        entry = self.tried("rule 1 matches: tcp:a.example:25", "rule 1")
        (change,) = self.changes(entry, self.parts(a_rule("tcp:a.example:25", tls="verify")))
        self.assertEqual(change.new, "tcp:a.example:25 tls verify")
        entry = self.tried("rule 1 matches: tcp:a.example:25 with tls verify", "rule 1")
        self.assertEqual(
            self.changes(entry, self.parts(a_rule("tcp:a.example:25", tls="verify"))), []
        )

    def test_waits_for_hours(self) -> None:
        """Mail that waits for a rule's hours was never tried: it would go on waiting for them when
        the rule is gone, or when its hours are others; or be tried again and again."""
        reason = (
            'rule "night" matches: tcp:a.example:25; Tue 22:13 UTC is not in 02:00-03:00 UTC, so it'
            " waits until Wed 02:00 UTC"
        )
        entry = self.tried(reason, "night", "throttled", attempts=0, throttled=NOW)
        night = a_rule(
            "tcp:a.example:25", name="night", hours=("02:00-03:00 UTC",), outside_hours="wait"
        )
        self.assertEqual(self.changes(entry, self.parts(night)), [])
        (change,) = self.changes(entry, self.parts())
        self.assertEqual(change.new, "mx:mindspring.example")
        (change,) = self.changes(entry, self.parts(attrs.evolve(night, hours=("22:00-23:00",))))
        self.assertEqual(change.new, "tcp:a.example:25")

    def test_held_by_a_rule(self) -> None:
        """Mail that a rule holds would be said to go to where it goes once it is released."""
        reason = 'rule "odd" matches: hold: looks bad'
        entry = self.tried(reason, "odd", "held", attempts=0, held=True)
        entry = attrs.evolve(entry, held=True)
        odd = a_rule("hold:looks bad", name="odd")
        self.assertEqual(self.changes(entry, self.parts(odd)), [])
        (change,) = self.changes(entry, self.parts())
        self.assertEqual(change.new, "mx:mindspring.example")
        # It was released, and waits for its next attempt.
        event = attrs.evolve(
            self.queue.events[entry.id][0], kind="postponed", reason=USUAL, rule=""
        )
        self.queue.events[entry.id].append(event)
        released = attrs.evolve(entry, held=False)
        self.assertEqual(self.changes(released, self.parts(odd)), [])


class Entries(ReroutingCase):
    """The messages in question."""

    def found(self, *ids: str) -> tuple[list[list[str]], list[str]]:
        refused: list[str] = []

        async def collect() -> list[list[str]]:
            entries: AsyncIterator[Sequence[Entry]] = Rerouting(self.parts(), None).entries(
                ids, refused
            )
            return [[entry.id for entry in some] async for some in entries]

        return self.successResultOf(as_deferred(collect())), refused

    def test_all(self) -> None:
        """A long queue would be asked about as a whole, or in part."""
        self.patch(queued, "PAGE", 3)
        self.patch(rerouting, "AT_ONCE", 2)
        for _ in range(5):
            self.put()
        self.assertEqual(self.found(), ([["q0", "q1"], ["q2"], ["q3", "q4"]], []))

    def test_ids(self) -> None:
        """One id that is not there would keep the others from being looked at."""
        self.put()
        self.assertEqual(
            self.found("nosuch", "q0"), ([["q0"]], ["no message 'nosuch' is in the queue"])
        )

    def test_now(self) -> None:
        """Messages would be made due at another time than that of the server's clock."""
        self.assertEqual(Rerouting(self.parts(), None).now(), NOW)


class Words(SynchronousTestCase):
    """How routes are compared and told."""

    def test_where(self) -> None:
        """Two ways would be told by the same words, or one be counted as two."""
        hop = NextHop(where="mx:a.example")
        relay = Relay(reason="x", hops=(hop,))
        changed = [
            Relay(reason="x", hops=(attrs.evolve(hop, tls="verify"),)),
            Relay(reason="x", hops=(attrs.evolve(hop, protocol="lmtp"),)),
            Relay(reason="x", hops=(attrs.evolve(hop, login="user"),)),
            Relay(reason="x", hops=(attrs.evolve(hop, source="blu"),)),
            Relay(reason="x", hops=(hop, NextHop(where="mx:b.example"))),
            Local(reason="x", mailbox=ANNA),
            Redirect(reason="x", addresses=(ANNA, JSMITH)),
            Unroutable(reason="x", reply=Reply(550, "5.7.1", "no")),
            Hold(reason="x"),
        ]
        routes = [relay, *changed]
        self.assertEqual(len({rerouting.way(each) for each in routes}), len(routes))
        self.assertEqual(len({rerouting.where(each) for each in routes}), len(routes))
        moved = Relay(reason="y", rule="z", hops=(attrs.evolve(hop, password_file="/x"),))
        self.assertEqual(rerouting.way(moved), rerouting.way(relay))

    def test_decision_without_a_route(self) -> None:
        """What was recorded of an attempt is no route any more, and would not be shown."""
        before: Decision = Permit(reason="x")
        after = Hold(reason="y", rule="z", plugin="table")
        change = Change(recipient="a@b.example", before=before, old="x", after=after, new="held")
        document = change.document()
        self.assertEqual(document["address"], "a@b.example")
        self.assertIsNone(document["before"]["kind"])
        self.assertEqual(document["after"]["where"], "held")

"""Tests of mailframe.routing.conditions, through the table that uses them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.interfaces import Facts, Known
from mailframe.outcome import Local, Relay, Unroutable
from mailframe.routing.table import RuleSettings, TableRouting
from mailframe.testing.samples import make_client

ANNA = Address("anna", "rosse.example")
JSMITH = Address("jsmith", "mindspring.com")
CLIENT = make_client(server="submission", login="anna@rosse.example")
QUEUED = Known(accepted=True, provider="rosse", size=5_000)
MONDAY_NOON = 1_772_452_800.0  # 2026-03-02T12:00:00Z


def facts(known: Known = QUEUED, client: Any = CLIENT, local: bool = False) -> Facts:
    return Facts(local=local, client=client, now=MONDAY_NOON, known=known)


class ConditionCase(SynchronousTestCase):
    def seen(self, about: Facts, sender: Address | None = ANNA, **keys: Any) -> tuple[bool, str]:
        """Whether a rule with these keys decides, and what is told of it."""
        table = TableRouting([RuleSettings(via="tcp:there:25", **keys)])
        route = self.successResultOf(table.route(sender, JSMITH, about))
        told = self.successResultOf(table.rules_seen(sender, JSMITH, about))
        self.assertEqual(told[0].matches, route.rule == "rule 1")
        return told[0].matches, told[0].reason


class FitsTests(ConditionCase):
    """Each condition fits and doesn't, and says so."""

    def test_nothing(self) -> None:
        """A rule for all mail would not be understood."""
        self.assertEqual(self.seen(facts()), (True, "it asks for nothing, so it matches"))

    def test_addresses(self) -> None:
        """Nobody could see which pattern matched."""
        keys = {"recipients": ("*@blu.example", "*@mindspring.com"), "senders": ("<>", "anna@*")}
        self.assertEqual(
            self.seen(facts(), **keys),
            (
                True,
                "recipient jsmith@mindspring.com matches *@mindspring.com; "
                "sender anna@rosse.example matches anna@*",
            ),
        )
        self.assertEqual(
            self.seen(facts(), recipients=("*@blu.example",)),
            (False, "skipped: recipient jsmith@mindspring.com does not match *@blu.example"),
        )
        self.assertEqual(
            self.seen(facts(), sender=None, senders=("*@*",)),
            (False, "skipped: sender <> does not match *@*"),
        )

    def test_servers(self) -> None:
        """Mail from one server would take the way of another's."""
        self.assertEqual(
            self.seen(facts(), servers=("mx", "submission")),
            (True, "server submission is among mx, submission"),
        )
        self.assertEqual(
            self.seen(facts(), servers=("mx",)),
            (False, "skipped: server submission is not among mx"),
        )
        self.assertEqual(
            self.seen(facts(client=None), servers=("mx",)),
            (False, "skipped: a notice of our own came over no server"),
        )

    def test_logins(self) -> None:
        """One customer's smarthost would be used for another's mail, or a stranger's."""
        self.assertEqual(
            self.seen(facts(), logins=("*@rosse.example",)),
            (True, "login anna@rosse.example matches *@rosse.example"),
        )
        self.assertEqual(
            self.seen(facts(), logins=("*@blu.example",)),
            (False, "skipped: login anna@rosse.example does not match *@blu.example"),
        )
        for client in (None, make_client(), make_client(login="no address")):
            self.assertEqual(
                self.seen(facts(client=client), logins=("*",)),
                (False, "skipped: the client did not log in"),
            )

    def test_providers(self) -> None:
        """One provider's mail would be carried at another's cost."""
        self.assertEqual(
            self.seen(facts(), providers=("blu", "rosse")),
            (True, "provider rosse is among blu, rosse"),
        )
        self.assertEqual(
            self.seen(facts(), providers=("blu",)),
            (False, "skipped: provider rosse is not among blu"),
        )
        self.assertEqual(
            self.seen(facts(Known(accepted=True)), providers=("blu",)),
            (False, "skipped: the client was let in as no provider's customer"),
        )
        self.assertEqual(
            self.seen(facts(Known()), providers=("blu",)),
            (False, "skipped: whose customer the client is is not known yet"),
        )

    def test_size(self) -> None:
        """Large mail would take the way of small mail."""
        self.assertEqual(
            self.seen(facts(), size=(">1KB", "<=5KB")), (True, "size 5000 is >1KB and <=5KB")
        )
        self.assertEqual(
            self.seen(facts(), size=(">1KB", ">5KB")), (False, "skipped: size 5000 is not >5KB")
        )
        self.assertEqual(
            self.seen(facts(Known()), size=("<1GB",)),
            (False, "skipped: the size is not known yet"),
        )

    def test_hours(self) -> None:
        """Mail would take the night's way by day."""
        self.assertEqual(
            self.seen(facts(), hours=("Sun 00:00-24:00", "Mon-Fri 08:00-18:00 Europe/Rome")),
            (True, "Mon 13:00 Europe/Rome is in Mon-Fri 08:00-18:00 Europe/Rome"),
        )
        self.assertEqual(
            self.seen(facts(), hours=("22:00-06:00",)),
            (False, "skipped: Mon 12:00 UTC is not in 22:00-06:00"),
        )


class NotKnownYetTests(SynchronousTestCase):
    """What can't be told when the recipient is named."""

    def route(self, rules: list[RuleSettings], about: Facts, recipient: Address = JSMITH) -> Any:
        return self.successResultOf(TableRouting(rules).route(ANNA, recipient, about))

    def test_no_refusal_before_it_is_known(self) -> None:
        """The customers of a provider with a way of its own would be refused at RCPT."""
        rules = [
            RuleSettings(name="small", size=("<=1MB",), via="tcp:there:25"),
            RuleSettings(name="others", via="reject:too large for us"),
        ]
        route = self.route(rules, facts(Known()))
        self.assertIsInstance(route, Relay)
        self.assertEqual(route.hops[0].where, "mx:mindspring.com")
        self.assertEqual(route.rule, "small")
        self.assertEqual(route.reason, "whether small matches is seen before the first attempt")
        self.assertIsInstance(self.route(rules, facts(Known(size=2_000_000))), Unroutable)
        self.assertEqual(self.route(rules, facts()).hops[0].where, "tcp:there:25")

    def test_not_taken_for_local(self) -> None:
        """Anyone could have mail for elsewhere taken, by not saying how large it is."""
        rules = [
            RuleSettings(size=("<=1MB",), via="local"),
            RuleSettings(via="reject:no"),
        ]
        self.assertIsInstance(self.route(rules, facts(Known())), Relay)
        about = facts(Known(), local=True)
        self.assertIsInstance(self.route(rules, about, ANNA), Local)

    def test_refusing_rule_is_passed_over(self) -> None:
        """Mail of unknown size would be refused as too large."""
        rules = [
            RuleSettings(size=(">1MB",), via="reject:too large"),
            RuleSettings(via="tcp:there:25"),
        ]
        self.assertEqual(self.route(rules, facts(Known())).rule, "rule 2")
        rules[1] = RuleSettings(via="reject:closed")
        self.assertEqual(self.route(rules, facts(Known())).reason, "closed")

"""What the server relies upon in a routing policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
from twisted.internet import endpoints
from zope.interface.verify import verifyObject

from mailframe.address import Address, normal_domain
from mailframe.interfaces import Facts, IRoutingPolicy
from mailframe.outcome import Hold, Local, Redirect, Relay, Route, Unroutable
from mailframe.testing.contracts.contract import Contract
from mailframe.testing.contracts.decisions import check_decision
from mailframe.testing.samples import make_client, make_facts

# Twisted has not annotated it.
client_from_string: Any = endpoints.clientFromString

Question: TypeAlias = tuple[Address | None, Address, Facts]


class RoutingPolicyContract(Contract):
    """Mix into a test case that says how the policy is made."""

    def make_policy(self) -> IRoutingPolicy:
        """The policy to test."""
        raise AssertionError("override make_policy()")

    def questions(self) -> Sequence[Question]:
        """What the policy is asked. Add those that reach every rule of the policy under test."""
        sender = Address.parse("angelo@rosse.example")
        client = make_client()
        recipients = (
            "jsmith@mindspring.example",
            "MixedCase@mindspring.example",
            '"two words"@mindspring.example',
            '"a@b"@mindspring.example',
            "a%b@mindspring.example",
            "a!b@mindspring.example",
            "postmaster@[192.0.2.1]",
            "postmaster@[IPv6:2001:db8::1]",
            "x@" + ".".join(["a" * 60] * 4),
        )
        foreign = [
            (reverse_path, Address.parse(recipient), make_facts(client=asking))
            for recipient in recipients
            for reverse_path in (sender, None)
            for asking in (client, None)
        ]
        local = (sender, Address.parse("mary@here.example"), make_facts(local=True, client=client))
        return [*foreign, local]

    def ask(self, policy: IRoutingPolicy, question: Question) -> Route:
        """One question, by keyword as the server asks it."""
        sender, recipient, facts = question
        return self.get(policy.route(sender=sender, recipient=recipient, facts=facts))

    def test_provides_interface(self) -> None:
        """The server can't call the policy."""
        verifyObject(IRoutingPolicy, self.make_policy())

    def test_every_answer_is_a_route(self) -> None:
        """An address that the policy does not expect costs its sender a 451, for ever."""
        policy = self.make_policy()
        for question in self.questions():
            route = self.ask(policy, question)
            self.assertIsInstance(route, (Local, Relay, Redirect, Unroutable, Hold))
            check_decision(self, route)

    def test_same_question_same_answer(self) -> None:
        """``mailframe explain`` tells something else than what then happens."""
        policy = self.make_policy()
        for question in self.questions():
            self.assertEqual(self.ask(policy, question), self.ask(policy, question))

    def test_hops_can_be_used(self) -> None:
        """A next hop that is no endpoint fails at every attempt, until the mail is given up."""
        policy = self.make_policy()
        for question in self.questions():
            route = self.ask(policy, question)
            if isinstance(route, Relay):
                for hop in route.hops:
                    kind, _, domain = hop.where.partition(":")
                    if kind == "mx":
                        self.assertEqual(normal_domain(domain), domain)
                    else:
                        client_from_string(self.reactor, hop.where)

    def test_unroutable_is_refusal(self) -> None:
        """A recipient that has no route is accepted, and the mail is lost."""
        policy = self.make_policy()
        for question in self.questions():
            route = self.ask(policy, question)
            if isinstance(route, Unroutable):
                self.assertFalse(route.reply.is_positive)

    def test_released_is_not_held(self) -> None:
        """A message that an operator released is held again, for ever."""
        policy = self.make_policy()
        for sender, recipient, facts in self.questions():
            released = attrs.evolve(facts.known, released=True)
            question = (sender, recipient, attrs.evolve(facts, known=released))
            self.assertNotIsInstance(self.ask(policy, question), Hold)

    def test_redirect_leads_elsewhere(self) -> None:
        """A message is redirected in a circle until it fails."""
        policy = self.make_policy()
        for question in self.questions():
            route = self.ask(policy, question)
            if isinstance(route, Redirect):
                self.assertNotEqual(route.addresses, (question[1],))

"""Tests of mailframe.authorisation.providers, with its providers and the words of its refusals."""

from __future__ import annotations

import ipaddress
import random
from fnmatch import fnmatch
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.authorisation.providers import (
    ProvidersAuthorisation,
    ProviderSettings,
    ProvidersSettings,
    build,
)
from mailframe.envelope import Client
from mailframe.interfaces import IRelayAuthorisation, Site
from mailframe.outcome import Deny, Permit, Verdict

LOCAL = frozenset({"rosse.example"})
SENDER = Address("angelo", "rosse.example")
HERE = Address("anna", "rosse.example")
ELSEWHERE = Address("jsmith", "mindspring.com")
ROSSE = ProviderSettings(
    name="rosse", networks=("192.0.2.0/24", "2001:db8::/32"), accounts=("*@rosse.example",)
)
BLU = ProviderSettings(
    name="blu",
    networks=("198.51.100.0/24",),
    accounts=("*@blu.example",),
    customer="both",
    servers=("pop",),
    use_instead="smtp.blu.example",
)


def client(
    address: str = "203.0.113.5",
    login: str | None = None,
    protocol: str = "smtp",
    server: str = "mx",
) -> Client:
    return Client(server=server, protocol=protocol, address=address, login=login)


class ProvidersCase(SynchronousTestCase):
    def authorise(
        self,
        providers: list[ProviderSettings],
        who: Client,
        sender: Address | None = SENDER,
        recipient: Address = ELSEWHERE,
    ) -> Verdict:
        part = ProvidersAuthorisation(providers, LOCAL)
        verdict: Verdict = self.successResultOf(part.authorise(who, sender, recipient))
        self.assertEqual(verdict.plugin, "providers")
        self.assertTrue(verdict.reason)
        self.assertTrue(verdict.rule)
        return verdict

    def admit(self, providers: list[ProviderSettings], who: Client) -> Verdict:
        part = ProvidersAuthorisation(providers, LOCAL)
        verdict: Verdict = self.successResultOf(part.admit(who))
        return verdict

    def permitted(self, verdict: Verdict, rule: str, provider: str | None = "rosse") -> None:
        assert isinstance(verdict, Permit), verdict
        self.assertEqual((verdict.rule, verdict.provider), (rule, provider))

    def denied(self, verdict: Verdict, reply: str, provider: str | None = None) -> None:
        assert isinstance(verdict, Deny), verdict
        self.assertEqual(str(verdict.reply), reply)
        self.assertEqual(verdict.provider, provider)


class WithoutProvidersTests(ProvidersCase):
    def test_strangers(self) -> None:
        """A server with the default configuration would be an open relay."""
        for address in ("203.0.113.5", "127.0.0.1", "::1"):
            self.denied(
                self.authorise([], client(address)),
                f"550 5.7.1 relaying denied: {address} has not logged in; mail to other domains "
                "is accepted from those who have logged in only",
            )
        for recipient in (ELSEWHERE, HERE):
            self.denied(
                self.authorise([], client(protocol="submission"), recipient=recipient),
                "530 5.7.0 authentication required: 203.0.113.5 has not logged in",
            )

    def test_login(self) -> None:
        """People with an account could not send mail."""
        who = client(login="angelo@rosse.example", protocol="submission")
        verdict = self.authorise([], who)
        self.permitted(verdict, "login", None)
        self.assertEqual(verdict.reason, "angelo@rosse.example has logged in")
        self.permitted(self.admit([], who), "login", None)

    def test_nobody_reads(self) -> None:
        """A mailbox would be open to whoever asks."""
        self.denied(
            self.admit([], client(protocol="pop3")),
            "550 5.7.1 reading mail denied: nobody has logged in",
        )


class LocalProgramTests(ProvidersCase):
    def test_local_program(self) -> None:
        """``mailframe send`` could not send to other domains."""
        who = client("127.0.0.1", protocol="local", server="local")
        for providers in ([], [BLU]):
            self.permitted(self.authorise(providers, who), "local program", None)
            self.permitted(self.admit(providers, who), "local program", None)


class RecognitionTests(ProvidersCase):
    def test_network(self) -> None:
        """A provider's customers could not send mail from home."""
        for address, rule in [
            ("192.0.2.7", "network 192.0.2.0/24"),
            ("2001:db8:1::1", "network 2001:db8::/32"),
        ]:
            verdict = self.authorise([ROSSE], client(address))
            self.permitted(verdict, rule)
            self.assertIn(f"customer of provider rosse: {address} is in its net", verdict.reason)

    def test_login(self) -> None:
        """A provider's customers could not send mail when travelling."""
        verdict = self.authorise([ROSSE], client(login="angelo@rosse.example"))
        self.permitted(verdict, "login *@rosse.example")
        self.assertEqual(
            verdict.reason, "customer of provider rosse: angelo@rosse.example has logged in"
        )

    def test_either_names_both(self) -> None:
        """The evidence would leave out half of what is known of the sender."""
        verdict = self.authorise([ROSSE], client("192.0.2.7", "angelo@rosse.example"))
        self.permitted(verdict, "network 192.0.2.0/24 and login *@rosse.example")
        self.assertIn("192.0.2.7 is in its network 192.0.2.0/24 and angelo@", verdict.reason)

    def test_customer_of_one_kind(self) -> None:
        """A mark that the provider does not count would let a client in."""
        by_network = attrs.evolve(ROSSE, customer="network")
        by_login = attrs.evolve(ROSSE, customer="login")
        inside, outside = "192.0.2.7", "203.0.113.5"
        login = "angelo@rosse.example"
        self.permitted(self.authorise([by_network], client(inside, login)), "network 192.0.2.0/24")
        self.permitted(self.authorise([by_login], client(inside, login)), "login *@rosse.example")
        self.assertIsInstance(self.authorise([by_network], client(outside, login)), Deny)
        self.assertIsInstance(self.authorise([by_login], client(inside)), Deny)

    def test_stranger(self) -> None:
        """A refused sender would not learn why, nor what to do; or the relay would be open."""
        self.denied(
            self.authorise([ROSSE], client()),
            "550 5.7.1 relaying denied: 203.0.113.5 is not a customer of any provider here and has "
            "not logged in; mail to other domains is accepted from customers only",
        )
        self.denied(
            self.authorise([ROSSE, BLU], client("127.0.0.1")),
            "550 5.7.1 relaying denied: 127.0.0.1 is not a customer of any provider here and has "
            "not logged in; mail to other domains is accepted from customers only; use "
            "smtp.blu.example instead",
        )
        self.denied(
            self.authorise([ROSSE], client(protocol="submission"), recipient=HERE),
            "530 5.7.0 authentication required: 203.0.113.5 is not a customer of any provider here "
            "and has not logged in",
        )

    def test_stranger_with_login(self) -> None:
        """A client would be asked to log in again and again although that can't help."""
        who = client(login="x@green.example", protocol="submission")
        self.denied(
            self.authorise([ROSSE], who),
            "550 5.7.1 relaying denied: x@green.example at 203.0.113.5 is not a customer of any "
            "provider here; mail to other domains is accepted from customers only",
        )
        self.denied(
            self.authorise([ROSSE], who, recipient=HERE),
            "550 5.7.1 submission denied: x@green.example at 203.0.113.5 is not a customer of any "
            "provider here",
        )

    def test_stranger_whom_no_login_would_help(self) -> None:
        """A client would be asked to log in although no provider looks at logins."""
        provider = ProviderSettings(
            name="rosse", networks=("192.0.2.0/24",), use_instead="a.example"
        )
        other = attrs.evolve(provider, name="other", use_instead="b.example")
        self.denied(
            self.authorise([provider, other], client(protocol="submission")),
            "550 5.7.1 relaying denied: 203.0.113.5 is not in the network of any provider here; "
            "mail to other domains is accepted from customers only; use a.example or b.example "
            "instead",
        )

    def test_strange_login(self) -> None:
        """A login that is no address would count as somebody's, or stop the server."""
        everyone = ProviderSettings(name="rosse", accounts=("*",), customer="login")
        verdict = self.authorise([everyone], client(login="not an address"))
        self.assertIsInstance(verdict, Deny)
        self.permitted(self.authorise([everyone], client(login="a@x.example")), "login *")


class BothTests(ProvidersCase):
    blu = attrs.evolve(BLU, servers=None, use_instead=None)

    def test_both(self) -> None:
        """A customer with both marks could not send."""
        verdict = self.authorise([self.blu], client("198.51.100.9", "a@blu.example"))
        self.permitted(verdict, "network 198.51.100.0/24 and login *@blu.example", "blu")

    def test_wrong_network(self) -> None:
        """A customer on a journey would not learn that the place, not the password, is wrong."""
        self.denied(
            self.authorise([self.blu], client("203.0.113.5", "a@blu.example")),
            "550 5.7.1 relaying denied: a@blu.example is a customer of provider blu only while in "
            "its network, and 203.0.113.5 is not in it",
            "blu",
        )

    def test_not_logged_in(self) -> None:
        """A customer at home would not learn that it must log in."""
        words = (
            "198.51.100.9 is in the network of provider blu, whose customers must log in as well, "
            "and has not logged in"
        )
        self.denied(
            self.authorise([self.blu], client("198.51.100.9")),
            f"550 5.7.1 relaying denied: {words}",
            "blu",
        )
        self.denied(
            self.authorise([BLU], client("198.51.100.9", protocol="submission")),
            f"530 5.7.0 authentication required: {words}; use smtp.blu.example instead",
            "blu",
        )

    def test_login_of_another(self) -> None:
        """A guest in the provider's network would count as its customer."""
        self.denied(
            self.authorise([self.blu], client("198.51.100.9", "x@green.example")),
            "550 5.7.1 relaying denied: 198.51.100.9 is in the network of provider blu, whose "
            "customers must log in as well, and x@green.example is not one of them",
            "blu",
        )


class LimitsTests(ProvidersCase):
    inside = client("192.0.2.7")

    def test_server(self) -> None:
        """Any customer could use, at others' cost, a server that is not for them."""
        provider = attrs.evolve(
            ROSSE, name="blu", servers=("submission",), use_instead="smtp.blu.example"
        )
        self.denied(
            self.authorise([provider], self.inside),
            '550 5.7.1 relaying denied: provider blu\'s customers may not use server "mx"; use '
            "smtp.blu.example instead",
            "blu",
        )
        allowed = client("192.0.2.7", server="submission", protocol="submission")
        self.permitted(self.authorise([provider], allowed), "network 192.0.2.0/24", "blu")
        none = attrs.evolve(ROSSE, servers=())
        self.assertIsInstance(self.authorise([none], self.inside), Deny)

    def test_no_relay(self) -> None:
        """Customers who may write here alone could write everywhere, or not even here."""
        provider = attrs.evolve(ROSSE, relay=False)
        self.denied(
            self.authorise([provider], self.inside),
            "550 5.7.1 relaying denied: provider rosse's customers may not send to other domains "
            "through this server",
            "rosse",
        )
        verdict = self.authorise([provider], self.inside, recipient=HERE)
        self.permitted(verdict, "network 192.0.2.0/24")

    def test_senders(self) -> None:
        """A customer could write in anybody's name."""
        provider = attrs.evolve(ROSSE, senders=("*@rosse.example", "<>"))
        verdict = self.authorise([provider], self.inside, Address("x", "bank.example"))
        self.denied(
            verdict,
            "550 5.7.1 sender denied: <x@bank.example> is not among those that provider rosse's "
            "customers may use: *@rosse.example, <>",
            "rosse",
        )
        for sender in (SENDER, None):
            verdict = self.authorise([provider], self.inside, sender)
            self.permitted(verdict, "network 192.0.2.0/24")
        strict = attrs.evolve(ROSSE, senders=("*@rosse.example",))
        verdict = self.authorise([strict], self.inside, None)
        assert isinstance(verdict, Deny)
        self.assertIn("sender denied: <> is not among", str(verdict.reply))

    def test_many_senders_are_not_listed(self) -> None:
        """A refusal would be too long to be read."""
        senders = tuple(f"u{n}@rosse.example" for n in range(50))
        verdict = self.authorise([attrs.evolve(ROSSE, senders=senders)], self.inside)
        assert isinstance(verdict, Deny)
        self.assertTrue(str(verdict.reply).endswith("customers may use"))

    def test_first_that_allows(self) -> None:
        """A customer of two providers would be refused because of the stricter one."""
        strict = attrs.evolve(ROSSE, name="strict", servers=("pop",))
        second = attrs.evolve(ROSSE, name="second")
        third = attrs.evolve(ROSSE, name="third")
        verdict = self.authorise([strict, second, third], self.inside)
        self.permitted(verdict, "network 192.0.2.0/24", "second")

    def test_closest_refusal(self) -> None:
        """The refusal would speak of a provider that the client has hardly to do with."""
        wrong_server = attrs.evolve(ROSSE, name="server", servers=())
        no_relay = attrs.evolve(ROSSE, name="relay", relay=False)
        sender = attrs.evolve(ROSSE, name="sender", senders=("<>",))
        half = attrs.evolve(ROSSE, name="half", customer="both")
        also = attrs.evolve(half, name="also")
        for providers, provider in [
            ([half, wrong_server, no_relay, sender], "sender"),
            ([no_relay, half, wrong_server], "relay"),
            ([half, wrong_server], "server"),
            ([half, also], "half"),
        ]:
            verdict = self.authorise(providers, self.inside)
            assert isinstance(verdict, Deny)
            self.assertEqual(verdict.provider, provider)


class ReadingTests(ProvidersCase):
    def pop(self, address: str, login: str | None) -> Client:
        return client(address, login, protocol="pop3", server="pop")

    def test_only_over_its_own_network(self) -> None:
        """A mailbox that is for reading at home alone could be read from everywhere."""
        self.permitted(
            self.admit([ROSSE, BLU], self.pop("198.51.100.9", "a@blu.example")),
            "network 198.51.100.0/24 and login *@blu.example",
            "blu",
        )
        # 192.0.2.7 is in the network of another provider, which would recognise it.
        for address in ("203.0.113.5", "192.0.2.7", "127.0.0.1"):
            self.denied(
                self.admit([ROSSE, BLU], self.pop(address, "a@blu.example")),
                "550 5.7.1 reading mail denied: the mailbox of a@blu.example can be read over the "
                f"network of provider blu only, and {address} is not in it; use smtp.blu.example "
                "instead",
                "blu",
            )

    def test_from_everywhere(self) -> None:
        """A customer could not read mail on a journey."""
        verdict = self.admit([BLU, ROSSE], self.pop("203.0.113.5", "angelo@rosse.example"))
        self.permitted(verdict, "login *@rosse.example")

    def test_server(self) -> None:
        """A POP3 server would be open to customers whom it is not for."""
        self.denied(
            self.admit(
                [BLU], client("198.51.100.9", "a@blu.example", protocol="pop3", server="pop2")
            ),
            '550 5.7.1 reading mail denied: provider blu\'s customers may not use server "pop2"; '
            "use smtp.blu.example instead",
            "blu",
        )

    def test_nobodys_customer(self) -> None:
        """An account that no provider pays for could be read."""
        self.denied(
            self.admit([ROSSE, BLU], self.pop("203.0.113.5", "x@green.example")),
            "550 5.7.1 reading mail denied: x@green.example is not a customer of any provider here",
        )
        self.assertIsInstance(self.admit([ROSSE], self.pop("192.0.2.7", None)), Deny)
        self.assertIsInstance(self.admit([ROSSE], self.pop("203.0.113.5", "not an address")), Deny)

    def test_by_network(self) -> None:
        """Customers of a provider that knows them by address alone could not read mail."""
        provider = ProviderSettings(name="net", networks=("192.0.2.0/24",))
        who = self.pop("192.0.2.7", "x@green.example")
        self.permitted(self.admit([provider, BLU], who), "network 192.0.2.0/24", "net")
        elsewhere = attrs.evolve(provider, servers=("mx",))
        verdict = self.admit([BLU, elsewhere], who)
        assert isinstance(verdict, Deny)
        self.assertEqual(verdict.provider, "net")
        self.assertIn('may not use server "pop"', str(verdict.reply))

    def test_any_login_owns_nobody(self) -> None:
        """A provider that takes any login would open the mailboxes of one that is stricter."""
        for pattern in ("*", "*@*"):
            anyone = ProviderSettings(name="any", accounts=(pattern,))
            who = self.pop("203.0.113.5", "a@blu.example")
            self.assertIsInstance(self.admit([anyone, BLU], who), Deny)
            who = self.pop("203.0.113.5", "x@green.example")
            self.permitted(self.admit([anyone, BLU], who), f"login {pattern}", "any")


class SettingsTests(SynchronousTestCase):
    def refused(self, words: str, **keys: Any) -> ValueError:
        error: ValueError = self.assertRaises(
            ValueError, ProviderSettings, **{"name": "p", "networks": ("192.0.2.0/24",), **keys}
        )
        self.assertIn(words, error.args[0])
        return error

    def test_mistakes(self) -> None:
        """A mistake in the file would let in nobody, or somebody whom nobody meant."""
        for key, value, words in [
            ("networks", ("192.0.2.1/24",), "write '192.0.2.0/24' for the whole"),
            ("networks", ("10.0.0.0/8", "x"), "'x' is not a network; allowed: "),
            ("accounts", ("rosse.example",), "is not an address pattern"),
            ("accounts", ("<>",), "'<>' is no login"),
            ("senders", ("@x.example",), "write *@x.example"),
            ("customer", "neither", "neither"),
            ("name", " ", "a name in printable ASCII"),
            ("name", "a\nb", "a name in printable ASCII"),
            ("use_instead", "", "a name in printable ASCII"),
        ]:
            with self.subTest(key=key, value=value):
                error = self.refused(words, **{key: value})
                self.assertTrue(str(error.args[0]).startswith(f"'{key}' "))

    def test_recognises_nobody(self) -> None:
        """A provider without customers would look as if it had some."""
        self.refused("needs networks or accounts", networks=())
        self.refused(
            "needs networks, or", networks=(), accounts=("*@x.example",), customer="network"
        )
        self.refused("needs accounts, or provider p would recognise nobody", customer="login")
        self.refused("needs networks and accounts", customer="both")

    def test_names_are_unique(self) -> None:
        """Statistics would add up the customers of two providers."""
        error = self.assertRaises(ValueError, ProvidersSettings, provider=(ROSSE, BLU, ROSSE))
        self.assertIn("two providers are named 'rosse'", error.args[0])
        self.assertEqual(ProvidersSettings().provider, ())

    def test_build(self) -> None:
        """The plugin that the configuration names could not be made."""
        site = Site(
            hostname="mx.rosse.example",
            local_domains=LOCAL,
            state_dir="/nowhere",
            reactor=Clock(),
            resolver=None,
            in_thread=execute,
            random=random.Random(1),
        )
        part = build(ProvidersSettings(provider=(ROSSE,)), site)
        verifyObject(IRelayAuthorisation, part)
        verdict = self.successResultOf(part.authorise(client("192.0.2.7"), SENDER, ELSEWHERE))
        self.assertIsInstance(verdict, Permit)


def recognised(provider: ProviderSettings, who: Client) -> bool:
    """The same question, answered in the plainest way."""
    by_network = any(
        ipaddress.ip_address(who.address) in ipaddress.ip_network(n) for n in provider.networks
    )
    by_login = who.login is not None and any(fnmatch(who.login, p) for p in provider.accounts)
    return {
        "network": by_network,
        "login": by_login,
        "either": by_network or by_login,
        "both": by_network and by_login,
    }[provider.customer]


def build_provider(index: int, keys: dict[str, Any]) -> ProviderSettings:
    return ProviderSettings(name=f"p{index}", **keys)


PROVIDERS = st.lists(
    st.fixed_dictionaries(
        {
            "networks": st.sampled_from([("192.0.2.0/24",), ("192.0.2.4/30", "2001:db8::/32")]),
            "accounts": st.sampled_from([("*@x.example",), ("a@x.example", "*@y.example")]),
            "customer": st.sampled_from(["network", "login", "either", "both"]),
            "servers": st.sampled_from([None, (), ("mx",), ("submission",)]),
            "relay": st.booleans(),
            "senders": st.sampled_from([("*",), ("<>",), ("*@x.example",)]),
        }
    ),
    max_size=3,
).map(lambda many: [build_provider(index, keys) for index, keys in enumerate(many)])
CLIENTS = st.builds(
    client,
    st.sampled_from(["192.0.2.5", "192.0.2.9", "2001:db8::1", "203.0.113.5", "127.0.0.1", "::1"]),
    st.sampled_from([None, "a@x.example", "b@x.example", "a@y.example", "a@z.example"]),
    st.sampled_from(["smtp", "submission", "pop3"]),
    st.sampled_from(["mx", "submission"]),
)


class PropertyTests(ProvidersCase):
    @given(
        PROVIDERS,
        CLIENTS,
        st.sampled_from([None, Address("a", "x.example"), Address("a", "z.example")]),
        st.sampled_from([HERE, ELSEWHERE]),
    )
    @settings(deadline=None, max_examples=400)
    def test_no_permit_without_recognition(
        self, providers: list[ProviderSettings], who: Client, sender: Any, recipient: Address
    ) -> None:
        """Somebody whom no provider pays for could have mail carried: an open relay."""

        def allows(p: ProviderSettings) -> bool:
            return (
                recognised(p, who)
                and (p.servers is None or who.server in p.servers)
                and (p.relay or recipient == HERE)
                and any(
                    s == "*" or (s == "<>" if sender is None else fnmatch(str(sender), s))
                    for s in p.senders
                )
            )

        verdict = self.authorise(providers, who, sender, recipient)
        allowing = [p.name for p in providers if allows(p)]
        if not providers:
            self.assertEqual(isinstance(verdict, Permit), who.login is not None)
        elif allowing:
            assert isinstance(verdict, Permit)
            self.assertEqual(verdict.provider, allowing[0])
        else:
            assert isinstance(verdict, Deny)
            self.assertTrue(verdict.reply.is_permanent)

    @given(PROVIDERS, CLIENTS)
    @settings(deadline=None, max_examples=300)
    def test_no_reading_without_recognition(
        self, providers: list[ProviderSettings], who: Client
    ) -> None:
        """A mailbox could be read against the rule of the provider whose it is."""
        verdict = self.admit(providers, who)
        owners = [
            p for p in providers if who.login and any(fnmatch(who.login, a) for a in p.accounts)
        ]
        admitting = [
            p.name
            for p in owners or providers
            if recognised(p, who) and (p.servers is None or who.server in p.servers)
        ]
        allowed = who.login is not None and (bool(admitting) or not providers)
        self.assertEqual(isinstance(verdict, Permit), allowed)
        if isinstance(verdict, Permit) and providers:
            self.assertEqual(verdict.provider, admitting[0])

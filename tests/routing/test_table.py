"""Tests of mailframe.routing.table."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.guard import as_deferred
from mailframe.interfaces import Facts, IPolicyTraits, IRoutingPolicy, Known
from mailframe.outcome import Hold, Local, NextHop, Redirect, Relay, Unroutable
from mailframe.patterns import AddressPattern
from mailframe.reply import Reply
from mailframe.routing.table import RuleSettings, TableRouting, TableSettings, build
from mailframe.testing.site import make_site
from mailframe.units import FilePath, Seconds

ANNA = Address("anna", "rosse.example")
JSMITH = Address("jsmith", "mindspring.com")


def ask(case: SynchronousTestCase, rules: Any, recipient: Address, sender: Any = ANNA) -> Any:
    facts = Facts(local=recipient.domain == "rosse.example", client=None, now=0.0)
    return case.successResultOf(TableRouting(rules).route(sender, recipient, facts))


class RouteTests(SynchronousTestCase):
    def test_interface(self) -> None:
        """The plugin that the configuration names could not be used."""
        verifyObject(IRoutingPolicy, build(TableSettings(), make_site(state_dir=self.mktemp())))

    def test_no_rules(self) -> None:
        """Without a table nothing would be delivered."""
        self.assertEqual(
            ask(self, [], ANNA),
            Local(mailbox=ANNA, reason="rosse.example is a local domain", plugin="table"),
        )
        route = ask(self, [], JSMITH)
        self.assertEqual(route.hops, (NextHop(where="mx:mindspring.com"),))
        self.assertEqual((route.rule, route.plugin), ("", "table"))

    def test_smarthost(self) -> None:
        """Mail would go straight to the exchanger although an intermediate server is prescribed."""
        rule = RuleSettings(
            recipients=("*@mindspring.com",),
            via="tcp:127.0.0.1:2600",
            tls="verify",
            login="user",
            password_file=FilePath("/etc/password"),
        )
        hop = NextHop(
            where="tcp:127.0.0.1:2600", tls="verify", login="user", password_file="/etc/password"
        )
        self.assertEqual(
            ask(self, [rule], JSMITH),
            Relay(
                hops=(hop,),
                reason="rule 1 matches: tcp:127.0.0.1:2600 with tls verify",
                rule="rule 1",
                plugin="table",
            ),
        )
        self.assertIsInstance(ask(self, [rule], ANNA), Local)

    def test_local_domain_elsewhere(self) -> None:
        """A gateway could not hand the mail of its domain to the servers behind it."""
        rule = RuleSettings(recipients=("*@rosse.example",), via="unix:/run/l", protocol="lmtp")
        route = ask(self, [rule], ANNA)
        self.assertEqual(route.hops, (NextHop(where="unix:/run/l", protocol="lmtp"),))

    def test_mail_exchangers(self) -> None:
        """Rules for exchangers would send everything to one domain's."""
        rule = RuleSettings(via=("mx", "mx:other.example", "tcp:backup.example:25"), tls="require")
        route = ask(self, [rule], JSMITH)
        self.assertEqual(
            [hop.where for hop in route.hops],
            ["mx:mindspring.com", "mx:other.example", "tcp:backup.example:25"],
        )
        self.assertEqual({hop.tls for hop in route.hops}, {"require"})
        self.assertEqual(ask(self, [rule], ANNA).hops[0].where, "mx:rosse.example")
        literal = ask(self, [rule], Address("a", "[192.0.2.1]"))
        self.assertEqual(literal.hops[0].where, "mx:[192.0.2.1]")

    def test_local(self) -> None:
        """Mail for a domain that is not listed as local could not be kept here by a rule."""
        rule = RuleSettings(name="ours", recipients=("*@mindspring.com",), via="local")
        self.assertEqual(
            ask(self, [rule], JSMITH),
            Local(mailbox=JSMITH, reason='rule "ours" matches: local', rule="ours", plugin="table"),
        )

    def test_reject(self) -> None:
        """A sender would not be told why mail is refused."""
        rule = RuleSettings(recipients=("*@mindspring.com",), via="reject:moved to earthlink.net")
        self.assertEqual(
            ask(self, [rule], JSMITH),
            Unroutable(
                reason="moved to earthlink.net",
                rule="rule 1",
                plugin="table",
                reply=Reply(550, "5.7.1", "moved to earthlink.net"),
            ),
        )

    def test_hold(self) -> None:
        """An operator could not look at mail before it goes on; or it would be held for ever."""
        rules = [RuleSettings(name="odd", via="hold:ask Mary"), RuleSettings(via="hold")]
        reason = 'rule "odd" matches: hold: ask Mary'
        self.assertEqual(ask(self, rules, JSMITH), Hold(reason=reason, rule="odd", plugin="table"))
        facts = Facts(local=False, client=None, now=0.0, known=Known(released=True))
        table = TableRouting([*rules, RuleSettings(via="tcp:there:25")])
        route = self.successResultOf(table.route(ANNA, JSMITH, facts))
        self.assertEqual(route.rule, "rule 3")
        seen = self.successResultOf(table.rules_seen(ANNA, JSMITH, facts))
        self.assertEqual(
            [each.reason for each in seen[:2]], ["skipped: an operator released the message"] * 2
        )

    def test_redirect(self) -> None:
        """A domain that has moved would lose its mail."""
        rule = RuleSettings(
            recipients=("*@mindspring.com",),
            via=("redirect:$local@earthlink.net", "redirect:copies@rosse.example"),
        )
        self.assertEqual(
            ask(self, [rule], JSMITH),
            Redirect(
                addresses=(
                    Address("jsmith", "earthlink.net"),
                    Address("copies", "rosse.example"),
                ),
                reason="rule 1 matches: redirect to $local@earthlink.net, "
                "redirect to copies@rosse.example",
                rule="rule 1",
                plugin="table",
            ),
        )

    def test_redirect_to_nobody(self) -> None:
        """A redirect that can't be followed would cost its sender a 451 for days."""
        rule = RuleSettings(via="redirect:$local@sub.$domain")
        route = ask(self, [rule], Address("a", "[192.0.2.1]"))
        self.assertEqual(route.reply.status, "5.1.3")
        self.assertIn("not a host name", route.reason)
        rule = RuleSettings(via=("redirect:a@x.example", "redirect:$local@$domain"))
        route = ask(self, [rule], JSMITH)
        self.assertEqual((route.reply.status, route.rule), ("5.4.6", "rule 1"))

    def test_senders(self) -> None:
        """One provider's mail would take another's way; bounces could not be told apart."""
        rules = [
            RuleSettings(senders=("<>",), via="tcp:bounces.example:25"),
            RuleSettings(senders=("*@rosse.example",), via="tcp:rosse.example:25"),
            RuleSettings(senders=("*@*",), via="tcp:others.example:25"),
        ]
        for sender, where in [
            (None, "tcp:bounces.example:25"),
            (ANNA, "tcp:rosse.example:25"),
            (JSMITH, "tcp:others.example:25"),
        ]:
            route = ask(self, rules, JSMITH, sender)
            self.assertEqual(route.hops[0].where, where)

    PATTERNS = st.sampled_from(
        ["*", "*@*.example", "*@a.example", "u@a.example", "*@b.example", "*@[192.0.2.1]"]
    )

    @given(
        st.lists(st.lists(PATTERNS, min_size=1, max_size=3), max_size=6),
        st.sampled_from(["u@a.example", "v@a.example", "u@b.example", "u@c.org", "u@[192.0.2.1]"]),
    )
    @settings(deadline=None, max_examples=200)
    def test_first_match_wins(self, table: list[list[str]], text: str) -> None:
        """Looked up by domain, a table would decide otherwise than when read from the top."""
        recipient = Address.parse(text)
        rules = [
            RuleSettings(recipients=tuple(patterns), via=f"tcp:h{number}:25")
            for number, patterns in enumerate(table, start=1)
        ]
        wanted = next(
            (
                f"rule {number}"
                for number, patterns in enumerate(table, start=1)
                if any(AddressPattern.parse(p).matches(recipient) for p in patterns)
            ),
            "",
        )
        self.assertEqual(ask(self, rules, recipient).rule, wanted)
        facts = Facts(local=False, client=None, now=0.0)
        seen = self.successResultOf(TableRouting(rules).rules_seen(ANNA, recipient, facts))
        self.assertEqual([each.rule for each in seen if each.matches], [wanted or "no rule"])
        self.assertTrue(seen[-1].matches)


class SettingsTests(SynchronousTestCase):
    def test_mistakes(self) -> None:
        """Mail would go astray, or a password to a stranger, because of a slip in the table."""
        password = FilePath("/etc/password")
        for keys, key, words in [
            ({"via": "tpc:a:25"}, "via", 'did you mean "tcp"?'),
            ({"recipients": ("mindspring.com",)}, "recipients", "not an address pattern"),
            ({"recipients": ()}, "recipients", "would never match"),
            ({"senders": ("@x",)}, "senders", "write *@x"),
            ({"name": "a\nb"}, "name", "printable ASCII"),
            ({"protocol": "uucp"}, "protocol", "uucp"),
            ({"tls": "maybe"}, "tls", "maybe"),
            ({"providers": ()}, "providers", "would never match"),
            ({"servers": ()}, "servers", "would never match"),
            ({"logins": ("<>",)}, "logins", "'<>' is no login"),
            ({"size": ("10MB",)}, "size", "a limit such as"),
            ({"hours": ("noon",)}, "hours", "no day of the week"),
            ({"login": "user"}, "login", "'login' is there without password_file"),
            ({"via": "local", "source": "bulk"}, "source", "'source' with via = \"local\""),
            ({"via": "unix:/run/lmtp", "source": "bulk"}, "source", "is of no use"),
            (
                {"password_file": password},
                "password_file",
                "'password_file' is there without login",
            ),
            ({"via": "mx", "protocol": "lmtp"}, "protocol", "needs an endpoint string"),
            ({"via": "local", "protocol": "lmtp"}, "protocol", "needs an endpoint string"),
            ({"via": "ssl:a:465", "tls": "verify"}, "tls", "write tls: instead"),
            ({"via": "tcp:a:25", "tls": "dane"}, "tls", "for mail exchangers alone"),
            ({"via": ("mx", "tcp:a:25"), "tls": "dane"}, "tls", "for mail exchangers alone"),
            ({"via": "local", "tls": "dane"}, "tls", "for mail exchangers alone"),
            ({"via": "redirect:anna@b.example", "tls": "verify"}, "tls", "goes by the rule that"),
        ]:
            with self.subTest(keys=keys):
                error = self.assertRaises(
                    ValueError, RuleSettings, **{"via": "tcp:a:25", **cast(Any, keys)}
                )
                self.assertIn(words, error.args[0])
                self.assertTrue(error.args[0].startswith(f"'{key}' "), error.args[0])
        for via, words in [
            ("mx", "whatever host DNS names"),
            (("tcp:a:25", "mx:b.example"), "whatever host DNS names"),
            ("reject:no", "no server is asked"),
        ]:
            error = self.assertRaises(
                ValueError, RuleSettings, via=via, login="user", password_file=password
            )
            self.assertIn(words, error.args[0])

    def test_waits_of_a_rule(self) -> None:
        """Mail for a server that is up once a day is tried as all other mail."""
        retry = Backoff(first=Seconds(3600.0), jitter=0.0)
        route = ask(self, [RuleSettings(via="mx", retry=retry)], JSMITH)
        self.assertEqual(route.retry, retry)
        error = self.assertRaises(ValueError, RuleSettings, via="local", retry=retry)
        self.assertIn("'retry' with via = \"local\" is of no use", str(error))

    def test_waits_for_its_hours(self) -> None:
        """Large mail goes over the dear line by day, instead of waiting for the cheap one."""
        rule = RuleSettings(
            name="night", hours=("19:00-07:00",), outside_hours="wait", via="tcp:cheap.example:25"
        )
        table = TableRouting([rule])
        noon = Facts(local=False, client=None, now=12 * 3600.0)
        route = self.successResultOf(table.route(ANNA, JSMITH, noon))
        self.assertEqual(route.not_before, 19 * 3600.0)
        waits = "Thu 12:00 UTC is not in 19:00-07:00, so it waits until Thu 19:00 UTC"
        self.assertEqual(route.reason, f'rule "night" matches: tcp:cheap.example:25; {waits}')
        (seen,) = self.successResultOf(as_deferred(table.rules_seen(ANNA, JSMITH, noon)))
        self.assertEqual((seen.matches, seen.reason), (True, waits))
        night = Facts(local=False, client=None, now=20 * 3600.0)
        route = self.successResultOf(table.route(ANNA, JSMITH, night))
        self.assertIsNone(route.not_before)
        self.assertEqual(route.reason, 'rule "night" matches: tcp:cheap.example:25')

    def test_waiting_needs_hours_and_servers(self) -> None:
        """A slip in the file, and mail waits for nothing."""
        error = self.assertRaises(ValueError, RuleSettings, via="mx", outside_hours="wait")
        self.assertIn("needs hours to wait for", str(error))
        changes = {"hours": ("08:00-18:00",), "outside_hours": "wait"}
        error = self.assertRaises(ValueError, RuleSettings, via="hold", **changes)
        self.assertIn("'outside_hours' with via = \"hold\" is of no use", str(error))

    def test_traits(self) -> None:
        """Refusals by provider are told in bounces; or the clock's jumps cut waits short."""
        curve = Backoff(longest=Seconds(86400.0))
        table = TableRouting(
            [RuleSettings(via="mx", retry=curve), RuleSettings(via="mx", providers=("blu",))]
        )
        self.assertTrue(verifyObject(IPolicyTraits, table))
        self.assertEqual((table.asks_provider, table.longest_wait), (True, 86400.0))
        plain = TableRouting([RuleSettings(via="mx")])
        self.assertEqual((plain.asks_provider, plain.longest_wait), (False, 0.0))

    def test_names_are_unique(self) -> None:
        """A log line could mean either of two rules."""
        rules = tuple(RuleSettings(name=name, via="mx") for name in ("a", "", "", "b"))
        TableSettings(rule=rules)
        error = self.assertRaises(ValueError, TableSettings, rule=(*rules, rules[0]))
        self.assertIn("two rules are named 'a'", error.args[0])
        second = RuleSettings(name="rule 1", via="mx")
        error = self.assertRaises(ValueError, TableSettings, rule=(RuleSettings(via="mx"), second))
        self.assertIn("two rules are named 'rule 1'", error.args[0])

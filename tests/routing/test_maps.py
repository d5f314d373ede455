"""Tests of mailframe.routing.maps, and of rules that use maps."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, ILookup, Known, LookupFault, Site
from mailframe.routing.maps import Map, MapSettings, build_maps
from mailframe.routing.table import RuleSettings, TableRouting, TableSettings, build
from mailframe.testing.samples import make_client, make_facts
from mailframe.testing.site import make_site
from mailframe.units import FilePath

ANNA = Address("Anna", "rosse.example")
JSMITH = Address("JSmith", "mindspring.com")
LOGGED_IN = make_facts(client=make_client(login="Anna@rosse.example"))


@implementer(ILookup)
@attrs.define
class Lookup:
    """A map in memory, which may fail."""

    entries: dict[str, str] = attrs.field(factory=dict)
    error: Exception | None = None

    def find(self, key: str) -> Any:
        if self.error is not None:
            return fail(self.error)
        return succeed(self.entries.get(key))


class MapCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.lookup = Lookup()

    def table(self, *rules: RuleSettings, by: Any = "recipient") -> TableRouting:
        return TableRouting(rules, {"m": Map("m", by, self.lookup)})

    def route(
        self, table: TableRouting, facts: Facts = LOGGED_IN, sender: Address | None = ANNA
    ) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(table.route(sender, JSMITH, facts)))

    def seen(
        self, table: TableRouting, facts: Facts = LOGGED_IN, sender: Address | None = ANNA
    ) -> list[tuple[bool, str]]:
        asked = Deferred.fromCoroutine(table.rules_seen(sender, JSMITH, facts))
        return [(each.matches, each.reason) for each in self.successResultOf(asked)]


class ConditionTests(MapCase):
    def test_recipients_senders_logins(self) -> None:
        """A map would be asked about somebody else than the rule names."""
        for key, by, text in [
            ("recipients", "recipient", "jsmith@mindspring.com"),
            ("senders", "sender", "anna@rosse.example"),
            ("logins", "login", "anna@rosse.example"),
        ]:
            table = self.table(RuleSettings(via="tcp:there:25", **{key: ("map:m",)}))
            self.lookup.entries = {}
            self.assertEqual(self.route(table).rule, "")
            self.assertEqual(
                self.seen(table)[0], (False, f'skipped: {by} {text} is not in map "m"')
            )
            self.lookup.entries = {text: ""}
            self.assertEqual(self.route(table).rule, "rule 1")
            self.assertEqual(self.seen(table), [(True, f'{by} {text} is in map "m"')])

    def test_null_sender_and_no_login(self) -> None:
        """A notice would be taken for a stranger's mail."""
        self.lookup.entries = {"<>": ""}
        table = self.table(RuleSettings(via="tcp:there:25", senders=("map:m",)))
        self.assertEqual(self.route(table, sender=None).rule, "rule 1")
        table = self.table(RuleSettings(via="tcp:there:25", logins=("map:m",)))
        nobody = make_facts()
        self.assertEqual(self.route(table, nobody).rule, "")
        self.assertEqual(self.seen(table, nobody)[0], (False, "skipped: the client did not log in"))

    def test_with_other_conditions(self) -> None:
        """A map would let a rule decide that does not match; or be asked for nothing."""
        self.lookup.entries = {"jsmith@mindspring.com": ""}
        rule = RuleSettings(recipients=("map:m",), senders=("<>",), via="tcp:there:25")
        table = self.table(rule)
        self.assertEqual(self.route(table).rule, "")
        self.lookup.error = LookupFault("must not be asked")
        self.assertEqual(self.route(table).rule, "")
        self.assertEqual(
            self.seen(table)[0],
            (False, "skipped: sender Anna@rosse.example does not match <>"),
        )


class ViaTests(MapCase):
    def test_way(self) -> None:
        """A next hop could not be kept in a map."""
        table = self.table(RuleSettings(name="ways", via="map:m", tls="require"))
        self.assertEqual(self.route(table).rule, "")
        self.assertEqual(
            self.seen(table)[0],
            (False, 'skipped: recipient jsmith@mindspring.com is not in map "m"'),
        )
        self.lookup.entries["jsmith@mindspring.com"] = "mx  tcp:backup.example:25"
        route = self.route(table)
        self.assertEqual(
            [(hop.where, hop.tls) for hop in route.hops],
            [("mx:mindspring.com", "require"), ("tcp:backup.example:25", "require")],
        )
        ways = "mx, tcp:backup.example:25 with tls require"
        self.assertEqual(route.reason, f'rule "ways" matches: {ways} (map "m")')
        self.assertEqual(
            self.seen(table), [(True, 'recipient jsmith@mindspring.com is in map "m"')]
        )

    def test_sender_dependent(self) -> None:
        """Each customer's mail could not take the customer's own smarthost."""
        self.lookup.entries["anna@rosse.example"] = "tcp:rosse.example:587"
        self.assertEqual(
            self.route(self.table(RuleSettings(via="map:m"), by="sender")).hops[0].where,
            "tcp:rosse.example:587",
        )
        route = self.route(self.table(RuleSettings(via="map:m"), by="login"))
        self.assertEqual(route.hops[0].where, "tcp:rosse.example:587")

    def test_other_actions(self) -> None:
        """A map could say less than a rule."""
        table = self.table(RuleSettings(via="map:m"), RuleSettings(via="reject:no"))
        for value, kind in [
            ("reject:moved far away", "Unroutable"),
            ("hold:look at this", "Hold"),
            ("redirect:$local@earthlink.net", "Redirect"),
            ("redirect:a@x.example redirect:b@x.example", "Redirect"),
            ("local", "Local"),
        ]:
            self.lookup.entries["jsmith@mindspring.com"] = value
            route = self.route(table)
            self.assertEqual((type(route).__name__, route.rule), (kind, "rule 1"))

    def test_released(self) -> None:
        """What an operator let go would be held again."""
        self.lookup.entries["jsmith@mindspring.com"] = "hold"
        facts = make_facts(known=Known(accepted=True, released=True))
        table = self.table(RuleSettings(via="map:m"))
        self.assertEqual(self.route(table, facts).rule, "")
        self.assertEqual(
            self.seen(table, facts)[0], (False, "skipped: an operator released the message")
        )

    def test_many_values(self) -> None:
        """A map with a value for each recipient would fill the memory."""
        table = self.table(RuleSettings(via="map:m"))
        for port in range(1, 1500):
            self.lookup.entries["jsmith@mindspring.com"] = f"tcp:there:{port}"
            self.assertEqual(self.route(table).hops[0].where, f"tcp:there:{port}")
        self.assertLess(len(table._rules[0]._ways), 1001)


class FaultTests(MapCase):
    def faults(self, reason: str, rule: RuleSettings) -> None:
        table = self.table(rule, RuleSettings(via="tcp:elsewhere:25"))
        route = self.route(table)
        self.assertEqual(str(route.reply)[:9], "451 4.3.0")
        self.assertEqual((route.reason, route.rule), (reason, "rule 1"))
        self.assertEqual(self.seen(table), [(True, reason)])

    def test_faults(self) -> None:
        """Mail would take another way, or be returned, while a database can't be asked."""
        for rule in (RuleSettings(via="map:m"), RuleSettings(recipients=("map:m",), via="mx")):
            self.lookup.error = LookupFault("the disk is full")
            self.faults('map "m" can\'t tell: the disk is full', rule)
            self.lookup.error = KeyError("x")
            self.faults('map "m" can\'t tell: it raised KeyError', rule)
            self.flushLoggedErrors(KeyError)

    def test_values_that_can_not_be_used(self) -> None:
        """A password would be given to whoever a map names."""
        secret = FilePath("/secret")
        login = RuleSettings(via="map:m", login="user", password_file=secret)
        for value, words, rule in [
            ("nonsense", "it is no endpoint", RuleSettings(via="map:m")),
            ("", "it is no endpoint", RuleSettings(via="map:m")),
            ("map:m", "can't name another one", RuleSettings(via="map:m")),
            ("mx", "whatever host DNS names", login),
            ("redirect:a@b.example", "goes by the", RuleSettings(via="map:m", tls="require")),
            ("mx", "needs an endpoint string", RuleSettings(via="map:m", protocol="lmtp")),
        ]:
            self.lookup.entries["jsmith@mindspring.com"] = value
            route = self.route(self.table(rule))
            self.assertTrue(route.reply.is_temporary)
            self.assertIn(f'map "m" says {value!a}', route.reason)
            self.assertIn(words, route.reason)


class SettingsTests(SynchronousTestCase):
    def write(self, text: str) -> FilePath:
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return FilePath(path)

    def site(self) -> Site:
        return attrs.evolve(make_site(state_dir=self.mktemp()), in_thread=execute)

    def test_mistakes(self) -> None:
        """A rule would silently never match."""
        path = FilePath("/x")
        for keys, words in [
            ({}, "found none of them"),
            ({"file": path, "regex": path}, "found file and regex"),
            ({"sqlite": path}, "'sqlite' is there without query"),
            ({"file": path, "query": "SELECT ?"}, "'query' is there without sqlite"),
            ({"file": path, "by": "moon"}, "moon"),
        ]:
            error = self.assertRaises(ValueError, MapSettings, name="m", **keys)
            self.assertIn(words, str(error))
        self.assertRaises(ValueError, MapSettings, name=" ", file=path)
        maps = (MapSettings(name="ways", file=path),)
        rules = (RuleSettings(recipients=("map:wayz",), via="mx"),)
        error = self.assertRaises(ValueError, TableSettings, rule=rules, map=maps)
        self.assertIn('there are: ways; did you mean "ways"?', error.args[0])
        error = self.assertRaises(ValueError, TableSettings, map=maps * 2)
        self.assertIn("two maps are named 'ways'", error.args[0])
        error = self.assertRaises(ValueError, RuleSettings, via="map:")
        self.assertIn("the name is missing", error.args[0])

    def test_built(self) -> None:
        """Maps as they stand in a configuration could not be used."""
        database = os.path.abspath(self.mktemp())
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE way (login TEXT, via TEXT)")
            connection.execute("INSERT INTO way VALUES ('anna@rosse.example', 'tcp:three:25')")
        query = "SELECT via FROM way WHERE login = ?"
        settings = TableSettings(
            map=(
                MapSettings(name="one", file=self.write("*@mindspring.com tcp:one:25")),
                MapSettings(name="two", regex=self.write(r"j(.*)@mindspring\.com tcp:\1:25")),
                MapSettings(name="three", by="login", sqlite=FilePath(database), query=query),
            ),
            rule=(
                RuleSettings(via="map:one", servers=("one",)),
                RuleSettings(via="map:two", servers=("two",)),
                RuleSettings(via="map:three"),
            ),
        )
        table = build(settings, self.site())
        for server, where in [("one", "one"), ("two", "smith"), ("mx", "three")]:
            facts = make_facts(client=make_client(server=server, login=str(ANNA)))
            asked = Deferred.fromCoroutine(table.route(ANNA, JSMITH, facts))
            route: Any = self.successResultOf(asked)
            self.assertEqual(route.hops[0].where.lower(), f"tcp:{where}:25")

    def test_values_of_a_file_are_read_at_the_start(self) -> None:
        """A slip in a map would be found out by the mail that it concerns."""
        maps = (MapSettings(name="m", file=self.write("*@x.example mx\n*@y.example tpc:a:25")),)
        rules = [RuleSettings(via="map:m")]
        error = self.assertRaises(ValueError, build_maps, maps, rules, Clock(), execute)
        self.assertIn("line 2: 'tpc:a:25' can't be used", error.args[0])
        rules = [RuleSettings(recipients=("map:m",), via="mx")]
        build_maps(maps, rules, Clock(), execute)

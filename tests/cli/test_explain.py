"""``mailframe explain``."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.names import dns
from twisted.names.error import DNSNameError

from mailframe import assembly
from mailframe.address import Address
from mailframe.delivery.tls_demand import TlsDemand, TlsDemands
from mailframe.outcome import Redirect
from mailframe.reply import Reply
from mailframe.routing import table
from mailframe.testing.fakes import FakeRouting
from tests.cli.commands import CommandCase

ANGELO = "angelo@rosse.example"
JSMITH = "jsmith@mindspring.com"


class Resolver:
    """DNS as these tests need it: two exchangers for one domain, and nothing else."""

    def lookupMailExchange(self, name: str, timeout: object = None) -> Any:
        if name != "mindspring.com":
            return fail(DNSNameError())
        records = [
            dns.RRHeader(name, dns.MX, dns.IN, 60, dns.Record_MX(preference, host))
            for preference, host in ((20, "mx2.mindspring.com"), (10, "mx1.mindspring.com"))
        ]
        return succeed((records, [], []))

    def lookupAddress(self, name: str, timeout: object = None) -> Any:
        addresses = {"mx1.mindspring.com": "198.51.100.1", "mx2.mindspring.com": "198.51.100.2"}
        if name not in addresses:
            return fail(DNSNameError())
        record = dns.RRHeader(name, dns.A, dns.IN, 60, dns.Record_A(addresses[name]))
        return succeed(([record], [], []))

    def lookupText(self, name: str, timeout: object = None) -> Any:
        return fail(DNSNameError())

    def lookupIPV6Address(self, name: str, timeout: object = None) -> Any:
        return succeed(([], [], []))


class ExplainCase(CommandCase):
    """A configuration with one account, and DNS in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(assembly, "make_resolver", lambda *_: Resolver())
        # documentation addresses, which an exchanger must not have in earnest
        self.configure("[queue]", "[relay]\nallow_private = true\n\n[queue]")
        self.add_account()

    def explain(self, *arguments: str, server: str = "mx", status: int = 0) -> Any:
        return self.document(
            "explain", "--server", server, "--from-ip", "192.0.2.1", *arguments, status=status
        )


class Decisions(ExplainCase):
    """Each kind of decision."""

    def test_local(self) -> None:
        """Nobody could see that mail for a mailbox here is taken from anyone."""
        document = self.explain(JSMITH, ANGELO)
        self.assertIs(document["authorised"], True)
        self.assertTrue(document["authorisation"]["reason"])
        self.assertEqual(document["route"]["kind"], "local")
        self.assertEqual(document["route"]["mailbox"], ANGELO)
        self.assertEqual(document["route"]["plugin"], "table")
        self.assertEqual(document["route"]["hosts"], [])
        self.assertEqual(document["client"]["address"], "192.0.2.1")

    def test_relay_refused(self) -> None:
        """A provider could not see why a stranger is refused."""
        document = self.explain("x@blu.example", JSMITH, status=1)
        self.assertIs(document["authorised"], False)
        self.assertEqual(document["authorisation"]["plugin"], "providers")
        self.assertTrue(document["authorisation"]["reply"].startswith("5"))
        self.assertEqual(document["route"]["kind"], "relay")

    def test_relay(self) -> None:
        """A provider could not see which way a customer's mail would take."""
        document = self.explain("--login", ANGELO, ANGELO, JSMITH, server="submission")
        self.assertIs(document["authorised"], True)
        self.assertEqual(document["authorisation"]["provider"], "rosse")
        route = document["route"]
        self.assertEqual(route["kind"], "relay")
        self.assertEqual(route["hosts"], ["mx1.mindspring.com", "mx2.mindspring.com"])
        (hop,) = route["hops"]
        self.assertEqual(hop["tls"], "opportunistic")
        self.assertEqual(
            hop["servers"][0],
            {
                "host": "mx1.mindspring.com",
                "address": "198.51.100.1",
                "port": 25,
                "source": None,
                "helo": None,
                "tls": {
                    "policy": "opportunistic",
                    "reason": "nobody asks for more",
                    "names": [],
                    "tried_out": False,
                    "reply": None,
                },
            },
        )
        self.assertEqual(document["retry"]["first_attempts"][:3], [0.0, 900.0, 1800.0])
        self.assertEqual(document["retry"]["warn_after"], 14400.0)

    def test_rule(self) -> None:
        """Nobody could see which rule sends mail through a smarthost."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nrecipients = ["*@mindspring.com"]\nvia = "tcp:127.0.0.1:2600"\n'
            'tls = "none"\n\n[queue]',
        )
        document = self.explain("--login", ANGELO, ANGELO, JSMITH, server="submission")
        self.assertEqual(document["route"]["hosts"], ["tcp:127.0.0.1:2600"])
        self.assertTrue(document["route"]["rule"])
        self.assertEqual(document["route"]["hops"][0]["tls"], "none")

    def test_refused_for_a_provider(self) -> None:
        """The explanation of a refusal by provider says that its rule was passed over."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nname = "closed"\nproviders = ["rosse"]\n'
            'via = "reject:not for rosse"\n\n[queue]',
        )
        asked = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*asked, server="submission", status=1)
        self.assertEqual(document["authorisation"]["rule"], "closed")
        self.assertEqual(document["destinations"][0]["route"]["kind"], "reject")
        (rule,) = document["destinations"][0]["rules"]
        self.assertEqual((rule["rule"], rule["matches"]), ("closed", True))

    def test_rules(self) -> None:
        """Nobody could see why an earlier rule did not decide."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nname = "bounces"\nsenders = ["<>"]\nvia = "mx"\n'
            '[[routing.rule]]\nname = "large"\nproviders = ["rosse"]\nsize = ">1MB"\n'
            'via = "tcp:127.0.0.1:2600"\n\n[queue]',
        )
        asked = ("--login", ANGELO, "--size", "2MB", ANGELO, JSMITH)
        document = self.explain(*asked, server="submission")
        self.assertEqual(
            document["destinations"][0]["rules"],
            [
                {
                    "rule": "bounces",
                    "matches": False,
                    "reason": f"skipped: sender {ANGELO} does not match <>",
                },
                {
                    "rule": "large",
                    "matches": True,
                    "reason": "provider rosse is among rosse; size 2000000 is >1MB",
                },
            ],
        )
        self.assertEqual(document["destinations"][0]["route"]["rule"], "large")
        document = self.explain("--login", ANGELO, ANGELO, JSMITH, server="submission")
        self.assertEqual(
            [each["reason"] for each in document["destinations"][0]["rules"][1:]],
            [
                "skipped: the size is not known yet",
                "no rule matches: to its mail exchangers",
            ],
        )
        arguments = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *asked)
        text = self.run_here(*arguments).stdout
        self.assertIn(f"bounces: skipped: sender {ANGELO} does not match <>", text)
        result = self.run_here(*arguments[:-4], "--size", "big", ANGELO, JSMITH, status=2)
        self.assertIn("64KB", result.stderr)

    def test_unknown_names_in_rules(self) -> None:
        """A rule that names a server by a slip would never match, and nobody be told."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nservers = ["submision"]\nproviders = ["ross"]\nvia = "mx"\n\n'
            "[queue]",
        )
        result = self.run_here(
            *("explain", "--server", "mx", "--from-ip", "192.0.2.1", JSMITH, ANGELO), status=2
        )
        self.assertIn('there is no [[server]] named "submision"', result.stderr)
        self.assertIn('did you mean "submission"?', result.stderr)
        self.assertIn('no [[authorisation.provider]] named "ross"', result.stderr)
        self.assertIn('did you mean "rosse"?', result.stderr)

    def test_forwarded(self) -> None:
        """Nobody could see with which reverse-path mail is sent on, and where its bounces go."""
        with open(self.path("srs.secret"), "w") as file:
            file.write("0123456789abcdef")
        self.configure(
            "[queue]",
            '[routing.srs]\ndomain = "rosse.example"\nsecret_file = "srs.secret"\n\n[queue]',
        )
        self.run_here("account", "alias", "@rosse.example", JSMITH)
        arguments = ("explain", "--server", "mx", "--from-ip", "192.0.2.1")
        document = self.explain("a@blu.example", "who+x@rosse.example")
        route = document["destinations"][0]["route"]
        self.assertTrue(route["reverse_path"].endswith("=blu.example=a@rosse.example"))
        self.assertIn("catches all", document["aliases"][0]["reason"])
        text = self.run_here(*arguments, "a@blu.example", "who+x@rosse.example").stdout
        self.assertIn(f"sender told  {route['reverse_path']}", text)
        document = self.explain("<>", route["reverse_path"], status=1)  # no such domain
        self.assertEqual(document["route"]["addresses"], ["a@blu.example"])
        self.assertEqual(document["aliases"][0]["rules"][0]["rule"], "srs")
        forged = self.explain("<>", f"x{route['reverse_path']}", status=0)
        self.assertEqual(forged["aliases"][0]["rule"], "alias")
        forged = self.explain("<>", "SRS0=a=bb=c.example=d@rosse.example", status=1)
        self.assertEqual(forged["route"]["rule"], "srs")

    def test_reject(self) -> None:
        """A recipient that is refused would look like one that is not explained."""
        document = self.explain(JSMITH, "nobody@rosse.example", status=1)
        self.assertIs(document["authorised"], False)
        self.assertEqual(document["route"]["kind"], "reject")
        self.assertTrue(document["route"]["reply"].startswith("550 5.1.1"))

    def test_no_such_domain(self) -> None:
        """A mistyped domain would look well."""
        document = self.explain(
            "--login", ANGELO, ANGELO, "x@nowhere.example", server="submission", status=1
        )
        self.assertIs(document["authorised"], True)
        self.assertEqual(document["route"]["hosts"], [])
        self.assertTrue(document["route"]["hops"][0]["reply"].startswith("5"))

    def test_aliases(self) -> None:
        """Nobody could see where mail for an alias ends up."""
        self.run_here("account", "alias", "info@rosse.example", "team@rosse.example")
        self.run_here("account", "alias", "team@rosse.example", ANGELO, JSMITH)
        document = self.explain(JSMITH, "info@rosse.example")
        self.assertEqual(document["route"]["kind"], "redirect")
        self.assertEqual(document["route"]["addresses"], ["team@rosse.example"])
        self.assertEqual(
            [(step["address"], step["addresses"]) for step in document["aliases"]],
            [
                ("info@rosse.example", ["team@rosse.example"]),
                ("team@rosse.example", [ANGELO, JSMITH]),
            ],
        )
        self.assertEqual(
            [(each["address"], each["route"]["kind"]) for each in document["destinations"]],
            [(ANGELO, "local"), (JSMITH, "relay")],
        )

    def test_loop(self) -> None:
        """Mail that bounces for its aliases would be explained as mail that arrives."""
        angelo, info, team = map(
            Address.parse, (ANGELO, "info@rosse.example", "team@rosse.example")
        )
        # an accounts file that leads back to itself is refused, but a policy may do so
        policy = FakeRouting(
            {
                info: Redirect(addresses=(team, angelo), reason="so"),
                team: Redirect(addresses=(angelo, info), reason="so"),
            }
        )
        self.patch(table, "build", lambda _settings, _site: policy)
        document = self.explain(JSMITH, "info@rosse.example", status=1)
        self.assertIs(document["authorised"], True)
        routes = {each["address"]: each["route"] for each in document["destinations"]}
        self.assertEqual(sorted(routes), [ANGELO, "team@rosse.example"])
        self.assertEqual(routes[ANGELO]["kind"], "local")
        self.assertTrue(routes["team@rosse.example"]["reply"].startswith("554 5.4.6"))
        self.assertEqual([step["address"] for step in document["aliases"]], ["info@rosse.example"])

    def test_part_that_bounces(self) -> None:
        """An alias with one dead target would look well."""
        self.run_here("account", "alias", "info@rosse.example", ANGELO, "nobody@rosse.example")
        self.explain(JSMITH, "info@rosse.example", status=1)

    def test_null_sender(self) -> None:
        """The way of a bounce could not be explained."""
        self.assertIsNone(self.explain("<>", ANGELO)["sender"])

    def test_mapped_address(self) -> None:
        """A client would be judged by another address than the server sees."""
        document = self.document(
            "explain", "--server", "mx", "--from-ip", "::ffff:192.0.2.7", JSMITH, ANGELO
        )
        self.assertEqual(document["client"]["address"], "192.0.2.7")

    def test_nothing_is_kept(self) -> None:
        """Asking would change the queue."""
        self.explain(JSMITH, ANGELO)
        self.assertEqual(self.document("queue", "list"), {"messages": []})


class Text(ExplainCase):
    """What a person reads."""

    def test_text(self) -> None:
        """A person would have to read JSON."""
        self.run_here("account", "alias", "info@rosse.example", ANGELO, JSMITH)
        arguments = ("explain", "--server", "mx", "--from-ip", "192.0.2.1")
        text = self.run_here(*arguments, "<>", "info@rosse.example").stdout
        for words in (
            "authorised  yes",
            f"info@rosse.example stands for {ANGELO}, {JSMITH}",
            f"into the mailbox {ANGELO}",
            "mx1.mindspring.com [198.51.100.1]:25",
            "every 15m, a warning after 4h, given up after 5d",
        ):
            self.assertIn(words, text)
        text = self.run_here(*arguments, "<>", "nobody@rosse.example", status=1).stdout
        self.assertIn("nowhere: 550 5.1.1", text)
        text = self.run_here(*arguments, "a@x.example", "b@nowhere.example", status=1).stdout
        self.assertIn("authorised  no", text)

    def test_unknown_login(self) -> None:
        """A mistyped login would be explained as if somebody could have it."""
        result = self.run_here(
            *("explain", "--server", "submission", "--from-ip", "192.0.2.1"),
            *("--login", "angleo@rosse.example", ANGELO, ANGELO),
        )
        self.assertIn("no account", result.stderr)

    def test_misuse(self) -> None:
        """A wrong call would end in a traceback."""
        for server, ip, words in (
            ("mxx", "192.0.2.1", "did you mean 'mx'"),
            ("pop", "192.0.2.1", "speaks pop3"),
            ("mx", "192.0.2.300", "not an IP address"),
        ):
            result = self.run_here(
                *("explain", "--server", server, "--from-ip", ip, JSMITH, ANGELO), status=2
            )
            self.assertIn(words, result.stderr)
        base = ("explain", "--server", "mx", "--from-ip", "192.0.2.1")
        self.run_here(*base, "x", ANGELO, status=2)
        self.run_here(*base, JSMITH, "x", status=2)
        self.run_here(*base, "--login", "x", JSMITH, ANGELO, status=2)


class Servers(ExplainCase):
    """What is said of the servers that mail goes to."""

    def test_limits(self) -> None:
        """Nobody could see what keeps mail from going out faster, or which table says so."""
        self.configure(
            "allow_private = true\n",
            'allow_private = true\n[[relay.shaping]]\nname = "gently"\n'
            'destinations = ["mindspring.com"]\nconnections = 3\nrecipients = 10\n'
            'rate = "100/1m"\nconnection_rate = "5/1m"\n'
            '[[relay.shaping]]\nname = "each"\nproviders = ["rosse"]\nrate = "9/1h"\n'
            '[[relay.shaping]]\nname = "others"\nproviders = ["blu"]\nrate = "1/1h"\n',
        )
        self.configure(
            "[routing]",
            '[[authorisation.provider]]\nname = "blu"\naccounts = ["*@blu.example"]\n\n[routing]',
        )
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        (hop,) = document["route"]["hops"]
        limits = hop["limits"]
        self.assertEqual(limits["connections"], {"most": 3, "table": "gently"})
        self.assertEqual(limits["first_connections"], 3)
        self.assertEqual(limits["messages_per_connection"], {"most": 100, "table": ""})
        self.assertEqual(limits["recipients"], {"most": 10, "table": "gently"})
        self.assertEqual(
            [(rate["rate"], rate["what"], rate["table"]) for rate in limits["rates"]],
            [
                ("100/1m", "messages", "gently"),
                ("9/1h", "messages", "each"),
                ("5/1m", "connections", "gently"),
            ],
        )
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        text = self.run_here(*asked).stdout
        self.assertIn("3 connections at once (gently), 3 at first", text)
        self.assertIn("10 recipients at once (gently)", text)
        self.assertIn("100/1m messages (gently), for each destination", text)
        self.assertIn("9/1h messages (each), for each provider", text)

    def test_attempts(self) -> None:
        """Nobody could see when mail that goes a certain way is tried again."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nrecipients = ["*@mindspring.com"]\nvia = "mx"\n'
            'retry = { first = "1m", factor = 2, longest = "4m", jitter = 0.2 }\n\n[queue]',
        )
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        retry = document["destinations"][0]["retry"]
        self.assertEqual(retry["first_attempts"][:5], [0.0, 60.0, 180.0, 420.0, 660.0])
        self.assertEqual(
            retry["waits"], {"first": 60.0, "factor": 2, "longest": 240.0, "jitter": 0.2}
        )
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        text = self.run_here(*asked).stdout
        self.assertIn("retried      after 1m, 3m, 7m, 11m, 15m and so on", text)
        self.assertIn("up to 20% earlier by chance", text)
        self.configure('give_up_after = "5d"', 'give_up_after = "0s"')
        self.configure('warn_after    = "4h"', 'warn_after    = "0s"')
        self.assertNotIn("and so on", self.run_here(*asked).stdout)

    def test_limits_now(self) -> None:
        """What a running server has learned of a destination would stay its secret."""
        hop = {
            "where": "mx:mindspring.com",
            "tls": "opportunistic",
            "protocol": "smtp",
            "connections": 1,
            "most": 20,
            "in_use": 1,
            "waiting": 7,
            "left_alone_until": time.time() + 60,
            "reason": "451 4.4.1 no answer",
            "rates": {"100/1m messages (gently)": 12},
        }
        os.makedirs(self.path("state/relay"), exist_ok=True)
        with open(self.path(f"state/relay/{os.getpid()}.json"), "w") as file:
            other = {**hop, "tls": "verify"}
            json.dump({"pid": os.getpid(), "written": time.time(), "hops": [hop, other]}, file)
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        (now,) = document["route"]["hops"][0]["limits"]["now"]
        self.assertEqual(now["process"], os.getpid())
        self.assertEqual((now["connections"], now["in_use"], now["waiting"]), (1, 1, 7))
        self.assertEqual(now["reason"], "451 4.4.1 no answer")
        self.assertEqual(now["rates"], [{"limit": "100/1m messages (gently)", "room": 12}])
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        text = self.run_here(*asked).stdout
        self.assertIn("1 of 20 connections, 1 in use, 7 messages waiting", text)
        self.assertIn(f"left alone until {now['left_alone_until']}: 451 4.4.1 no answer", text)
        self.assertIn("room for 12: 100/1m messages (gently)", text)

    def test_source(self) -> None:
        """Nobody could see from which address mail goes out, and under which name."""
        self.configure(
            "allow_private = true\n",
            'allow_private = true\n[[relay.source]]\naddress = "192.0.2.7"\n'
            'hostname = "out.rosse.example"\n',
        )
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        server = document["route"]["hops"][0]["servers"][0]
        self.assertEqual((server["source"], server["helo"]), ("192.0.2.7", "out.rosse.example"))
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        self.assertIn(
            "[198.51.100.1]:25, from 192.0.2.7 as out.rosse.example", self.run_here(*asked).stdout
        )

    def test_tls(self) -> None:
        """Nobody could see who asks for TLS, and what happens where it can't be had."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nrecipients = ["*@mindspring.com"]\nvia = "mx"\ntls = "verify"\n\n'
            "[queue]",
        )
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        tls = document["route"]["hops"][0]["servers"][0]["tls"]
        self.assertEqual(tls["policy"], "verify")
        self.assertEqual(tls["reason"], "the route asks for it")
        self.assertEqual(tls["names"], ["mx1.mindspring.com"])
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        self.assertIn("tls verify: the route asks for it", self.run_here(*asked).stdout)

    def test_refused_by_policy(self) -> None:
        """A server that is passed over would look as if it were tried."""
        demand = TlsDemand(
            policy="verify",
            reason="MTA-STS of mindspring.com, mode enforce",
            refusal=Reply(451, "4.7.5", "not among the exchangers that it names"),
        )

        async def of(*_: object) -> TlsDemand:
            return demand

        self.patch(TlsDemands, "of", of)
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*arguments, server="submission")
        tls = document["route"]["hops"][0]["servers"][0]["tls"]
        self.assertEqual(tls["reply"], "451 4.7.5 not among the exchangers that it names")
        asked = ("explain", "--server", "submission", "--from-ip", "192.0.2.1", *arguments)
        text = self.run_here(*asked).stdout
        self.assertIn("tls verify: MTA-STS of mindspring.com, mode enforce", text)
        self.assertIn("451 4.7.5 not among", text)

"""``mailframe explain``."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from twisted.internet.defer import succeed
from twisted.names import dns

from mailframe.address import Address
from mailframe.outcome import Redirect
from mailframe.routing import table
from mailframe.testing.fakes import FakeRouting
from tests.cli.explaining import ANGELO, JSMITH, ExplainCase, Resolver


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

    def test_what_is_known_at_the_attempt(self) -> None:
        """Mail that is taken and then returned would be said to arrive: a rule for a provider's
        customers is passed over for good once the client was let in as nobody's."""
        self.configure(
            "[queue]",
            '[[routing.rule]]\nname = "blu"\nproviders = ["rosse"]\nvia = "tcp:127.0.0.1:2600"\n'
            f'[[routing.rule]]\nname = "closed"\nrecipients = ["{ANGELO}"]\n'
            'via = "reject:closed"\n\n[queue]',
        )
        document = self.explain(JSMITH, ANGELO, status=1)
        self.assertIs(document["authorised"], True)
        self.assertEqual(document["route"]["reply"], "550 5.7.1 closed")

    def test_too_big(self) -> None:
        """A message whose size the server refuses at MAIL would be said to be taken."""
        self.configure("[queue]", '[limits]\nmessage_size = "10MB"\n\n[queue]')
        self.explain("--size", "10MB", JSMITH, ANGELO)
        document = self.explain("--size", "11MB", JSMITH, ANGELO, status=1)
        self.assertIs(document["authorised"], False)
        self.assertEqual(document["authorisation"]["reply"], "552 5.3.4 the message is too big")
        self.assertIn("message_size is 10000000", document["authorisation"]["reason"])

    def test_postmaster(self) -> None:
        """The one address that needs no domain could not be asked about (RFC 5321 §4.5.1)."""
        self.run_here("account", "alias", "postmaster@rosse.example", ANGELO)
        document = self.explain("<>", "Postmaster")
        self.assertEqual(document["recipient"], "postmaster@rosse.example")
        self.assertEqual(document["aliases"][0]["addresses"], [ANGELO])

    def test_lmtp(self) -> None:
        """Nobody could see what becomes of mail that is handed over by LMTP."""
        self.configure(
            "[accounts]",
            '[[server]]\nname = "in"\nprotocol = "lmtp"\nlisten = "tcp:24"\n\n[accounts]',
        )
        self.assertIs(self.explain(JSMITH, ANGELO, server="in")["authorised"], True)
        self.assertIs(self.explain(JSMITH, JSMITH, server="in", status=1)["authorised"], False)

    def test_program(self) -> None:
        """Nobody could see what becomes of the mail of programs on this machine."""
        self.configure(
            "[queue]", '[[routing.rule]]\nservers = ["local"]\nvia = "tcp:127.0.0.1:26"\n\n[queue]'
        )
        asked = ("explain", "--server", "local")
        document = self.document(*asked, ANGELO, JSMITH)
        self.assertEqual(document["client"]["protocol"], "local")
        self.assertIn("a program on this machine", document["authorisation"]["reason"])
        self.assertEqual(document["route"]["rule"], "rule 1")
        self.configure("tcp:127.0.0.1:26", "reject:no")
        self.assertIs(self.document(*asked, ANGELO, JSMITH, status=1)["authorised"], False)
        self.run_here("send", "-f", ANGELO, JSMITH, status=1, stdin="x: y\n\n")
        result = self.run_here(*asked, "--from-ip", "127.0.0.1", ANGELO, JSMITH, status=2)
        self.assertIn("no --from-ip", result.stderr)

    def test_waits_for_hours(self) -> None:
        """Mail that waits for a rule's hours would be said to be tried at once, and then again."""
        now = time.time()
        opens = time.gmtime(now + 12 * 3600)
        hours = f"{time.strftime('%H:00', opens)}-{time.strftime('%H:01', opens)} UTC"
        self.configure(
            "[queue]",
            f'[[routing.rule]]\nhours = "{hours}"\noutside_hours = "wait"\nvia = "mx"\n\n[queue]',
        )
        asked = ("--login", ANGELO, ANGELO, JSMITH)
        document = self.explain(*asked, server="submission")
        at = document["route"]["not_before"]
        self.assertEqual(at, time.strftime("%Y-%m-%dT%H:00:00Z", opens))
        first, second, *_ = document["destinations"][0]["retry"]["first_attempts"]
        self.assertGreater(first, 10 * 3600)
        self.assertEqual(second - first, 900)
        text = self.run_here(
            *("explain", "--server", "submission", "--from-ip", "192.0.2.1", *asked)
        ).stdout
        self.assertRegex(text, f"tried +at {at}")
        self.assertIn("after 15m, 30m, 45m, 1h, 75m and so on", text)
        self.configure('plugin        = "sqlite"', 'plugin        = "sqlite"\ngive_up_after = "1h"')
        self.configure('\ngive_up_after = "5d"', "")
        document = self.explain(*asked, server="submission")
        self.assertEqual(document["destinations"][0]["retry"]["first_attempts"], [])

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
        """Asking as root would leave files that the server can't read, of policies say."""

        def policy(_self: Resolver, name: str, timeout: object = None) -> Any:
            text = dns.Record_TXT(b"v=STSv1; id=1;")
            return succeed(([dns.RRHeader(name, dns.TXT, dns.IN, 60, text)], [], []))

        self.patch(Resolver, "lookupText", policy)
        shutil.rmtree(self.path("state"))
        document = self.explain(ANGELO, JSMITH, status=1)
        (hop,) = document["route"]["hops"]
        self.assertIn("MTA-STS policy of mindspring.com", hop["servers"][0]["tls"]["reason"])
        self.assertFalse(os.path.exists(self.path("state")))


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
        ):
            self.assertIn(words, text)
        text = self.run_here(*arguments, JSMITH, "info@rosse.example").stdout
        self.assertIn("every 15m, a warning after 4h, given up after 5d", text)
        text = self.run_here(*arguments, "<>", "nobody@rosse.example", status=1).stdout
        self.assertIn("nowhere: 550 5.1.1", text)
        text = self.run_here(*arguments, "a@x.example", "b@nowhere.example", status=1).stdout
        self.assertIn("authorised  no", text)
        text = self.run_here(*arguments, "<>", "info@rosse.example").stdout
        self.assertIn("every 15m, given up after 5d", text)  # nobody is warned
        text = self.run_here(*arguments, "a@x.example", "b@nowhere.example", status=1).stdout
        self.assertIn("550 5.1.2", text)
        self.assertNotIn("retried", text)  # it is returned at once

    def test_login_at_a_smarthost(self) -> None:
        """A person would not see as whom mail is handed over."""
        with open(self.path("password"), "w") as file:
            file.write("secret words")
        self.configure(
            "[queue]",
            '[[routing.rule]]\nvia = "tcp:127.0.0.1:2600"\ntls = "verify"\nlogin = "rosse"\n'
            'password_file = "password"\n\n[queue]',
        )
        arguments = ("explain", "--server", "submission", "--from-ip", "192.0.2.1")
        text = self.run_here(*arguments, "--login", ANGELO, ANGELO, JSMITH).stdout
        self.assertIn("tcp:127.0.0.1:2600, smtp, tls verify, as rosse", text)
        self.assertNotIn("password", text)

    def test_no_password(self) -> None:
        """Mail would wait for a password that is not there, and nothing would say so beforehand."""
        path = self.path("password")
        self.configure(
            "[queue]",
            '[[routing.rule]]\nvia = ["tcp:127.0.0.1:2600", "tcp:127.0.0.2:2600"]\ntls = "verify"\n'
            'login = "rosse"\npassword_file = "password"\n\n[queue]',
        )
        arguments = ("--login", ANGELO, ANGELO, JSMITH)
        hops = self.explain(*arguments, server="submission")["route"]["hops"]
        missing = "451 4.3.5 the route's password is not configured well here"
        self.assertEqual([hop["reply"] for hop in hops], [missing, missing])
        self.assertEqual([len(hop["servers"]) for hop in hops], [1, 1])
        with open(path, "w") as file:
            file.write("secret words")
        hops = self.explain(*arguments, server="submission")["route"]["hops"]
        self.assertEqual([hop["reply"] for hop in hops], [None, None])

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

"""What ``mailframe explain`` says of the servers that mail goes to."""

from __future__ import annotations

import json
import os
import time

from mailframe.delivery.tls_demand import TlsDemand, TlsDemands
from mailframe.reply import Reply
from tests.cli.explaining import ANGELO, JSMITH, ExplainCase


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

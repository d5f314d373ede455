"""What ``mailframe explain`` shows a person."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli.explain_text import retries, verdict_fields, waits, way_fields

TABLE = {"reason": "a reason", "rule": "far", "plugin": "table"}
RULES = [
    {"rule": "near", "matches": False, "reason": "skipped: it is not far"},
    {"rule": "far", "matches": True, "reason": "it is far"},
]
RETRY = {
    "waits": {"first": 900.0, "factor": 1.0, "longest": 900.0, "jitter": 0.0},
    "warn_after": 14400.0,
    "give_up_after": 432000.0,
    "first_attempts": [0.0, 900.0, 1800.0],
}
LIMITS = {
    "connections": {"most": 20, "table": ""},
    "first_connections": 5,
    "messages_per_connection": {"most": 100, "table": ""},
    "recipients": None,
    "rates": [],
    "now": [],
}


def a_server(**changes: Any) -> dict[str, Any]:
    values = {
        "host": "mx.a.example",
        "address": "192.0.2.1",
        "port": 25,
        "source": None,
        "helo": None,
        "tls": None,
    }
    return values | changes


def a_hop(*servers: Any, **changes: Any) -> dict[str, Any]:
    values = {
        "where": "mx:a.example",
        "protocol": "smtp",
        "tls": "opportunistic",
        "login": None,
        "servers": list(servers),
        "reply": None,
    }
    return values | changes


def a_demand(**changes: Any) -> dict[str, Any]:
    values = {"policy": "verify", "reason": "it is wanted", "tried_out": False, "reply": None}
    return values | changes


def a_route(kind: str = "relay", *hops: Any, **changes: Any) -> dict[str, Any]:
    values = {
        "kind": kind,
        "hops": list(hops),
        "reverse_path": None,
        "not_before": None,
        "mailbox": None,
        "reply": None,
    }
    return TABLE | values | changes


class TextCase(SynchronousTestCase):
    """Fields."""

    def way(self, route: Any, **changes: Any) -> list[tuple[str, object]]:
        """What is shown of one destination, between its reason and its times."""
        destination = {"address": "a@a.example", "route": route, "rules": []}
        fields = way_fields({"aliases": [], "destinations": [destination | changes]})
        return list(fields)


class Verdicts(TextCase):
    """Whether mail is taken."""

    def test_taken(self) -> None:
        """A person would not see why mail is taken, or who pays for it."""
        verdict = TABLE | {"provider": "rosse", "reply": None}
        self.assertEqual(
            list(verdict_fields({"authorised": True, "authorisation": verdict})),
            [
                ("authorised", "yes"),
                ("because", "a reason (table far)"),
                ("customer of", "rosse"),
            ],
        )

    def test_refused(self) -> None:
        """A person would not see what a refused client is told."""
        verdict = TABLE | {"provider": None, "reply": "550 5.7.1 no"}
        self.assertEqual(
            list(verdict_fields({"authorised": False, "authorisation": verdict})),
            [("authorised", "no"), ("because", "a reason (table far)"), ("told", "550 5.7.1 no")],
        )


class Ways(TextCase):
    """Where mail goes."""

    def test_ends(self) -> None:
        """A person would not see where mail ends up."""
        for route, goes in (
            (a_route("local", mailbox="a@a.example"), "into the mailbox a@a.example"),
            (a_route("reject", reply="550 5.1.1 nobody"), "nowhere: 550 5.1.1 nobody"),
            (a_route("hold"), "nowhere, until an operator releases it from the queue"),
        ):
            self.assertEqual(
                self.way(route, retry=RETRY),
                [("mail for", "a@a.example"), ("goes", goes), ("because", "a reason (table far)")],
            )

    def test_steps(self) -> None:
        """A person would not see by which aliases and redirects mail gets there, or which rules
        were passed over."""
        steps = [
            TABLE | {"address": "a@x.example", "addresses": ["b@x.example"], "rules": RULES},
            TABLE
            | {"address": "b@x.example", "addresses": ["c@x.example", "d@x.example"]}
            | {"rule": "alias", "rules": []},
        ]
        self.assertEqual(
            list(way_fields({"aliases": steps, "destinations": []})),
            [
                ("redirect", "from a@x.example to b@x.example"),
                ("because", "a reason (table far)"),
                ("rules", "near: skipped: it is not far"),
                ("", "far: it is far"),
                ("alias", "b@x.example stands for c@x.example, d@x.example"),
                ("because", "a reason (table alias)"),
            ],
        )

    def test_servers(self) -> None:
        """A person would not see which servers are tried, what is asked of them, or by whom."""
        hop = a_hop(
            a_server(source="192.0.2.9", helo="out.rosse.example", tls=a_demand(tried_out=True)),
            a_server(source="192.0.2.9", tls=a_demand(policy="dane", reply="451 4.7.5 no")),
            a_server(address=None, tls=a_demand()),
            limits=LIMITS,
        )
        shown = self.way(a_route("relay", hop, reverse_path="srs@x.example"))[3:]
        self.assertEqual(
            shown,
            [
                ("sender told", "srs@x.example"),
                ("next hop", "mx:a.example, smtp, tls opportunistic"),
                ("", "mx.a.example [192.0.2.1]:25, from 192.0.2.9 as out.rosse.example"),
                ("", "    tls verify: it is wanted, which is only tried out"),
                ("", "mx.a.example [192.0.2.1]:25, from 192.0.2.9"),
                ("", "    TLS: it is wanted"),
                ("", "    451 4.7.5 no"),
                ("", "    tls verify: it is wanted"),
                ("limits", "20 connections at once, 5 at first"),
                ("", "100 messages over one connection"),
            ],
        )

    def test_login(self) -> None:
        """A person would not see as whom mail is handed to a smarthost."""
        ((name, value),) = self.way(a_route("relay", a_hop(login="rosse")))[3:]
        self.assertEqual(name, "next hop")
        self.assertEqual(value, "mx:a.example, smtp, tls opportunistic, as rosse")


class Times(TextCase):
    """When mail is tried."""

    def times(self, *replies: str | None, not_before: str | None = None, **changes: Any) -> Any:
        hops = [a_hop(reply=reply) for reply in replies or (None,)]
        fields = self.way(a_route("relay", *hops, not_before=not_before), retry=RETRY | changes)
        names = [name for name, _ in fields]
        first = next((i for i, name in enumerate(names) if name in ("tried", "retried")), None)
        return [] if first is None else fields[first:]

    def test_retried(self) -> None:
        """A person would not see when mail that can't be delivered is tried again."""
        every = "every 15m, a warning after 4h, given up after 5d"
        self.assertEqual(
            self.times(),
            [("retried", "after 15m, 30m and so on, if each attempt fails"), ("", every)],
        )
        self.assertEqual(self.times(first_attempts=[0.0]), [("retried", every)])

    def test_not_open_yet(self) -> None:
        """A person would think that mail which waits for its hours is tried at once."""
        at = "2026-11-24T18:00:00Z"
        tried, retried, _ = self.times(not_before=at, first_attempts=[3600.0, 4500.0])
        self.assertEqual(tried, ("tried", f"at {at}"))
        self.assertEqual(retried, ("retried", "after 15m and so on, if each attempt fails"))
        (tried, _) = self.times(not_before=at, first_attempts=[])
        self.assertEqual(tried, ("tried", "never: it is given up before"))
        (tried, *_) = self.times(not_before=at, first_attempts=[0.0])
        self.assertEqual(tried, ("tried", f"at {at}"))

    def test_returned_at_once(self) -> None:
        """A person would think that mail which is returned at once is tried again and again."""
        self.assertEqual(self.times("550 5.1.2 no such domain"), [])
        self.assertEqual(len(self.times("550 5.1.2 no such domain", None)), 2)
        self.assertEqual(len(self.times("451 4.4.3 DNS is down")), 2)

    def test_waits(self) -> None:
        """A person would not see how the waits grow."""
        waiting = {"first": 60.0, "factor": 2.0, "longest": 3600.0, "jitter": 0.2}
        words = "after 1m, each wait 2 times the last, up to 1h, up to 20% earlier by chance"
        self.assertEqual(waits(waiting), words)
        document = {"waits": waiting, "warn_after": None, "give_up_after": 86400.0}
        self.assertEqual(retries(document), f"{words}, given up after 1d")

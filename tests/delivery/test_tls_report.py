"""Reports on TLS, as RFC 8460 has them."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.tls_counts import Counted
from mailframe.delivery.tls_report import report

DAY = "2026-11-23"
GOOD = Counted(
    day=DAY,
    kind="sts",
    domain="blu.example",
    lines=("version: STSv1", "mode: testing", "mx: *.blu.example", "max_age: 86400"),
    mx=("*.blu.example",),
)
EXPIRED = attrs.evolve(
    GOOD,
    result="certificate-expired",
    host="a.blu.example",
    address="192.0.2.1",
    reason="the certificate has expired",
)
NOT_FETCHED = attrs.evolve(GOOD, lines=(), mx=(), result="sts-policy-fetch-error")
PLAIN = Counted(day=DAY, kind="no-policy-found", domain="rosso.example")


class ReportTests(SynchronousTestCase):
    """The document of a day."""

    def test_report(self) -> None:
        """Whoever reads such reports by program could not read ours."""
        counts = {PLAIN: 7, EXPIRED: 2, GOOD: 40, NOT_FETCHED: 1}
        document = report(DAY, counts, hostname="mx.here.example")
        self.assertEqual(
            json.loads(json.dumps(document)),
            {
                "organization-name": "mx.here.example",
                "date-range": {
                    "start-datetime": "2026-11-23T00:00:00Z",
                    "end-datetime": "2026-11-23T23:59:59Z",
                },
                "contact-info": "postmaster@mx.here.example",
                "report-id": "2026-11-23_mx.here.example",
                "policies": [
                    {
                        "policy": {"policy-type": "sts", "policy-domain": "blu.example"},
                        "summary": {
                            "total-successful-session-count": 0,
                            "total-failure-session-count": 1,
                        },
                        "failure-details": [
                            {"result-type": "sts-policy-fetch-error", "failed-session-count": 1}
                        ],
                    },
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-domain": "blu.example",
                            "policy-string": list(GOOD.lines),
                            "mx-host": ["*.blu.example"],
                        },
                        "summary": {
                            "total-successful-session-count": 40,
                            "total-failure-session-count": 2,
                        },
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "receiving-mx-hostname": "a.blu.example",
                                "receiving-ip": "192.0.2.1",
                                "failed-session-count": 2,
                                "failure-reason-code": "the certificate has expired",
                            }
                        ],
                    },
                    {
                        "policy": {
                            "policy-type": "no-policy-found",
                            "policy-domain": "rosso.example",
                        },
                        "summary": {
                            "total-successful-session-count": 7,
                            "total-failure-session-count": 0,
                        },
                    },
                ],
            },
        )

    def test_nothing(self) -> None:
        """A day without mail would have no report that can be read."""
        self.assertEqual(report(DAY, {}, hostname="x.example")["policies"], [])

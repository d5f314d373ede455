"""The report on TLS of one day (RFC 8460 §4), made of what was counted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from mailframe.delivery.tls_counts import Counted

_Failure: TypeAlias = tuple[str, str, str, str]  # result, exchanger, its address, reason


def report(day: str, counts: Mapping[Counted, int], *, hostname: str) -> dict[str, Any]:
    """The report as RFC 8460 §4.4 has it.

    :param day: ``2026-11-23``, in UTC
    :param counts: what was counted on that day
    :param hostname: our own name, for which the report speaks
    """
    policies: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], dict[_Failure, int]] = {}
    for counted, number in counts.items():
        policy = counted.domain, counted.kind, counted.lines, counted.mx
        failure = counted.result, counted.host, counted.address, counted.reason
        policies.setdefault(policy, {})[failure] = number
    return {
        "organization-name": hostname,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": f"postmaster@{hostname}",
        "report-id": f"{day}_{hostname}",
        "policies": [_policy(*policy, policies[policy]) for policy in sorted(policies)],
    }


def _policy(
    domain: str,
    kind: str,
    lines: tuple[str, ...],
    mx: tuple[str, ...],
    numbers: Mapping[_Failure, int],
) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": kind, "policy-domain": domain}
    if lines:
        policy["policy-string"] = list(lines)
    if mx:
        policy["mx-host"] = list(mx)
    failures = {failure: number for failure, number in numbers.items() if failure[0]}
    told: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": sum(numbers.values()) - sum(failures.values()),
            "total-failure-session-count": sum(failures.values()),
        },
    }
    if failures:
        told["failure-details"] = [_failure(*each, failures[each]) for each in sorted(failures)]
    return told


def _failure(result: str, host: str, address: str, reason: str, number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"result-type": result}
    if host:
        told["receiving-mx-hostname"] = host
    if address:
        told["receiving-ip"] = address
    told["failed-session-count"] = number
    if reason:
        told["failure-reason-code"] = reason
    return told

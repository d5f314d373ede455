"""What ``mailframe check`` finds in the routing rules."""

from __future__ import annotations

from collections.abc import Iterator

from mailframe.cli.findings import Finding
from mailframe.delivery.addresses import is_loopback
from mailframe.delivery.targets import endpoint_parts
from mailframe.routing.via import parse_via
from mailframe.settings import Settings


def of_routing(settings: Settings) -> Iterator[Finding]:
    """Passwords that whoever answers could learn, or that are never given to anybody."""
    rules = getattr(settings.chosen["routing"].settings, "rule", ())
    for number, rule in enumerate(rules, start=1):
        if getattr(rule, "login", None) is None or rule.tls == "verify":
            continue
        exposed = [where for where in parse_via(rule.via).where if not _is_safe(where)]
        if not exposed:
            continue
        first = exposed[0]
        if rule.tls == "none" and not first.startswith("ssl:"):
            message = f'sends no login to {first}: with tls = "none" it would go in clear'
        else:
            message = (
                f"gives the password of its login to whoever answers for {first}: "
                f'tls = "{rule.tls}" verifies no certificate'
            )
        yield Finding("warn", f"routing {rule.name or f'rule {number}'}", message, _mend(first))


def _is_safe(where: str) -> bool:
    """Whether nobody can stand between us and a server, or its certificate is verified anyway."""
    kind, host = endpoint_parts(where)
    return kind in ("unix", "tls") or host == "localhost" or is_loopback(host)


def _mend(where: str) -> str:
    if where.startswith("ssl:"):
        return "write tls: instead of ssl:"
    return 'set tls = "verify" for the rule'

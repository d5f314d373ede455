"""What ``mailframe check`` finds out from the configuration by itself."""

from __future__ import annotations

from collections.abc import Iterator

from mailframe.cli.findings import Finding
from mailframe.queue.schedule import Schedule
from mailframe.server.limits import Limits
from mailframe.settings import Settings
from mailframe.units import duration_text

# What every server has to take, by the limits that it may have on them.
_LEAST = {"recipients": 100, "command_line": 512, "data_line": 1000}


def of_settings(settings: Settings) -> Iterator[Finding]:
    """The configuration as a whole."""
    yield Finding("ok", "configuration", f"{settings.path} can be used")
    for problem in settings.problems:
        yield Finding("warn", "plugins", str(problem), "repair or uninstall the drop-in")
    if "." not in settings.hostname:
        yield Finding(
            "warn",
            "hostname",
            f"{settings.hostname} has no domain; many servers refuse mail from such a name",
            "set hostname to the full name that DNS has for this machine",
        )
    if not settings.local_domains:
        yield Finding(
            "warn",
            "local_domains",
            "is empty: no mail is delivered here",
            'name the domains, such as local_domains = ["rosse.example"]',
        )
    if not settings.servers:
        yield Finding("error", "server", "there is none: nothing is served", "add a [[server]]")
    yield from _of_schedule(settings.schedule)
    yield from _of_limits(settings.limits)
    for provider in getattr(settings.chosen["authorisation"].settings, "provider", ()):
        for network in getattr(provider, "networks", ()):
            if str(network).endswith("/0"):
                yield Finding(
                    "warn",
                    f"provider {provider.name}",
                    f"its network {network} is the whole world: this is an open relay",
                    "name the networks of its customers",
                )


def _of_schedule(schedule: Schedule) -> Iterator[Finding]:
    """Times that can't all hold."""
    give_up = duration_text(schedule.give_up_after)
    if schedule.warn_after >= schedule.give_up_after:
        yield Finding(
            "warn",
            "[queue]",
            f"warn_after ({duration_text(schedule.warn_after)}) is not before give_up_after "
            f"({give_up}): no sender is told of a delay",
            "make warn_after shorter, or 0 for no warnings",
        )
    key = "retry_every" if schedule.retry is None else "retry.first"
    if schedule.backoff.first > schedule.give_up_after:
        yield Finding(
            "warn",
            "[queue]",
            f"{key} ({duration_text(schedule.backoff.first)}) is longer than give_up_after "
            f"({give_up}): mail is tried twice and then given up",
            f"make {key} shorter",
        )


def _of_limits(limits: Limits) -> Iterator[Finding]:
    """Limits that others don't expect."""
    for key, least in _LEAST.items():
        if 0 < getattr(limits, key) < least:
            yield Finding(
                "warn",
                "[limits]",
                f"{key} is below {least}, which every server has to take (RFC 5321 §4.5.3.1)",
                f"make it {least} or more, or mail from others is refused",
            )

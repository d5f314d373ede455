"""What ``mailframe check`` finds in the shaping tables."""

from __future__ import annotations

from collections.abc import Iterator

from mailframe.cli.findings import Finding
from mailframe.delivery.bucket import Rate
from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.routing.via import parse_via
from mailframe.settings import Settings


def of_shaping(settings: Settings) -> Iterator[Finding]:
    """Tables that never match, or limit nothing, or less than they say."""
    hops = _hops(settings)
    for table in settings.relay.shaping:
        subject = f"shaping {table.name}"
        for pattern, text in zip(table.patterns, table.destinations or (), strict=False):
            message = _never(pattern, text, hops, settings)
            if message:
                yield Finding("warn", subject, message, "change destinations, or remove the table")
        yield from _without_effect(table, settings, subject)
        for rate in (table.rate, table.connection_rate):
            if rate is not None and Rate.parse(rate).count < settings.processes:
                yield Finding(
                    "warn",
                    subject,
                    f"allows {rate}, but each of {settings.processes} processes sends one",
                    "set a longer time, such as ten times as many in ten times as long",
                )


def _without_effect(table: ShapingTable, settings: Settings, subject: str) -> Iterator[Finding]:
    relay = settings.relay
    for key, most in (
        ("connections", relay.connections_per_destination),
        ("reuse_messages", relay.reuse_messages),
    ):
        value = getattr(table, key)
        if value is not None and value > most:
            whole = "connections_per_destination" if key == "connections" else key
            yield Finding(
                "warn",
                subject,
                f"{key} = {value} has no effect: [relay] {whole} = {most} is less",
                f"set [relay] {whole} to {value}, and less in other tables",
            )


def _never(pattern: str, text: str, hops: frozenset[str] | None, settings: Settings) -> str:
    """Why a pattern never matches, or nothing."""
    if hops is None:
        return ""
    if ":" in pattern and not pattern.startswith(("mx:", "[")):
        return "" if pattern in hops else f"no routing rule has {text!r} in via"
    domain = pattern.removeprefix("mx:")
    if domain in settings.local_domains and f"mx:{domain}" not in hops:
        return f"{text!r} is a local domain: its mail does not go to another server"
    return ""


def _hops(settings: Settings) -> frozenset[str] | None:
    """The next hops that routing rules name; ``None`` when they can't be told."""
    rules = getattr(settings.chosen["routing"].settings, "rule", None)
    if rules is None:
        return None
    ways = [parse_via(rule.via) for rule in rules]
    if any(way.kind == "map" for way in ways):
        return None
    return frozenset(where for way in ways for where in way.where)

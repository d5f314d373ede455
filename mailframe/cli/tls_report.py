"""``mailframe tls-report``: how sessions with other servers fared with TLS on a day."""

from __future__ import annotations

import sqlite3
import time
from datetime import date

import click

from mailframe.cli.addresses import DomainArgument
from mailframe.cli.options import Misuse, Refusal, config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.cli.parts import read_settings
from mailframe.delivery.tls_counts import CountFile, day_of
from mailframe.delivery.tls_report import report


@click.command("tls-report")
@config_option
@json_option
@click.option("--day", metavar="YYYY-MM-DD", help="A day in UTC, of the last two weeks [today].")
@click.option(
    "--domain", type=DomainArgument(), metavar="DOMAIN", help="Mail to this domain alone."
)
def tls_report(config: str, as_json: bool, day: str | None, domain: str | None) -> None:
    """Show how sessions with other servers fared with TLS.

    With --json it is a report as RFC 8460 has it.
    """
    settings = read_settings(config)
    try:
        day = date.fromisoformat(day).isoformat() if day else day_of(time.time())
    except ValueError:
        raise Misuse(f"--day {day!a} is not a day such as {day_of(time.time())}") from None
    try:
        counts = CountFile(settings.state_dir).of(day, domain)
    except (OSError, sqlite3.Error) as error:
        raise Refusal(f"the counts can't be read: {error}") from None
    if as_json:
        print_json(report(day, counts, hostname=settings.hostname))
        return
    print_table(
        ("domain", "policy", "sessions", "result", "exchanger", "why"),
        [
            (
                each.domain,
                each.kind,
                number,
                each.result or "ok",
                f"{each.host} [{each.address}]" if each.address else each.host,
                each.reason,
            )
            for each, number in sorted(
                counts.items(), key=lambda item: (item[0].domain, item[0].kind, item[0].result)
            )
        ],
    )

"""``mailframe check``: what is well, what is not, and what to mend."""

from __future__ import annotations

import datetime

import click

from mailframe.cli.authority_findings import of_authorities
from mailframe.cli.disk_findings import of_disks
from mailframe.cli.findings import (
    Finding,
    document,
    of_accounts,
    of_files,
    of_tls,
)
from mailframe.cli.map_findings import of_maps
from mailframe.cli.network_findings import of_name_servers, of_ports
from mailframe.cli.options import config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.cli.parts import read_settings
from mailframe.cli.queue_findings import of_queue
from mailframe.cli.relay_findings import of_sources
from mailframe.cli.routing_findings import of_routing
from mailframe.cli.settings_findings import of_settings
from mailframe.cli.shaping_findings import of_shaping
from mailframe.plugin import PluginError, load_builder
from mailframe.settings import Settings


@click.command()
@config_option
@json_option
def check(config: str, as_json: bool) -> None:
    """Examine configuration, accounts, certificates, DNS, ports, files, disks and the queue.

    The exit status is 1 when there is an error, and 2 when the file itself can't be used.
    """
    settings = read_settings(config)
    findings = list(examine(settings))
    if as_json:
        print_json(document(findings))
    else:
        print_table(
            ("", "what", "how it is", "what to do"),
            [(each.level, each.subject, each.message, each.mend) for each in findings],
        )
    if any(each.level == "error" for each in findings):
        raise click.exceptions.Exit(1)


def examine(settings: Settings) -> list[Finding]:
    """Everything there is to find."""
    now = datetime.datetime.now(datetime.UTC)
    return [
        *of_settings(settings),
        *of_parts(settings),
        *of_routing(settings),
        *of_shaping(settings),
        *of_accounts(settings),
        *of_tls(settings, now),
        *of_authorities(settings),
        *of_files(settings),
        *of_disks(settings),
        *of_maps(settings),
        *of_queue(settings),
        *of_ports(settings),
        *of_sources(settings),
        *of_name_servers(settings),
    ]


def of_parts(settings: Settings) -> list[Finding]:
    """Whether each chosen plugin can be loaded. None is built, for that may write files."""
    findings = []
    for seam, chosen in settings.chosen.items():
        try:
            load_builder(chosen.part)
        except PluginError as error:
            findings.append(Finding("error", seam, str(error), "install or repair the plugin"))
    return findings

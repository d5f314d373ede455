"""What ``mailframe check`` finds out about the addresses that mail is to go out from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

from mailframe.cli.findings import Finding
from mailframe.settings import Settings


def of_sources(settings: Settings) -> Iterator[Finding]:
    """Whether this machine has each ``[[relay.source]]``."""
    for source in settings.relay.source:
        subject = "relay.source" if source.name is None else f"relay.source {source.name}"
        try:
            _bind(source.address)
        except OSError as error:
            yield Finding(
                "error",
                subject,
                f"{source.address} can't be used: {error.strerror or error}",
                "give the address to an interface of this machine, or drop the table; until then "
                "mail that is to go out from it waits",
            )
        else:
            yield Finding("ok", subject, f"{source.address} is an address of this machine")


def _bind(address: str) -> None:
    """Try to have it for a connection.

    :raises OSError: it can't be done
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.bind((address, 0))

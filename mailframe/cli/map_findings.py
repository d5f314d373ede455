"""What ``mailframe check`` finds in the files and databases that routing uses."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from twisted.internet.defer import execute
from twisted.internet.task import Clock

from mailframe.cli.findings import Finding
from mailframe.routing.forwarding import Forwarding
from mailframe.routing.maps import build_map
from mailframe.routing.table import TableSettings
from mailframe.settings import Settings


def of_maps(settings: Settings) -> Iterator[Finding]:
    """Whether maps and the secret of SRS can be used, as at the start."""
    table = settings.chosen["routing"].settings
    if not isinstance(table, TableSettings):
        return
    for each in table.map:
        subject = f"map {each.name}"
        try:
            build_map(each, table.rule, Clock(), execute)
        except ValueError as error:
            yield Finding("error", subject, str(error), "mend it")
        else:
            yield Finding("ok", subject, "can be used")
    if table.srs is not None:
        try:
            Forwarding.build(table.srs, frozenset(settings.local_domains))
        except ValueError as error:
            yield Finding("error", "srs", str(error), "mend it")
            return
        mode = stat.S_IMODE(os.stat(table.srs.secret_file).st_mode)
        if mode & 0o077:
            yield Finding(
                "warn",
                "srs",
                f"others than its owner may read {table.srs.secret_file} (mode {mode:04o}): they "
                "could have this server carry mail as bounces",
                f"chmod 0600 {table.srs.secret_file}",
            )
        else:
            yield Finding("ok", "srs", f"reverse-paths of forwarded mail are in {table.srs.domain}")

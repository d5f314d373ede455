"""The server under test: a whole one, with real sockets, threads and files.

Started by `tests.crash.zygote` in a process of its own. Only what is not being proved here is
replaced: accounts and authorisation are in memory, so that a login costs nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, TextIO

import attrs
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from mailframe.address import Address
from mailframe.durability import Durability
from mailframe.queue.notices import NoticeSettings
from mailframe.queue.schedule import Schedule
from mailframe.service import START_ERRORS, MailServer
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation
from mailframe.units import Octets, Seconds

DOMAIN = "here.example"
MAILBOXES = ("ann", "bob", "cat")
SENDER = f"cat@{DOMAIN}"  # whom notices go to
PASSWORD = b"secret"


@attrs.frozen(kw_only=True)
class Place:
    """Where a server keeps its things and listens.

    :ivar disk: the folder of queue and mailboxes
    :ivar log: the file it logs to
    :ivar smtp: the port
    :ivar pop3: likewise
    :ivar sink: the port of the server that mail for elsewhere goes to
    """

    disk: str
    log: str
    smtp: int
    pop3: int
    sink: int


def make_server(place: Place, **arguments: Any) -> MailServer:
    """A server that keeps everything on the disk."""
    passwords = {Address.parse(f"{name}@{DOMAIN}"): PASSWORD for name in MAILBOXES}
    return MailServer(
        hostname=f"mx.{DOMAIN}",
        local_domains=(DOMAIN,),
        state_dir=f"{place.disk}/state",
        servers=[
            {
                "name": protocol,
                "protocol": protocol,
                "listen": f"tcp:{port}:interface=127.0.0.1",
            }
            for protocol, port in (("smtp", place.smtp), ("pop3", place.pop3))
        ],
        accounts=FakeAccounts(passwords),
        authorisation=FakeAuthorisation(),
        routing={
            "plugin": "table",
            "rule": [
                {
                    "recipients": ["*@far.example"],
                    "via": f"tcp:127.0.0.1:{place.sink}",
                    "tls": "none",
                }
            ],
        },
        durability=Durability(require_durable=False),  # processes are killed in memory as well
        queue={"plugin": "sqlite", "inline": Octets(20_000)},
        delivery={"plugin": "maildir", "path": f"{place.disk}/mail/{{mailbox}}"},
        schedule=Schedule(retry_every=Seconds(1.0)),
        notices=NoticeSettings(notices_per_sender=10**9),
        **arguments,
    )


def run(place: Place) -> None:
    """Serve until killed, or stopped by SIGTERM."""
    log_to(open(place.log, "a", encoding="utf-8", buffering=1))  # noqa: SIM115  # as long as the process
    from twisted.internet import reactor  # here and not before: each process has its own

    loop: Any = reactor
    server = make_server(place, reactor=loop)

    def start() -> None:
        try:
            server.startService()
        except START_ERRORS as error:
            print(f"can't start: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    signal.signal(signal.SIGTERM, lambda *_: loop.callFromThread(loop.stop))
    loop.callWhenRunning(start)
    loop.run(installSignalHandlers=False)


def log_to(file: TextIO) -> None:
    """Log what is worth a warning."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(file), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    sys.stdout = sys.stderr = file

"""The server under test in several processes: what users get who configure ``processes``.

Nothing in it is replaced; only a login is made cheap, and a worker that is killed soon after its
start is replaced as fast as others. The supervising process is forked by `tests.crash.zygote` and
leads a process group. Its workers are forked by it where they would be programs otherwise: they do
all that such a program does, but for importing what they need.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from typing import Any, NoReturn

import twisted.internet
from argon2 import PasswordHasher
from twisted.internet import process
from twisted.logger import LogBeginner, globalLogPublisher

from mailframe.settings import from_text
from mailframe.workers import place as workers_place
from mailframe.workers import worker
from mailframe.workers.supervisor import Supervisor
from tests.crash.server import DOMAIN, MAILBOXES, PASSWORD, Place, log_to

PROCESSES = 2

CONFIGURATION = """
hostname = "mx.{domain}"
local_domains = ["{domain}"]
state_dir = "{place.disk}/state"
processes = {processes}

[[server]]
name = "smtp"
protocol = "smtp"
listen = "tcp:{place.smtp}:interface=127.0.0.1"

[[server]]
name = "pop3"
protocol = "pop3"
listen = "tcp:{place.pop3}:interface=127.0.0.1"

[accounts]
plugin = "file"
path = "{place.log}.accounts"

[authorisation]
plugin = "providers"

[[authorisation.provider]]
name = "here"
networks = ["127.0.0.0/8"]
accounts = ["*@{domain}"]
customer = "either"

[routing]
plugin = "table"

[[routing.rule]]
recipients = ["*@far.example"]
via = "tcp:127.0.0.1:{place.sink}"
tls = "none"

[queue]
plugin = "sqlite"
require_durable = false
inline = 20000
retry_every = "1s"
notices_per_sender = 1000000000

[delivery]
plugin = "maildir"
path = "{place.disk}/mail/{{mailbox}}"
"""


def run(place: Place) -> None:
    """Serve until killed."""
    os.setpgid(0, 0)
    workers_place.STEADY = 0.0
    log_to(open(place.log, "a", encoding="utf-8", buffering=1))  # noqa: SIM115  # as long as the process
    process.Process._execChild = _be_a_worker  # type: ignore[method-assign]  # for good
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with open(f"{place.log}.accounts", "w", encoding="utf-8") as accounts:
        for name in MAILBOXES:
            accounts.write(f'[[account]]\naddress = "{name}@{DOMAIN}"\npassword = "{hashed}"\n')
    from twisted.internet import reactor  # here and not before: each process has its own

    loop: Any = reactor
    loop._neverUseSpawn = True
    text = CONFIGURATION.format(place=place, domain=DOMAIN, processes=PROCESSES)
    settings = from_text(text, f"{place.log}.toml")
    supervisor = Supervisor(
        settings=settings, text=text, on_failed=_fail, log_level="warn", reactor=loop
    )
    loop.callWhenRunning(supervisor.startService)
    loop.run()  # with signal handlers: it must learn of the end of workers


def _fail(reason: str) -> NoReturn:
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


_kept: list[object] = []  # what would close descriptors of others if it were freed


def _be_a_worker(*_: object) -> NoReturn:
    """Be a worker, in the process that was just forked to become another program.

    Its descriptors are those of a worker by now. Nothing of the supervising process goes on in it.
    """
    _kept.extend((twisted.internet.reactor, sys.stdout, sys.stderr))
    del sys.modules["twisted.internet.reactor"], twisted.internet.reactor
    gc.collect()
    gc.freeze()
    signal.set_wakeup_fd(-1)
    process.reapProcessHandlers.clear()
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  # as long as the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    for observer in tuple(globalLogPublisher._observers):
        globalLogPublisher.removeObserver(observer)
    beginner: Any = worker
    beginner.globalLogBeginner = LogBeginner(  # its own, as if at a start
        globalLogPublisher, sys.stderr, sys, warnings
    )
    try:
        worker.main()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(0)

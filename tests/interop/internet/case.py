"""The internet of the story, for tests: who is where, and how programs are started there.

============  =====================================================================================
client        Angelo's machine, in the network of his provider
provider      ``mx.demo.example``: our server, which takes his mail
carrier       a mail server in between
destination   the mail server of ``mindspring.example``
resolver      the provider's resolver, which everyone asks
root_server   the name server for the root and for ``example``
============  =====================================================================================

Each host has one IPv4 and one IPv6 address; the destination has several.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest

from tests.interop.exim import EximCase
from tests.interop.internet.hosts import SMTP as SMTP
from tests.interop.internet.hosts import Host, Internet, Place
from tests.interop.internet.names import RESOLVER, ROOT_SERVER, NamesCase
from tests.interop.opensmtpd import OpenSmtpdCase
from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import maildir
from tests.interop.relaying import RelayCase

ANYWHERE = "0.0.0.0"
DESTINATIONS = tuple(f"203.0.113.{n}" for n in range(1, 10))
ADDRESSES = {
    "client": ("192.0.2.130", "2001:db8:1::130"),
    "provider": ("192.0.2.1", "2001:db8:1::1"),
    "carrier": ("198.51.100.25", "2001:db8:2::25"),
    "destination": (*DESTINATIONS, "2001:db8:3::1"),
    "resolver": (RESOLVER,),
    "root_server": (ROOT_SERVER,),
}
RECORDS = (
    "demo MX 10 mx.demo",
    "mx.demo A 192.0.2.1",
    "mx.demo AAAA 2001:db8:1::1",
    "carrier MX 10 mx.carrier",
    "mx.carrier A 198.51.100.25",
    "mindspring MX 10 mx.mindspring",
    f"mx.mindspring A {DESTINATIONS[0]}",
)
CARRIED = '[[routing.rule]]\nname = "by the carrier"\nvia = "mx:carrier.example"\n'
CARRIED += 'recipients = ["*@*.example"]\n'
# Long enough for a server that answers on a busy machine, and short for one that is cut off.
PATIENCE = """
connect = "2s"
lookup = "2s"
greeting = "4s"
command = "2s"
data = "3s"
final = "6s"
"""
# What Postfix needs to try again as soon as our server does, and to relay for anyone.
POSTFIX = (
    "queue_run_delay = 1s",
    "minimal_backoff_time = 1s",
    "maximal_backoff_time = 1s",
    "smtp_connect_timeout = 2s",
    "smtp_helo_timeout = 2s",
    "smtp_mail_timeout = 2s",
    "smtp_rcpt_timeout = 2s",
    "smtp_data_init_timeout = 2s",
    "smtp_data_done_timeout = 2s",
    "smtp_connection_cache_on_demand = no",
    "mynetworks = 0.0.0.0/0",
)


class InternetCase(NamesCase, EximCase, OpenSmtpdCase, RelayCase):
    """A test in our internet, where the server of `MailframeCase` is the provider's.

    :cvar hosts: the addresses of each host, by its name
    :cvar records: lines of the zone ``example``
    """

    interface = ANYWHERE
    names = ("mx.demo.example", "192.0.2.1", "localhost", "127.0.0.1")
    hosts: ClassVar[Mapping[str, tuple[str, ...]]] = ADDRESSES
    records: tuple[str, ...] = RECORDS

    def setUp(self) -> None:
        super().setUp()
        self._host: Host | None = None
        self.sent: list[str] = []  # the names of the messages that `send` has sent
        self.smtp, self.submission, self.pop3 = SMTP, 587, 110
        self.need_root()
        self.program("ip", "iproute2")
        try:
            self.internet = Internet(**self.hosts)
        except OSError as error:
            raise SkipTest(f"no networks of our own here: {error}") from error
        self.addCleanup(self.internet.close)
        self.resolv = self.write("resolv.conf", f"nameserver {RESOLVER}\n", 0o644)
        with self.at("root_server"):
            self.start_root_server(*self.records)
        with self.at("resolver"):
            self.start_resolver()

    @contextmanager
    def at(self, name: str) -> Iterator[Host]:
        """Be at a host: what is started there asks its resolver."""
        before = self._host
        with self.internet.at(name) as host:
            self._host = host
            try:
                yield host
            finally:
                self._host = before

    def start(self, *command: str | Path, **options: object) -> subprocess.Popen[bytes]:
        """Start a program; at a host it asks the resolver of the internet."""
        return super().start(*self._resolving(command), **options)

    def run_program(
        self, *command: str | Path, input: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Likewise."""
        return super().run_program(*self._resolving(command), input=input, check=check)

    def _resolving(self, command: tuple[str | Path, ...]) -> tuple[str | Path, ...]:
        if self._host is None or "python" in Path(command[0]).name:
            return command
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, self.resolv, *command)

    def make_root(self, name: str, programs: Mapping[str, Path], users: Mapping[str, int]) -> Path:
        """A root whose programs ask the resolver of the internet."""
        root = super().make_root(name, programs, users)
        (root / "etc/resolv.conf").write_text(self.resolv.read_text())
        (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        return root

    # --- who is there ----------------------------------------------------------------------------

    def start_provider(
        self,
        *,
        rules: str = CARRIED,
        queue: str = 'retry_every = "1s"',
        more: str = "",
        authorisation: str = 'plugin = "providers"',
        patience: str = PATIENCE,
    ) -> None:
        """Start our server; clients must log in, over TLS, unless it is told otherwise."""
        with self.at("provider"):
            self.serve_mail(
                f'[dns]\nservers = ["{RESOLVER}"]\n[relay]\nreuse_idle = 0\n'
                f"[relay.timeouts]\n{patience}{more}",
                tls="starttls",
                rules=rules,
                queue=queue,
                authorisation=authorisation,
            )

    def start_carrier(self, *settings: str) -> None:
        """Start Postfix as the server in between."""
        with self.at("carrier"):
            self.start_postfix(
                *(SMTP, "carrier.example"),
                name="carrier",
                interface=ANYWHERE,
                settings=(*POSTFIX, *settings),
            )

    def start_destination(self, *settings: str, tls: bool = False) -> Path:
        """Start Postfix as the server of mindspring.example; returns its Maildir."""
        with self.at("destination"):
            return self.start_postfix(
                *(SMTP, "mindspring.example"),
                name="destination",
                interface="",
                tls=tls,
                settings=settings,
            )

    # --- what a client does ----------------------------------------------------------------------

    def send(
        self,
        *recipients: str,
        subject: str = "greetings",
        sender: str = "angelo@demo.example",
        options: tuple[str | Path, ...] = (),
        check: bool = True,
    ) -> str:
        """Angelo sends a message with swaks; returns the name that our queue gives it, if any."""
        with self.at("client"):
            done = self.run_program(
                *(self.program("swaks", "swaks"), "--server", "mx.demo.example"),
                *("--port", str(self.submission), "--helo", "client.demo.example", "--tls"),
                *("--tls-verify", "--tls-ca-path", self.folder / "ca.pem"),
                *("--auth", "PLAIN", "--auth-user", "angelo@demo.example"),
                *("--auth-password", PASSWORD, "--from", sender, "--to", ",".join(recipients)),
                *("--header", f"Subject: {subject}", *options),
                check=check,
            )
        _, _, name = done.stdout.decode(errors="replace").rpartition(" queued as ")
        self.sent += name.split()[:1]
        return name.split()[0] if name else ""

    # --- what is to be seen ----------------------------------------------------------------------

    def trace(self, name: str) -> str:
        """What ``mailframe trace`` says of a message."""
        done = self.mailframe("trace", "-c", self.configuration, name)
        return done.stdout.decode()

    def waiting(self) -> str:
        """The last reply about the one recipient that waits in our queue, or nothing."""
        replies = [
            recipient["last_reply"]
            for message in self.queued()
            for recipient in message["recipients"]
            if recipient["state"] == "pending"
        ]
        return str(replies[0] or "") if replies else ""

    def wait_until_it_says(self, *words: str) -> None:
        """Wait until a reply with these words stands with what waits in our queue."""

        def says_so() -> bool:
            said = self.waiting()
            return all(word in said for word in words)

        try:
            self.wait_for(f"{words} in the queue", says_so)
        except self.failureException as failure:
            raise self.failureException(f"{self.told()}\n{failure}") from None

    def told(self) -> str:
        """What waits in our queue, and what our server tells of each message that was sent."""
        waiting = "\n".join(map(str, self.queued())) or "nothing waits"
        return "\n\n".join((waiting, *(f"{name}:\n{self.trace(name)}" for name in self.sent)))

    @contextmanager
    def without(self, one: Place, other: Place) -> Iterator[None]:
        """While nothing passes between two places."""
        self.internet.cut(one, other)
        yield
        self.internet.mend(one, other)


class OtherMailframe(MailframeCase):
    """A second mailframe, for ``mindspring.example`` or as a carrier."""

    interface = ANYWHERE

    def runTest(self) -> None:
        """Not a test of its own."""

    def prepare(self) -> None:
        """What else is to be done in its folder before it starts."""

    def mailbox_messages(self, name: str = "jsmith") -> list[bytes]:
        """The messages of an account."""
        return maildir(self.mailbox(name))

    def serve_at(
        self, case: InternetCase, host: str, domain: str, more: str = "", **options: object
    ) -> None:
        """Start it at a host, with the accounts of the provider's; it ends with the test."""
        self.setUp()
        case.addCleanup(self.doCleanups)
        self.domain = domain
        self.names = (f"mx.{domain}", "localhost", "127.0.0.1")
        self.smtp, self.submission, self.pop3 = SMTP, 587, 110
        self.write("accounts.toml", case.accounts().replace(case.domain, domain))
        self.prepare()
        self.make_certificate()
        with case.at(host):
            self.serve_mail(f'[dns]\nservers = ["{RESOLVER}"]\n{more}', tls="starttls", **options)

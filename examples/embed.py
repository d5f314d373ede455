"""A mail server inside another Twisted application: mail becomes tickets.

Run it: ``python examples/embed.py``. It serves SMTP on a free loopback port, writes a message to
itself, prints the ticket that comes of it, and ends.

Three parts of the server are the application's own objects: who has an address, what becomes of a
message, and how long the queue lasts. Everything else is mailframe's.
"""

from __future__ import annotations

import email
import email.policy
import tempfile
from collections.abc import Awaitable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet import task
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailframe import MailServer
from mailframe.address import Address
from mailframe.guard import as_deferred
from mailframe.interfaces import Account, Alias, IAccounts, IDeliveryAgent, Job
from mailframe.outcome import Delivered, Outcome
from mailframe.reply import Reply

HELP_DESK = Address.parse("help@tickets.example")


@implementer(IAccounts)
class OneAddress:
    """Only the help desk gets mail, and nobody logs in."""

    def find(self, address: Address) -> Awaitable[Account | Alias | None]:
        """Who is behind an address."""
        return succeed(Account(address=address) if address == HELP_DESK else None)

    def checkers(self) -> Sequence[ICredentialsChecker]:
        """No logins."""
        return ()


@implementer(IDeliveryAgent)
class Tickets:
    """Opens a ticket for each message, instead of putting it into a mailbox.

    :ivar opened: the subject of each ticket, by its number
    """

    def __init__(self) -> None:
        self.opened: dict[int, str] = {}

    async def deliver(self, job: Job) -> Sequence[Outcome]:
        """Open one ticket. Were this to fail, the queue would try again in 15 minutes."""
        content = await as_deferred(job.open())
        octets = b""
        try:
            while piece := await as_deferred(content.read()):
                octets += piece
        finally:
            content.close()
        message = email.message_from_bytes(octets, policy=email.policy.default)
        number = len(self.opened) + 1
        self.opened[number] = str(message["Subject"])
        reply = Reply(250, "2.0.0", f"ticket {number}")
        return [Delivered(where=f"ticket {number}", reply=reply) for _ in job.recipients]


def make_server(tickets: Tickets, state_dir: str, **lent: Any) -> MailServer:
    """The mail server: an ordinary Twisted service, to be started with the application.

    :param state_dir: a folder for what the server writes
    :param lent: a reactor and the like, for tests
    """
    return MailServer(
        hostname="mx.tickets.example",
        local_domains=["tickets.example"],
        servers=[
            {"name": "mx", "protocol": "smtp", "listen": ["tcp:0:interface=127.0.0.1"]},
        ],
        accounts=OneAddress(),
        delivery=tickets,
        queue="memory",
        state_dir=state_dir,
        **lent,
    )


async def run(server: MailServer, tickets: Tickets) -> None:
    """Start, write to ourselves, say what became of it, stop."""
    server.startService()
    try:
        handle = await server.send(
            sender="angelo@rosse.example",
            recipients=[str(HELP_DESK)],
            content=b"Subject: The printer is on fire\r\n\r\nPlease advise.\r\n",
        )
        outcomes = await handle.settled()
        print(f"message {handle.id}: {outcomes[str(HELP_DESK)].reply}")
        for number, subject in tickets.opened.items():
            print(f"ticket {number}: {subject}")
    finally:
        await server.stopService()


async def demonstrate(reactor: Any) -> None:
    """Run in a folder that is removed again."""
    tickets = Tickets()
    with tempfile.TemporaryDirectory() as folder:
        await run(make_server(tickets, folder, reactor=reactor), tickets)


def main(reactor: Any) -> Deferred[None]:
    """For `twisted.internet.task.react`, which ends the program when this is done."""
    return Deferred.fromCoroutine(demonstrate(reactor))


if __name__ == "__main__":
    task.react(main)

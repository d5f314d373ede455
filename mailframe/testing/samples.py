"""Values to build tests from: each says no more than a test needs to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from mailframe.address import Address
from mailframe.entry import Ready
from mailframe.envelope import Body, Client, Envelope, Recipient
from mailframe.interfaces import NOTHING_KNOWN, Facts, IContent, Job, Known
from mailframe.outcome import Permit, Route

SENDER = Address.parse("angelo@rosse.example")
RECIPIENT = Address.parse("jsmith@mindspring.example")
EVIDENCE = Permit(reason="an address of rosse", rule="rosse", plugin="providers", provider="rosse")


def make_client(
    address: str = "192.0.2.9",
    *,
    server: str = "mx",
    protocol: str = "smtp",
    login: str | None = None,
    tls: str | None = None,
) -> Client:
    """A client that said EHLO."""
    return Client(
        server=server,
        protocol=protocol,
        address=address,
        port=40000,
        helo="client.example",
        esmtp=True,
        login=login,
        tls=tls,
    )


def make_envelope(
    *recipients: Address,
    sender: Address | None = SENDER,
    client: Client | None = None,
    arrived: float = 1_700_000_000.0,
    body: Body = "7BIT",
) -> Envelope:
    """An envelope to these recipients, or to `RECIPIENT`."""
    return Envelope(
        sender=sender,
        recipients=tuple(
            Recipient(address=address, evidence=EVIDENCE) for address in recipients or (RECIPIENT,)
        ),
        client=client or make_client(),
        arrived=arrived,
        body=body,
    )


def make_job(
    routes: tuple[Route, ...],
    recipients: tuple[Address, ...],
    open: Callable[[], Awaitable[IContent]],
    *,
    envelope: Envelope | None = None,
    id: str = "q1",
    size: int = 0,
    attempt: int = 0,
    ready: tuple[Ready | None, ...] = (),
    record_ready: Callable[[Mapping[int, Ready | None]], Awaitable[None]] | None = None,
) -> Job:
    """A message to hand to all the recipients of its envelope.

    :param envelope: when ``None``, one to the recipients, by `SENDER`
    :param ready: when empty, nothing was recorded of any of them
    :param record_ready: when ``None``, it succeeds and keeps nothing
    """
    envelope = envelope or make_envelope(*recipients)
    return Job(
        id=id,
        envelope=envelope,
        recipients=recipients,
        originals=envelope.recipients,
        routes=routes,
        size=size,
        attempt=attempt,
        ready=ready or (None,) * len(recipients),
        open=open,
        record_ready=record_ready or _record_nothing,
    )


async def _record_nothing(ready: Mapping[int, Ready | None]) -> None:
    """Success."""


def make_facts(
    *,
    local: bool = False,
    client: Client | None = None,
    now: float = 1_700_000_000.0,
    known: Known = NOTHING_KNOWN,
) -> Facts:
    """What a routing policy is told."""
    return Facts(local=local, client=client, now=now, known=known)

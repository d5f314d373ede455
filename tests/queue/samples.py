"""Values that the queue's tests share."""

from __future__ import annotations

from mailframe.address import Address
from mailframe.entry import Entry, QueuedRecipient
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.interfaces import IMessageSink
from mailframe.outcome import Local, NextHop, Permit, Relay
from mailframe.reply import Reply

ANGELO = Address("angelo", "demo.example")
JSMITH = Address("jsmith", "mindspring.com")
MARY = Address("mary", "demo.example")
CLIENT = Client(server="mx", protocol="smtp", address="192.0.2.7", port=4711, helo="pc.example")
EVIDENCE = Permit(reason="logged in", rule="login", plugin="providers", provider="rosse")
LOCAL = Local(mailbox=MARY, reason="a local domain", rule="default", plugin="table")
RELAY = Relay(
    hops=(NextHop(where="mx:mindspring.com"),), reason="not ours", rule="default", plugin="table"
)
OK = Reply(250, "2.0.0", "taken")
LATER = Reply(451, "4.7.1", "greylisted, try later")
NEVER = Reply(550, "5.1.1", "no such user")


def envelope(
    *recipients: Address, sender: Address | None = ANGELO, arrived: float = 0.0
) -> Envelope:
    """An envelope with the usual client and evidence."""
    return Envelope(
        sender=sender,
        recipients=tuple(
            Recipient(address=address, evidence=EVIDENCE) for address in recipients or (JSMITH,)
        ),
        client=CLIENT,
        arrived=arrived,
    )


def entry(*recipients: Address, sender: Address | None = ANGELO, arrived: float = 0.0) -> Entry:
    """An entry as it is when it was just accepted."""
    carried = envelope(*recipients, sender=sender, arrived=arrived)
    return Entry(
        id="0000000000001",
        envelope=carried,
        size=100,
        recipients=tuple(QueuedRecipient(address=r.address) for r in carried.recipients),
        next_attempt=arrived,
    )


def write(sink: IMessageSink, content: bytes) -> IMessageSink:
    """Write a content that needs no back-pressure."""
    assert sink.write(octets=content) is None
    return sink

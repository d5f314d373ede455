"""What the server relies upon in a delivery agent."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.interfaces import IContent, IDeliveryAgent, StorageFault
from mailframe.outcome import Delivered, Local, Outcome, Postponed, Refused, Route
from mailframe.testing.contents import FakeContent
from mailframe.testing.contracts.contract import Contract
from mailframe.testing.samples import SENDER, make_envelope, make_job

MESSAGE = b"Subject: lunch\r\n\r\nAt one?\r\n.\r\n..dots\r\n\xff\xfe 8bit\r\n"


class DeliveryAgentContract(Contract):
    """Mix into a test case that says how the agent is made and what it delivers to.

    :ivar recipients: at least two that the agent can deliver to
    """

    recipients: Sequence[Address] = (
        Address.parse("mary@here.example"),
        Address.parse("angelo@here.example"),
    )

    def make_agent(self) -> IDeliveryAgent:
        """The agent to test."""
        raise AssertionError("override make_agent()")

    def route(self, recipient: Address) -> Route:
        """The route by which the agent gets a recipient's mail; the agent for mailboxes' own."""
        return Local(mailbox=recipient, reason="a local domain")

    def delivered(self, recipient: Address) -> list[bytes] | None:
        """What has arrived at a recipient; ``None`` when the test can't tell."""
        return None

    def deliver(
        self,
        agent: IDeliveryAgent,
        content: FakeContent,
        recipients: Sequence[Address] | None = None,
        sender: Address | None = SENDER,
        open_error: Exception | None = None,
    ) -> list[Outcome]:
        """Hand a message over, and check what the answer looks like."""
        addresses = tuple(self.recipients if recipients is None else recipients)

        async def open_content() -> IContent:
            if open_error is not None:
                raise open_error
            return content

        self._serial = getattr(self, "_serial", 0) + 1
        job = make_job(
            tuple(self.route(address) for address in addresses),
            addresses,
            open_content,
            envelope=make_envelope(
                *addresses, sender=sender, arrived=self.reactor.seconds(), body="8BITMIME"
            ),
            id=f"message{self._serial}",
            size=len(MESSAGE),
        )
        outcomes = list(self.get(agent.deliver(job=job)))
        self.assertEqual(len(outcomes), len(addresses))
        for outcome in outcomes:
            self.assertIsInstance(outcome, (Delivered, Postponed, Refused))
            self.assertIsInstance(outcome.where, str)
            kind = {Delivered: 2, Postponed: 4, Refused: 5}[type(outcome)]
            self.assertEqual(outcome.reply.code // 100, kind)
        return outcomes

    def assert_nothing_arrived(self) -> None:
        """Demand that every recipient has no mail."""
        for recipient in self.recipients:
            self.assertIn(self.delivered(recipient), (None, []))

    def test_provides_interface(self) -> None:
        """The server can't call the agent."""
        verifyObject(IDeliveryAgent, self.make_agent())

    def test_delivers(self) -> None:
        """A message that was said to be delivered was not, or was changed."""
        agent = self.make_agent()
        content = FakeContent(MESSAGE, piece=7)
        for outcome in self.deliver(agent, content):
            self.assertIsInstance(outcome, Delivered)
        self.assertEqual(content.closed, 1)
        for recipient in self.recipients:
            arrived = self.delivered(recipient)
            if arrived is not None:
                self.assertEqual(len(arrived), 1)
                self.assertTrue(arrived[0].endswith(MESSAGE), arrived[0])

    def test_null_sender(self) -> None:
        """Notices can't be delivered."""
        (outcome,) = self.deliver(
            self.make_agent(), FakeContent(MESSAGE), self.recipients[:1], sender=None
        )
        self.assertIsInstance(outcome, Delivered)

    def test_one_after_the_other(self) -> None:
        """The second message replaces the first, or the agent works only once."""
        agent = self.make_agent()
        for _ in range(3):
            (outcome,) = self.deliver(agent, FakeContent(MESSAGE), self.recipients[:1])
            self.assertIsInstance(outcome, Delivered)
        arrived = self.delivered(self.recipients[0])
        if arrived is not None:
            self.assertEqual(len(arrived), 3)

    def test_content_can_not_be_opened(self) -> None:
        """A fault of the queue's disk makes the message bounce, or counts as delivered."""
        outcomes = self.deliver(
            self.make_agent(), FakeContent(MESSAGE), open_error=StorageFault("no such file")
        )
        for outcome in outcomes:
            self.assertIsInstance(outcome, Postponed)
        self.assert_nothing_arrived()

    def test_content_breaks_off(self) -> None:
        """A recipient gets half a message."""
        content = FakeContent(MESSAGE, piece=10, fails_after=2)
        for outcome in self.deliver(self.make_agent(), content):
            self.assertIsInstance(outcome, Postponed)
        self.assertEqual(content.closed, 1)
        self.assert_nothing_arrived()

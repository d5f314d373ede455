"""What is let in: `mailframe.server.admission`."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.address import Address
from mailframe.envelope import Client
from mailframe.interfaces import IRoom, Known, StorageFault, StorageFull
from mailframe.outcome import Deny, Local, NextHop, Permit, Redirect, Relay, Unroutable
from mailframe.reply import Reply
from mailframe.server.admission import (
    CANNOT_JUDGE,
    RECIPIENT_OK,
    TOO_MANY_RECIPIENTS,
    Admission,
    Transaction,
)
from mailframe.server.incoming import FAULT, NO_ROOM, TOO_BIG
from mailframe.server.limits import Limits
from mailframe.units import Octets
from tests.server.smtp_fakes import (
    DENIED,
    NOBODY,
    FakeAuthorisation,
    FakeRouter,
    FakeStorage,
    fake_admission,
)

STRANGER = Client(server="mx", protocol="smtp", address="192.0.2.1")
CUSTOMER = attrs.evolve(STRANGER, login="angelo@here.example")
SUBMITTER = attrs.evolve(CUSTOMER, protocol="submission")
SENDER = Address("angelo", "rosse.example")


@implementer(IRoom)
class SmallStorage(FakeStorage):
    """Has room for 99 octets."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def has_room(self, octets: int) -> bool:
        self.asked.append(octets)
        return octets < 100


class AdmissionTests(SynchronousTestCase):
    """Mail for us is taken from anyone, mail for elsewhere only from whom we serve."""

    def setUp(self) -> None:
        """Admission between fakes."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.storage = FakeStorage()
        self.router = FakeRouter()
        self.authorisation = FakeAuthorisation()
        self.admission = self.make()

    def make(self, local_domains: frozenset[str] = frozenset(), **limits: Any) -> Admission:
        """Admission with the fakes of this test."""
        return fake_admission(
            self.clock,
            storage=self.storage,
            router=self.router,
            authorisation=self.authorisation,
            limits=Limits(**limits),
            local_domains=local_domains,
        )

    def transaction(self, client: Client = STRANGER) -> Transaction:
        """A sender was accepted."""
        transaction = self.admission.mail(client, SENDER, None, "7BIT")
        assert isinstance(transaction, Transaction)
        return transaction

    def rcpt(self, recipient: str, transaction: Transaction | None = None) -> Reply:
        """The answer to a recipient."""
        coroutine = self.admission.recipient(
            transaction or self.transaction(), Address.parse(recipient)
        )
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_declared_size(self) -> None:
        """Rules on the size would refuse by a bounce what could be refused at once."""
        for size in (None, 5000):
            transaction = self.admission.mail(STRANGER, SENDER, size, "7BIT")
            assert isinstance(transaction, Transaction)
            asked = self.admission.recipient(transaction, Address("mary", "here.example"))
            self.successResultOf(Deferred.fromCoroutine(asked))
        self.assertEqual(self.router.known, [Known(), Known(size=5000)])

    def test_size(self) -> None:
        """A message declared too big is refused before it is sent (RFC 1870 §6)."""
        admission = self.make(message_size=Octets(100))
        self.assertEqual(admission.mail(STRANGER, SENDER, 101, "7BIT"), TOO_BIG)
        self.assertIsInstance(admission.mail(STRANGER, None, 100, "7BIT"), Transaction)
        unlimited = self.make(message_size=Octets(0))
        self.assertIsInstance(unlimited.mail(STRANGER, None, 10**12, "7BIT"), Transaction)

    def test_no_room(self) -> None:
        """A client sends its whole message, and is told then that there was no room for it."""
        self.storage = storage = SmallStorage()
        admission = self.make()
        self.assertEqual(admission.mail(STRANGER, SENDER, 100, "7BIT"), NO_ROOM)
        self.assertIsInstance(admission.mail(STRANGER, SENDER, 99, "7BIT"), Transaction)
        self.assertIsInstance(admission.mail(STRANGER, SENDER, None, "7BIT"), Transaction)
        self.assertEqual(storage.asked, [100, 99, 0])

    def test_local(self) -> None:
        """Anyone may write to a mailbox or an alias here; nobody is asked for leave."""
        transaction = self.transaction()
        for recipient in ("jsmith@here.example", "team@here.example"):
            self.assertEqual(self.rcpt(recipient, transaction), RECIPIENT_OK)
        self.assertEqual(self.authorisation.asked, [])
        evidence = transaction.recipients[Address("jsmith", "here.example")]
        self.assertEqual((evidence.rule, evidence.plugin), ("local", ""))
        asked = self.router.asked[0]
        self.assertEqual(asked, (SENDER, Address("jsmith", "here.example"), STRANGER, 1000.0))

    def test_unknown(self) -> None:
        """Mail for nobody is refused at once, so that no bounce is ever needed for it."""
        transaction = self.transaction()
        self.assertEqual(self.rcpt("nobody@here.example", transaction), NOBODY)
        self.assertEqual(transaction.recipients, {})

    def test_relaying(self) -> None:
        """A stranger can't have us carry mail elsewhere; a customer can, and why is kept."""
        self.assertEqual(self.rcpt("x@far.example"), DENIED)
        transaction = self.transaction(CUSTOMER)
        self.assertEqual(self.rcpt("x@far.example", transaction), RECIPIENT_OK)
        evidence = transaction.recipients[Address("x", "far.example")]
        self.assertEqual((evidence.rule, evidence.provider), ("login", "rosse"))
        self.assertEqual(
            self.authorisation.asked[1], (CUSTOMER, SENDER, Address("x", "far.example"))
        )

    def test_submission(self) -> None:
        """On a submission server every recipient is a matter of authorisation (RFC 6409)."""
        stranger = attrs.evolve(SUBMITTER, login=None)
        self.assertEqual(self.rcpt("jsmith@here.example", self.transaction(stranger)), DENIED)
        reply = self.rcpt("jsmith@here.example", self.transaction(SUBMITTER))
        self.assertEqual(reply, RECIPIENT_OK)

    def test_the_route_for_a_provider(self) -> None:
        """A provider's customers learn of a refusal from a bounce, for mail that was accepted."""
        client = attrs.evolve(STRANGER, protocol="submission", login="anna")
        self.authorisation.answer = Permit(reason="a customer", rule="blu", provider="blu")
        self.assertEqual(self.rcpt("jsmith@x.example", self.transaction(client)), RECIPIENT_OK)
        self.assertEqual(self.router.known, [Known()])
        self.router.asks_provider = True
        self.assertEqual(self.rcpt("jsmith@x.example", self.transaction(client)), RECIPIENT_OK)
        self.assertEqual(self.router.known[1:], [Known(), Known(provider="blu")])
        self.router.for_provider = refused = Unroutable(
            reply=Reply(550, "5.7.1", "not for blu"), reason="not for blu", rule="r", plugin="table"
        )
        transaction = self.transaction(client)
        self.assertEqual(self.rcpt("jsmith@x.example", transaction), refused.reply)
        self.assertEqual(transaction.recipients, {})
        judged = self.admission.judge(client, SENDER, Address("jsmith", "x.example"))
        route, verdict = self.successResultOf(Deferred.fromCoroutine(judged))
        self.assertEqual(route, refused)
        assert isinstance(verdict, Deny)
        self.assertEqual(
            (verdict.rule, verdict.plugin, verdict.provider, verdict.reason),
            ("r", "table", "blu", "not for blu"),
        )

    def test_policy_redirect(self) -> None:
        """A redirect by the routing policy carries mail elsewhere, unless the domain is ours."""
        elsewhere = (Address("y", "other.example"),)
        self.router.routes["x@far.example"] = Redirect(
            addresses=elsewhere, reason="moved", rule="table"
        )
        self.assertEqual(self.rcpt("x@far.example"), DENIED)
        self.router.routes["x@inner.example"] = Relay(hops=(NextHop(where="mx:y"),), reason="gate")
        self.assertEqual(self.rcpt("x@inner.example"), DENIED)
        self.admission = self.make(frozenset({"inner.example"}))
        transaction = self.transaction()
        self.assertEqual(self.rcpt("x@inner.example", transaction), RECIPIENT_OK)
        self.assertEqual(
            transaction.recipients[Address("x", "inner.example")].reason, "mail for a local domain"
        )

    def test_fails_closed(self) -> None:
        """When the authorisation can't tell, the answer is "later", never "yes"."""
        hangs: Deferred[None] = Deferred()
        nonsense = Local(mailbox=SENDER, reason="not a verdict")
        for answer in (RuntimeError("bug"), nonsense, hangs):
            self.authorisation.answer = answer
            transaction = self.transaction(CUSTOMER)
            reply = Deferred.fromCoroutine(
                self.admission.recipient(transaction, Address("x", "far.example"))
            )
            self.clock.advance(30)
            self.assertEqual(self.successResultOf(reply), CANNOT_JUDGE)
            self.assertEqual(transaction.recipients, {})
        self.flushLoggedErrors(RuntimeError)

    def test_positive_refusals(self) -> None:
        """A plugin that refuses with a reply of success lets nobody in."""
        welcome = Reply(250, "2.1.5", "welcome")
        self.authorisation.answer = Deny(reason="odd", reply=welcome)
        self.assertEqual(self.rcpt("x@far.example"), CANNOT_JUDGE)
        self.router.routes["y@here.example"] = Unroutable(reply=welcome, reason="odd")
        self.assertEqual(self.rcpt("y@here.example"), CANNOT_JUDGE)

    def test_limit(self) -> None:
        """Too many recipients are put off (RFC 5321 §4.5.3.1.10); the same twice counts once."""
        self.admission = self.make(recipients=2)
        transaction = self.transaction()
        for recipient, reply in (
            ("a@here.example", RECIPIENT_OK),
            ("a@here.example", RECIPIENT_OK),
            ("b@here.example", RECIPIENT_OK),
            ("c@here.example", TOO_MANY_RECIPIENTS),
            ("a@here.example", RECIPIENT_OK),
        ):
            self.assertEqual(self.rcpt(recipient, transaction), reply)
        self.assertEqual(len(transaction.recipients), 2)
        self.assertEqual(len(self.router.asked), 2)

    def test_judge(self) -> None:
        """`explain` gets the decisions that the server would take."""
        route, verdict = self.successResultOf(
            Deferred.fromCoroutine(
                self.admission.judge(STRANGER, SENDER, Address("x", "far.example"))
            )
        )
        self.assertIsInstance(route, Relay)
        self.assertEqual(verdict.reason, "a stranger")
        route, verdict = self.successResultOf(
            Deferred.fromCoroutine(
                self.admission.judge(STRANGER, SENDER, Address("nobody", "here.example"))
            )
        )
        self.assertIsInstance(route, Unroutable)
        self.assertEqual((verdict.reason, verdict.plugin), ("no account", "file"))

    def test_refusal_is_logged(self) -> None:
        """The operator sees of every refusal who, whom and why."""
        with capturedLogs() as logs:
            self.rcpt("x@far.example")
        event = logs[0]
        self.assertEqual(
            (event["reason"], event["rule"], event["plugin"], str(event["recipient"])),
            ("a stranger", "none", "fake", "x@far.example"),
        )

    def test_envelope(self) -> None:
        """The queue is told who sent what to whom, when, and why it was let in."""
        transaction = self.transaction()
        self.rcpt("a@here.example", transaction)
        self.admission.begin(transaction)
        envelope = self.storage.sinks[0].envelope
        self.assertEqual(envelope.sender, SENDER)
        self.assertEqual(envelope.client, STRANGER)
        self.assertEqual(envelope.arrived, 1000.0)
        self.assertEqual([str(r.address) for r in envelope.recipients], ["a@here.example"])
        self.assertIsInstance(envelope.recipients[0].evidence, Permit)

    def test_storage_refuses(self) -> None:
        """A storage that takes no message is a fault of ours: always 4yz."""
        for error, reply in (
            (StorageFull("x"), NO_ROOM),
            (StorageFault("x"), FAULT),
            (OSError("x"), FAULT),
        ):
            transaction = self.transaction()
            self.rcpt("a@here.example", transaction)
            self.storage.receive_error = error
            self.assertEqual(self.admission.begin(transaction), reply)
        self.flushLoggedErrors(OSError)

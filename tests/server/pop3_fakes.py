"""A POP3 server over a virtual network, and a mailbox in memory with a field for every fault."""

from __future__ import annotations

import io
from typing import Any

import trustme
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailframe.accounts.realm import make_portal
from mailframe.address import Address
from mailframe.interfaces import IMailboxStore
from mailframe.server.limits import Limits
from mailframe.server.pop3 import Pop3ServerFactory
from mailframe.testing.fakes import FakeAccounts, FakeAuthorisation, answer
from mailframe.testing.network import VirtualReactor
from mailframe.testing.threads import in_thread

MARY = Address("mary", "here.example")
LOGIN = b"USER mary@here.example\r\nPASS sesame\r\n"
MESSAGES = [b"Subject: one\n\nhello\n", b"Subject: two\n\n.dot\n", b"A: b\n\n1\n2\n3\n"]


@implementer(IMailboxPOP3)
class FakeMailbox:
    """A mailbox in memory. The ``…_trouble`` fields are as in `mailframe.testing.fakes`.

    :ivar files: what `getMessage` gives for a message instead of its octets
    :ivar synced: how often the deletions were made
    :ivar opened: how often it was opened
    :ivar closed: how often it was closed
    """

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.files: dict[int, Any] = {}
        self.marked: set[int] = set()
        self.synced = 0
        self.opened = 0
        self.closed = 0
        self.list_trouble: Any = None
        self.get_trouble: Any = None
        self.uidl_trouble: Any = None
        self.delete_trouble: Exception | None = None
        self.sync_trouble: Any = None

    def listMessages(self, i: int | None = None) -> Any:
        return answer(self.list_trouble, lambda: [len(m) + m.count(b"\n") for m in self.messages])

    def getMessage(self, index: int) -> Any:
        return answer(
            self.get_trouble,
            lambda: self.files.get(index) or io.BytesIO(self.messages[index]),
        )

    def getUidl(self, index: int) -> Any:
        if self.uidl_trouble is not None:
            return answer(self.uidl_trouble, lambda: None)
        return b"id%d" % index

    def deleteMessage(self, index: int) -> None:
        if self.delete_trouble is not None:
            raise self.delete_trouble
        self.marked.add(index)

    def undeleteMessages(self) -> None:
        self.marked.clear()

    def sync(self) -> Any:
        self.synced += 1
        return answer(self.sync_trouble, lambda: None)

    def close(self) -> None:
        self.closed += 1


@implementer(IMailboxStore)
class FakeMailboxes:
    """Opens the one mailbox."""

    def __init__(self, mailbox: FakeMailbox) -> None:
        self.mailbox = mailbox
        self.open_trouble: Any = None

    def open_mailbox(self, mailbox: Address) -> Any:
        self.mailbox.opened += 1
        return answer(self.open_trouble, lambda: self.mailbox)


class Client(Protocol):
    """Talks to the server, and keeps what it says."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        # Twisted's own default value for it is not in its interface.
        self.lost = reason


class Pop3Case(SynchronousTestCase):
    """A server at 192.0.2.1:110, and clients on its own host unless told otherwise."""

    tls: Any = "none"
    limits = Limits()
    segment: int | None = None

    def setUp(self) -> None:
        self.reactor = VirtualReactor(segment=self.segment)
        self.accounts = FakeAccounts({MARY: b"sesame"})
        self.authorisation = FakeAuthorisation()
        self.mailbox = FakeMailbox(list(MESSAGES))
        self.mailboxes = FakeMailboxes(self.mailbox)
        self.threads: list[tuple[Deferred[Any], Any]] | None = None
        self.factory = Pop3ServerFactory(
            name="pop",
            hostname="pop.example",
            portal=make_portal(self.accounts, self.mailboxes),
            authorisation=self.authorisation,
            authorisation_name="fake",
            tls_context=certificate() if self.tls != "none" else None,
            tls=self.tls,
            limits=self.limits,
            clock=self.reactor,
            in_thread=self.in_thread,
        )
        self.reactor.listenTCP(110, self.factory.for_endpoint(), interface="127.0.0.1")
        self.reactor.at("192.0.2.1").listenTCP(110, self.factory.for_endpoint())

    def tearDown(self) -> None:
        self.reactor.cut("127.0.0.1")
        self.reactor.cut("192.0.2.1")
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.factory.connections), 0)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        if self.threads is None:
            return in_thread(function, *args)
        done: Deferred[Any] = Deferred()
        self.threads.append((done, lambda: function(*args)))
        return done

    def run_thread(self) -> None:
        assert self.threads is not None
        done, function = self.threads.pop(0)
        done.callback(function())
        self.reactor.advance(0)

    def connect(self, host: str = "127.0.0.1", reactor: Any = None) -> Client:
        """A client that has been greeted; what it was told is forgotten."""
        connecting = clientFromString(reactor or self.reactor, f"tcp:{host}:110").connect(
            Factory.forProtocol(Client)
        )
        self.reactor.advance(0)
        client: Client = self.successResultOf(connecting)
        if self.tls != "implicit":
            self.assertTrue(client.received.startswith((b"+OK ", b"-ERR ")), client.received)
        return client

    def far(self, address: str = "192.0.2.9") -> Client:
        """A client elsewhere."""
        return self.connect("192.0.2.1", self.reactor.at(address))

    def say(self, client: Client, octets: bytes) -> bytes:
        """Send, and take what has come since."""
        client.received = b""
        client.transport.write(octets)
        self.reactor.advance(0)
        return client.received

    def logged_in(self) -> Client:
        client = self.connect()
        said = self.say(client, LOGIN)
        self.assertTrue(said.startswith(b"+OK send PASS\r\n+OK 3 messages"), said)
        return client


_AUTHORITY = trustme.CA()
_CERTIFICATE = _AUTHORITY.issue_cert("pop.example")


def certificate() -> CertificateOptions:
    """The server's side of TLS."""
    pem = _CERTIFICATE.private_key_pem.bytes() + b"".join(
        blob.bytes() for blob in _CERTIFICATE.cert_chain_pems
    )
    return ssl.PrivateCertificate.loadPEM(pem).options()


def trust() -> Any:
    """The client's side of it."""
    root = ssl.Certificate.loadPEM(_AUTHORITY.cert_pem.bytes())
    return ssl.optionsForClientTLS("pop.example", trustRoot=root)

"""The console's resource."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from mailframe.address import Address
from mailframe.console import site as site_module
from mailframe.console.site import ConsoleResource
from mailframe.documents import queue_document, trace_document
from mailframe.entry import Event, QueuedRecipient, Step
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.interfaces import StorageFault
from mailframe.outcome import Permit
from mailframe.queue.memory import MemoryStorage
from mailframe.reply import Reply

HOSTNAME = "mx.rosse.example"


class ConsoleCase(SynchronousTestCase):
    """A console over a queue in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.storage = MemoryStorage(clock=self.clock, random=Random(1))
        self.resource = self.make_resource(self.storage)

    def make_resource(self, storage: Any) -> ConsoleResource:
        return ConsoleResource(
            storage=storage, hostname=HOSTNAME, clock=self.clock, plugin_time=30.0
        )

    def keep(
        self, recipient: str = "jsmith@mindspring.com", sender: str = "a@rosse.example"
    ) -> str:
        """Put a message into the queue."""
        envelope = Envelope(
            sender=Address.parse(sender) if sender else None,
            recipients=(
                Recipient(address=Address.parse(recipient), evidence=Permit(reason="anyone")),
            ),
            client=Client(server="mx", protocol="smtp", address="192.0.2.1"),
            arrived=self.clock.seconds(),
        )
        sink = self.storage.receive(envelope)
        sink.write(b"Subject: secret\r\n\r\nwords\r\n")
        self.successResultOf(Deferred.fromCoroutine(sink.commit()))  # type: ignore[arg-type]
        self.clock.advance(1)
        return sink.id

    def postpone(self, id: str, text: str) -> None:
        """Record an attempt at delivery that failed."""
        now = self.clock.seconds()
        entry = self.successResultOf(
            Deferred.fromCoroutine(self.storage.claim("test", now, 1, now + 60))
        )[0]
        reply = Reply(451, "4.4.1", text)
        event = Event(at=now, kind="postponed", reply=reply, next_attempt=now + 900)
        recipient = QueuedRecipient(
            address=entry.recipients[0].address, attempts=1, last_reply=reply, where="mx.example"
        )
        step = Step(recipients=(recipient,), next_attempt=now + 900, warned=False, events=(event,))
        self.successResultOf(Deferred.fromCoroutine(self.storage.settle(id, "test", step, [])))

    def request(
        self,
        path: str,
        *,
        method: bytes = b"GET",
        host: str | None = "localhost:8025",
        peer: str = "127.0.0.1",
        args: dict[bytes, list[bytes]] | None = None,
        resource: ConsoleResource | None = None,
    ) -> Any:
        """Ask the console; the answer may still be under way."""
        request: Any = DummyRequest([part.encode() for part in path.strip("/").split("/")])
        request.method = method
        request.path = path.encode()
        request.client = IPv4Address("TCP", peer, 40000)
        request.args = args or {}
        if host is not None:
            request.requestHeaders.setRawHeaders(b"host", [host.encode()])
        (resource or self.resource).render(request)
        return request

    def text(self, path: str, **options: Any) -> str:
        """The body of a complete answer."""
        request = self.request(path, **options)
        self.assertEqual(request.finished, 1)
        return b"".join(request.written).decode()


class Pages(ConsoleCase):
    """What a person sees."""

    def test_empty_queue(self) -> None:
        """An operator could not tell an empty queue from a broken page."""
        self.assertIn("Nothing is waiting", self.text("/"))

    def test_queue(self) -> None:
        """An operator could not see what waits, why, and until when."""
        id = self.keep()
        self.postpone(id, "no route to host")
        text = self.text("/")
        for words in (
            f'href="/message/{id}"',
            "jsmith@mindspring.com",
            "a@rosse.example",
            "451 4.4.1 no route to host",
            "2023-11-14T22:28:21Z",
            "<b>1</b>messages",
        ):
            self.assertIn(words, text)

    def test_held(self) -> None:
        """A message that an operator holds would look as if it were tried again."""
        id = self.keep(sender="")
        self.successResultOf(Deferred.fromCoroutine(self.storage.hold(id, 0)))
        text = self.text("/")
        self.assertIn("<td>held</td>", text)
        self.assertIn("<td>&lt;&gt;</td>", text)

    def test_message(self) -> None:
        """A user could not follow what happened to a message."""
        id = self.keep()
        self.postpone(id, "no route to host")
        text = self.text(f"/message/{id}")
        for words in ("accepted", "postponed", "451 4.4.1 no route to host", "octets from"):
            self.assertIn(words, text)
        self.assertNotIn("secret", text)

    def test_message_that_left(self) -> None:
        """The trace would end with the message's stay in the queue."""
        id = self.keep()
        self.successResultOf(Deferred.fromCoroutine(self.storage.remove(id, 0)))
        self.assertIn("has left the queue", self.text(f"/message/{id}"))

    def test_remote_words_are_escaped(self) -> None:
        """A remote server could run a script in the operator's browser by its reply."""
        id = self.keep('"<b onclick=x>"@evil.example')
        self.postpone(id, "<script>alert('x')</script> &amp; \"")
        for path in ("/", f"/message/{id}"):
            text = self.text(path)
            self.assertNotIn("<script", text)
            self.assertNotIn("<b onclick", text)
            self.assertIn("&lt;script&gt;", text)

    def test_unknown(self) -> None:
        """A mistyped address would look like an answer."""
        for path in ("/message/zzz", "/nothing", "/message/", "/message/..", "/api/message/zzz"):
            self.assertEqual(self.request(path).responseCode, 404, path)

    def test_pages_follow_each_other(self) -> None:
        """Of a long queue only the beginning could be seen."""
        self.patch(site_module, "PAGE", 2)
        self.patch(site_module, "_BATCH", 2)
        ids = [self.keep() for _ in range(3)]
        first = self.text("/")
        self.assertIn(f'href="/?after={ids[1]}"', first)
        self.assertIn("<b>3</b>messages", first)
        second = self.text("/", args={b"after": [ids[1].encode()]})
        self.assertIn(ids[2], second)
        self.assertNotIn(ids[0], second)
        self.assertNotIn("further messages", second)

    def test_a_long_queue_is_counted_in_part(self) -> None:
        """Looking at the console would keep a server with a long queue from its work."""
        self.patch(site_module, "COUNTED", 2)
        self.patch(site_module, "_BATCH", 1)
        for _ in range(3):
            self.keep()
        self.assertIn("<b>2+</b>messages", self.text("/"))

    def test_after_must_be_an_id(self) -> None:
        """A link to the console could carry words into the storage."""
        self.assertEqual(self.request("/", args={b"after": [b"a' or 1"]}).responseCode, 400)


class Interface(ConsoleCase):
    """What programs read."""

    def test_same_document_as_the_command(self) -> None:
        """Scripts could not move between the command and the console."""
        id = self.keep()
        entry = self.successResultOf(Deferred.fromCoroutine(self.storage.find(id)))
        events = self.successResultOf(Deferred.fromCoroutine(self.storage.history(id)))
        assert entry is not None
        self.assertEqual(json.loads(self.text("/api/queue")), queue_document([entry]))
        self.assertEqual(
            json.loads(self.text(f"/api/message/{id}")), trace_document(id, entry, events)
        )

    def test_link_to_the_next_page(self) -> None:
        """A script would take the first page for the whole queue."""
        self.patch(site_module, "PAGE", 1)
        first, _ = self.keep(), self.keep()
        request = self.request("/api/queue")
        link = request.responseHeaders.getRawHeaders(b"link")
        self.assertEqual(link, [f'</api/queue?after={first}>; rel="next"'.encode()])

    def test_health(self) -> None:
        """A monitor could not see that the server lives."""
        self.assertEqual(json.loads(self.text("/health")), {"status": "ok"})

    def test_health_of_a_broken_storage(self) -> None:
        """A monitor would call a server healthy that can't keep mail."""
        resource = self.make_resource(_Broken())
        request = self.request("/health", resource=resource)
        self.assertEqual(request.responseCode, 503)
        self.assertEqual(json.loads(b"".join(request.written)), {"status": "fault"})
        self.assertEqual(len(self.flushLoggedErrors(StorageFault)), 1)


class Safety(ConsoleCase):
    """What attackers try."""

    def test_headers(self) -> None:
        """A page elsewhere could frame the console, and an injected element could load a script."""
        request = self.request("/")
        headers = request.responseHeaders
        (policy,) = headers.getRawHeaders(b"content-security-policy")
        self.assertIn(b"default-src 'none'", policy)
        self.assertIn(b"frame-ancestors 'none'", policy)
        self.assertNotIn(b"unsafe", policy)
        self.assertEqual(headers.getRawHeaders(b"x-content-type-options"), [b"nosniff"])
        self.assertFalse(headers.hasHeader(b"set-cookie"))

    def test_the_page_needs_nothing_the_policy_forbids(self) -> None:
        """The console would look broken."""
        text = self.text("/")
        self.assertNotIn("style=", text)
        self.assertNotIn("<script", text)
        request = self.request("/style.css")
        (media,) = request.responseHeaders.getRawHeaders(b"content-type")
        self.assertEqual(media, b"text/css; charset=utf-8")

    def test_only_reading(self) -> None:
        """Something could be changed without a login."""
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"get"):
            request = self.request("/", method=method)
            self.assertEqual(request.responseCode, 405)
            self.assertEqual(request.responseHeaders.getRawHeaders(b"allow"), [b"GET, HEAD"])

    def test_head(self) -> None:
        """A monitor that asks with HEAD would get a body that confuses its connection."""
        request = self.request("/", method=b"HEAD")
        self.assertEqual(request.responseCode, 200)
        self.assertEqual(request.written, [])
        self.assertGreater(int(request.responseHeaders.getRawHeaders(b"content-length")[0]), 100)

    def test_other_machines_are_refused(self) -> None:
        """Everybody on the network could read who writes to whom."""
        request = self.request("/", peer="192.0.2.1")
        self.assertEqual(request.responseCode, 403)
        self.assertIn(b"no login", b"".join(request.written))

    def test_rebinding_is_refused(self) -> None:
        """A web page could read the queue through its visitor's browser."""
        for host in ("evil.example", None):
            for path in ("/", "/api/queue", "/health", "/style.css"):
                self.assertEqual(self.request(path, host=host).responseCode, 403)


class Faults(ConsoleCase):
    """Storages that fail or hang, and clients that go away."""

    def test_storage_fault(self) -> None:
        """An operator would see a blank page, or a traceback with paths of the server."""
        request = self.request("/", resource=self.make_resource(_Broken()))
        self.assertEqual(request.responseCode, 503)
        self.assertNotIn(b"Traceback", b"".join(request.written))
        self.flushLoggedErrors(StorageFault)

    def test_our_own_fault(self) -> None:
        """A defect of ours would leave the client waiting for ever."""
        request = self.request("/", resource=self.make_resource(_Nonsense()))
        self.assertEqual(request.responseCode, 500)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_hanging_storage(self) -> None:
        """Requests would pile up behind a storage that does not answer."""
        storage = _Hanging()
        resource = self.make_resource(storage)
        request = self.request("/", resource=resource)
        self.assertEqual(resource.in_flight, 1)
        idle = resource.when_idle()
        self.assertNoResult(idle)
        self.clock.advance(31)
        self.assertEqual(request.responseCode, 503)
        self.successResultOf(idle)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_client_goes_away(self) -> None:
        """An impatient reader would fill the log with errors."""
        storage = _Hanging()
        resource = self.make_resource(storage)
        request = self.request("/", resource=resource)
        request.processingFailed(Failure(ConnectionError()))
        storage.answer.callback([])
        self.assertEqual(request.written, [])
        self.assertEqual(request.finished, 0)
        self.assertEqual(resource.in_flight, 0)


class _Broken:
    async def messages(self, after: str | None, limit: int) -> None:
        raise StorageFault("disk is gone")

    async def next_due(self) -> None:
        raise StorageFault("disk is gone")


class _Nonsense:
    async def messages(self, after: str | None, limit: int) -> Any:
        return [1]


class _Hanging:
    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()

    def messages(self, after: str | None, limit: int) -> Deferred[Any]:
        return self.answer

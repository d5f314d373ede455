"""The console's one resource: it answers every path, reads the queue and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Tag, flattenString

from mailframe.console.access import refusal
from mailframe.console.pages import Counts, fault_page, message_page, queue_page
from mailframe.console.style import STYLE
from mailframe.documents import Document, queue_document, trace_document
from mailframe.entry import Entry, Event
from mailframe.guard import PluginFault, ask
from mailframe.interfaces import IQueueStorage

PAGE = 100  # messages on a page
COUNTED = 5000  # messages that are counted at the most, so that a long queue can't keep us busy
_BATCH = 500  # messages fetched at once; decoding them stays well under 50 ms

_MESSAGE = re.compile(r"/(?P<api>api/)?message/(?P<id>[a-z0-9]{1,32})")
_ID = re.compile(r"[a-z0-9]{1,32}")

# Nothing but our own style sheet may be loaded, nothing may frame the page or send a form.
HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; style-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Cache-Control": b"no-store",
}
log = Logger()


@attrs.frozen(kw_only=True)
class Answer:
    """One response: status code, media type, body, and where the next page is, if there is one."""

    status: int = 200
    media: bytes
    body: bytes
    following: str | None = None


def as_json(document: Document, status: int = 200, following: str | None = None) -> Answer:
    """A document as a response."""
    body = json.dumps(document, indent=2).encode("ascii") + b"\n"
    return Answer(status=status, media=b"application/json", body=body, following=following)


def as_text(status: int, text: str) -> Answer:
    """A sentence as a response."""
    return Answer(status=status, media=b"text/plain; charset=utf-8", body=text.encode() + b"\n")


async def as_page(page: Tag, status: int = 200) -> Answer:
    """A page as a response."""
    html = await flattenString(None, page)
    body = b"<!DOCTYPE html>\n" + html
    return Answer(status=status, media=b"text/html; charset=utf-8", body=body)


class ConsoleResource(Resource):
    """Everything under ``/``.

    :ivar in_flight: how many requests wait for their answer
    """

    isLeaf = True

    def __init__(
        self, *, storage: IQueueStorage, hostname: str, clock: IReactorTime, plugin_time: float
    ) -> None:
        """
        :param storage: whose messages are shown
        :param hostname: the server's own name
        :param clock: measures the storage's time
        :param plugin_time: seconds within which the storage must answer
        """
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types here
        self._storage = storage
        self._hostname = hostname
        self._clock = clock
        self._plugin_time = plugin_time
        self._idle: list[Deferred[None]] = []
        self.in_flight = 0

    def when_idle(self) -> Deferred[None]:
        """Fires when no request waits for its answer."""
        if not self.in_flight:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        return waiting

    def render(self, request: Any) -> int:  # Any: most methods of Request have no types
        """Answer one request. Called by twisted.web, which ends it when the client goes away."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        self.in_flight += 1

        async def respond() -> None:
            try:
                answer = await self._answer(request)
            except PluginFault:
                answer = as_text(503, "The queue's storage does not answer; the log says why.")
            except Exception:
                log.failure("console {path!r} failed", path=request.path)
                answer = as_text(500, "This page could not be made; the log says why.")
            if not gone:
                _send(request, answer)

        Deferred.fromCoroutine(respond()).addBoth(self._done)
        return NOT_DONE_YET

    def _done(self, _result: object) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            waiting, self._idle = self._idle, []
            for each in waiting:
                each.callback(None)

    async def _answer(self, request: Any) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return as_text(405, "This console only shows: GET and HEAD.")
        peer = getattr(request.getClientAddress(), "host", None)
        host = request.getHeader(b"host")
        reason = refusal(peer, None if host is None else host.decode("latin-1"), self._hostname)
        if reason:
            log.info("console refused {peer!r}: {reason}", peer=peer, reason=reason)
            return as_text(403, reason)
        path = request.path.decode("latin-1")
        if path == "/health":
            return await self._health()
        if path == "/style.css":
            return Answer(media=b"text/css; charset=utf-8", body=STYLE.encode())
        if path in ("/", "/api/queue"):
            return await self._queue(request, path == "/")
        match = _MESSAGE.fullmatch(path)
        if match:
            return await self._message(match["id"], match["api"] is None)
        return await as_page(fault_page("Not found", "There is no such page."), 404)

    async def _health(self) -> Answer:
        try:
            await ask("queue", (), self._clock, self._plugin_time, self._storage.next_due)
        except PluginFault:
            return as_json({"status": "fault"}, 503)
        return as_json({"status": "ok"})

    async def _queue(self, request: Any, html: bool) -> Answer:
        after = (request.args or {}).get(b"after", [b""])[0].decode("latin-1")
        if after and not _ID.fullmatch(after):
            return as_text(400, "after= takes the id of a message.")
        entries = await self._page(after or None, PAGE + 1)
        shown = entries[:PAGE]
        following = shown[-1].id if len(entries) > PAGE else None
        document = queue_document(shown)
        if not html:
            return as_json(document, following=following)
        return await as_page(queue_page(self._hostname, await self._counts(), document, following))

    async def _counts(self) -> Counts:
        messages = recipients = held = 0
        after = None
        while messages < COUNTED:
            entries = await self._page(after, _BATCH)
            messages += len(entries)
            recipients += sum(len(entry.pending) for entry in entries)
            held += sum(entry.held for entry in entries)
            if len(entries) < _BATCH:
                return Counts(messages=messages, recipients=recipients, held=held, complete=True)
            after = entries[-1].id
        return Counts(messages=messages, recipients=recipients, held=held, complete=False)

    async def _message(self, id: str, html: bool) -> Answer:
        events: Sequence[Event] = await ask(
            "queue", (), self._clock, self._plugin_time, lambda: self._storage.history(id)
        )
        entry: Entry | None = await ask(
            "queue", (), self._clock, self._plugin_time, lambda: self._storage.find(id)
        )
        if entry is None and not events:
            if not html:
                return as_json({"error": "no message of this id is known"}, 404)
            text = "No message of this id is known."
            return await as_page(fault_page(f"Message {id}", text), 404)
        document = trace_document(id, entry, events)
        return await as_page(message_page(document)) if html else as_json(document)

    async def _page(self, after: str | None, limit: int) -> Sequence[Entry]:
        return await ask(
            "queue",
            (),
            self._clock,
            self._plugin_time,
            lambda: self._storage.messages(after, limit),
        )


def _send(request: Any, answer: Answer) -> None:
    request.setResponseCode(answer.status)
    request.responseHeaders.removeHeader(b"Server")  # which version runs is nobody's business
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    if answer.status == 405:
        request.setHeader(b"Allow", b"GET, HEAD")  # RFC 9110 §15.5.6
    if answer.following is not None:
        link = f'</api/queue?after={answer.following}>; rel="next"'  # RFC 8288
        request.setHeader(b"Link", link.encode("ascii"))
    request.setHeader(b"Content-Type", answer.media)
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()

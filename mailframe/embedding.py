"""Mail that a program on this machine hands over, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any, Literal, TypeAlias

import attrs
from twisted.internet.defer import Deferred

from mailframe.address import Address
from mailframe.entry import Entry, Event, Step
from mailframe.envelope import Body, Client, Envelope, Recipient
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, Site, UnknownMessage
from mailframe.outcome import Permit
from mailframe.reply import Reply
from mailframe.server.trace import received
from mailframe.wire.data import MAX_LINE, measure

LOOK_AGAIN = 10.0  # seconds; another process that shares the queue may have settled the message
_CHUNK = 65_536  # octets written at once
_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELD_START = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")  # RFC 5322 §2.2
_DATE = re.compile(rb"^date[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LOCAL_CLIENT = Client(server="local", protocol="local", address="127.0.0.1")
_EVIDENCE = Permit(reason="handed over by a program on this machine", rule="local")

FinalState: TypeAlias = Literal["delivered", "relayed", "failed", "redirected", "removed"]
_FINAL: Mapping[str, FinalState] = {
    "delivered": "delivered",
    "relayed": "relayed",
    "refused": "failed",
    "expired": "failed",
    "redirected": "redirected",
}


class Stopped(Exception):
    """The server stopped before the message was settled; ask the next one by the message's id."""


@attrs.frozen(kw_only=True)
class Settled:
    """What became of one recipient for good.

    :ivar state: ``delivered`` into a mailbox here, ``relayed`` to another server, ``failed``,
        ``redirected`` to others that have their own entry, or ``removed`` by an operator
    :ivar reply: the last reply, or ``None`` when there was none
    :ivar where: the host or mailbox concerned, or ``""``
    :ivar reason: the reason of the decision behind it
    """

    state: FinalState
    reply: Reply | None = None
    where: str = ""
    reason: str = ""


@attrs.frozen
class SendHandle:
    """A message that was handed over.

    :ivar id: its queue id, by which ``server.handle(id)`` finds it again after a restart
    """

    id: str
    _settlements: Settlements = attrs.field(repr=False, eq=False)

    async def settled(self) -> Mapping[str, Settled]:
        """Wait until the message has left the queue.

        :returns: what became of each recipient, by address, those that redirects added included
        :raises UnknownMessage: nothing is known of it, any more or at all
        :raises Stopped: the server stopped before that
        """
        return await self._settlements.wait(self.id)


class Settlements:
    """Waits for messages to leave the queue.

    :param storage: the queue
    :param clock: measures when to look again
    """

    def __init__(self, storage: IQueueStorage, clock: Any) -> None:
        self._storage = storage
        self._clock = clock
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._stopped = False

    async def wait(self, id: str) -> Mapping[str, Settled]:
        """See `SendHandle.settled`."""
        while not self._stopped:
            # Before the queue is asked, so that nothing can happen between answer and waiting.
            stepped = self._next_step(id)
            try:
                entry = await as_deferred(self._storage.find(id=id))
                if entry is None:
                    history = await as_deferred(self._storage.history(id=id))
                    if not history:
                        raise UnknownMessage(id)
                    return outcomes(history)
                await stepped.addTimeout(LOOK_AGAIN, self._clock, _nothing)
            finally:
                self._forget(id, stepped)
        raise Stopped(id)

    def stepped(self, entry: Entry, step: Step) -> None:
        """Be told of a recorded step; an observer of the queue runner."""
        if step.next_attempt is None:
            _wake(self._waiting.get(entry.id, ()))

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self._stopped = True
        for group in tuple(self._waiting.values()):
            _wake(group)

    def _next_step(self, id: str) -> Deferred[None]:
        stepped: Deferred[None] = Deferred()
        self._waiting.setdefault(id, []).append(stepped)
        return stepped

    def _forget(self, id: str, stepped: Deferred[None]) -> None:
        group = self._waiting[id]
        group.remove(stepped)
        if not group:
            del self._waiting[id]


def _wake(group: Sequence[Deferred[None]]) -> None:
    for waiting in tuple(group):
        if not waiting.called:
            waiting.callback(None)


def _nothing(_result: object, _seconds: float) -> None:
    """A time-out that only means: look again."""


def outcomes(history: Sequence[Event]) -> Mapping[str, Settled]:
    """What became of each recipient of a message that has left the queue.

    :param history: all that happened to it
    """
    settled: dict[str, Settled] = {}
    replies: dict[str, Event] = {}
    for event in history:
        if event.recipient is None:
            continue
        address = str(event.recipient)
        settled.setdefault(address, Settled(state="removed"))
        if event.reply is not None:
            replies[address] = event
        if event.kind in _FINAL:
            said = replies.get(address, event)
            settled[address] = Settled(
                state=_FINAL[event.kind], reply=said.reply, where=said.where, reason=event.reason
            )
    return settled


async def hand_over(
    storage: IQueueStorage,
    site: Site,
    *,
    sender: Address | str | None,
    recipients: Sequence[Address | str],
    content: bytes,
) -> str:
    """Put a message into the queue.

    :param sender: the reverse-path; ``None`` or ``""`` is the null reverse-path
    :param recipients: at least one
    :param content: the message; line ends become CRLF, and missing ``Date`` and ``Message-ID``
        fields are added (RFC 6409 §8), as is a ``Received`` field
    :returns: its queue id, once it would survive a power cut
    :raises AddressError: an address is not one
    :raises ValueError: there is no recipient
    :raises StorageFault: it could not be kept
    """
    now = site.reactor.seconds()
    message = prepared(content, site.hostname, now, site.random)
    reverse_path = _address(sender) if sender else None
    addresses = [_address(recipient) for recipient in recipients]
    envelope = Envelope(
        sender=reverse_path,
        recipients=tuple(Recipient(address=address, evidence=_EVIDENCE) for address in addresses),
        client=_LOCAL_CLIENT,
        arrived=now,
        body=_body(message),
        smtputf8=not all(each.is_ascii for each in (reverse_path, *addresses) if each),
    )
    sink = storage.receive(envelope=envelope)
    trace = received(_LOCAL_CLIENT, site.hostname, sink.id, envelope.recipients, now)
    message = trace + message
    try:
        for start in range(0, len(message), _CHUNK):
            room = sink.write(octets=message[start : start + _CHUNK])
            if room is not None:
                await as_deferred(room)
    except BaseException:  # cancelling included: a sink must be ended
        sink.abort()
        raise
    await as_deferred(sink.commit())
    return sink.id


def prepared(content: bytes, hostname: str, now: float, random: Any) -> bytes:
    """A program's message as it goes into the queue: CRLF line ends, ``Date``, ``Message-ID``.

    :param now: POSIX seconds
    :param random: where the Message-ID comes from
    """
    message = _LINE_END.sub(b"\r\n", content)
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    if not message.startswith(b"\r\n") and not _FIELD_START.match(message):
        message = b"\r\n" + message  # a body alone: the empty line ends a header without fields
    header = b"" if message.startswith(b"\r\n") else message.partition(b"\r\n\r\n")[0]
    added = ""
    if not _DATE.search(header):
        added += f"Date: {formatdate(now)}\r\n"
    if not _MESSAGE_ID.search(header):
        added += f"Message-ID: <{random.getrandbits(96):024x}@{hostname}>\r\n"
    return added.encode("ascii") + message


def _body(message: bytes) -> Body:
    """What is to be declared of it; what is no lines can only be handed on as binary."""
    if b"\0" in message or measure(message, 0, MAX_LINE) is None:
        return "BINARYMIME"
    return "7BIT" if message.isascii() else "8BITMIME"


def _address(text: Address | str) -> Address:
    return text if isinstance(text, Address) else Address.parse(text)

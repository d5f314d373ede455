"""One message on its way from a client into the queue, with everything that may go wrong there.

The queue's sink gets the trace header and then the content as it comes. Once the message is refused
(too big, looping, a fault of the storage) the sink is aborted and the rest of the content goes
nowhere; the client hears of it at the end, as SMTP has it.

250 comes from the sink's ``commit`` and from nowhere else, and a fault of ours is always 4yz.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailframe import guard
from mailframe.envelope import Client, Envelope
from mailframe.interfaces import (
    IMessageSink,
    IQueueStorage,
    StorageFault,
    StorageFull,
    UnknownMessage,
)
from mailframe.reply import Reply, temporary_fault
from mailframe.server.forged_results import without_forged_results
from mailframe.server.header_scan import NO_LINES, HeaderScan, is_lines, with_blank_line
from mailframe.server.limits import Limits
from mailframe.server.trace import USUAL, Shown, received
from mailframe.told import is_told

log = Logger()

TOO_BIG = Reply(552, "5.3.4", "the message is too big")
NO_ROOM = Reply(452, "4.3.1", "no room for the message at present")
FAULT = temporary_fault()


class Incoming:
    """A message that is being received; ends with exactly one of `end` and `abandon`."""

    def __init__(
        self,
        *,
        envelope: Envelope,
        client: Client,
        storage: IQueueStorage,
        sink: IMessageSink,
        hostname: str,
        storage_name: str,
        limits: Limits,
        clock: IReactorTime,
        shown: Shown = USUAL,
    ) -> None:
        """
        :param envelope: what the storage was given
        :param client: who hands the message over
        :param storage: asked to remove the message when it was kept too late
        :param sink: where the content goes
        :param hostname: our own name, for the trace header; ``Authentication-Results`` from outside
            that claim it are taken out
        :param storage_name: the storage plugin's name, for log and fault
        :param shown: what the trace header tells of the client
        """
        self._envelope = envelope
        self._client = client
        self._storage = storage
        self._sink: IMessageSink | None = sink
        self._id = sink.id
        self._storage_name = storage_name
        self._limits = limits
        self._clock = clock
        self._size = 0
        self._refusal: Reply | None = None
        self._left = False  # the client is gone
        self._scan: HeaderScan | None = HeaderScan(
            max_size=limits.header_size, max_hops=limits.received_hops
        )
        self._header = bytearray()  # the section as far as it came, when it came in pieces
        self._name = hostname.encode("ascii")
        self._trace = received(
            client,
            hostname,
            sink.id,
            envelope.recipients,
            envelope.arrived,
            envelope.smtputf8,
            shown,
        )

    def write(self, octets: bytes) -> Coroutine[Any, Any, None] | None:
        """Take the next octets of the content.

        :returns: ``None`` when more may come at once, or else what to wait for before
        """
        if self._sink is None:
            return None
        self._size += len(octets)
        if 0 < self._limits.message_size < self._size:
            self.refuse(TOO_BIG, "over the size limit")
            return None
        if self._scan is not None:
            refusal = self._scan.scan(octets)
            if refusal is not None:
                self.refuse(refusal, refusal.text[0])
                return None
            if not self._scan.ended:
                # Where a field ends shows only with the next; the section's size is limited.
                self._header += octets
                return None
            if self._header or self._scan.has_results or not self._scan.separated:
                octets = self._whole_header(octets)
            self._scan = None
        return self._pass_on(octets)

    def _whole_header(self, octets: bytes) -> bytes:
        """The header section, and what came with its end, as it is to be kept."""
        octets = with_blank_line(bytes(self._header) + octets if self._header else octets)
        self._header = bytearray()
        # Who speaks LMTP to us stands inside, and may have judged in our name.
        if self._client.protocol == "lmtp":
            return octets
        return without_forged_results(octets, self._name)

    def end_of_chunk(self, octets: int, refusal: Reply | None) -> Reply:
        """A chunk of the content is complete (RFC 3030), and more is to come.

        :param octets: how many it had
        :param refusal: why the message must not be kept; the wire layer's judgement
        :returns: what to tell the client
        """
        if refusal is not None and self._refusal is None:
            self.refuse(refusal, refusal.text[0])
        return self._refusal or Reply(250, "2.0.0", f"{octets} octets received")

    def _pass_on(self, octets: bytes) -> Coroutine[Any, Any, None] | None:
        """Write to the sink, the trace header first."""
        assert self._sink is not None
        if self._trace:
            if self._envelope.body == "BINARYMIME" and not is_lines(octets):
                self.refuse(NO_LINES, NO_LINES.text[0])
                return None
            octets = self._trace + octets
            self._trace = b""
        try:
            room = self._sink.write(octets)
        except Exception as error:
            self._storage_failed(error)
            return None
        return None if room is None else self._wait(room)

    async def _wait(self, room: Awaitable[None]) -> None:
        """Wait until the sink has room again."""
        try:
            await guard.ask(
                self._storage_name,
                (),
                self._clock,
                self._limits.plugin_time,
                lambda: room,
                (StorageFault,),
            )
        except (StorageFault, guard.PluginFault) as error:
            self._storage_failed(error)

    def end(self, refusal: Reply | None = None) -> Reply | Awaitable[Reply]:
        """The content is complete: have it kept.

        :param refusal: why it must not be kept all the same; the wire layer's judgement
        :returns: what to tell the client
        """
        if refusal is not None and self._refusal is None:
            self.refuse(refusal, refusal.text[0])
        if self._sink is not None and self._trace:
            waiting = self._pass_on(self._whole_header(b""))
            if waiting is not None:
                return self._end_after(waiting)
        return self._commit()

    async def _end_after(self, room: Awaitable[None]) -> Reply:
        await room
        answer = self._commit()
        return await answer if isinstance(answer, Deferred) else answer

    def _commit(self) -> Reply | Deferred[Reply]:
        if self._refusal is not None:
            return self._refusal
        sink, self._sink = self._sink, None
        assert sink is not None
        try:
            # Not awaited: this is on the way of every message, and a coroutine has its price.
            committed = guard.asked(
                self._storage_name,
                (),
                self._clock,
                self._limits.commit_time,
                sink.commit,
                (StorageFault,),
                # Past some point a commit can't be stopped, and nobody can tell where that is.
                self._committed_late,
            )
        except (StorageFault, guard.PluginFault) as error:
            return self._not_committed(error)
        if isinstance(committed, Deferred):
            return committed.addCallbacks(
                self._acknowledge, lambda failure: self._not_committed(failure.value)
            )
        return self._acknowledge(None)

    def _not_committed(self, error: BaseException) -> Reply:
        if not isinstance(error, StorageFault | guard.PluginFault):
            raise error
        # Nobody is told no who left while the storage took its time.
        if isinstance(error, StorageFault) or not self._left:
            self._storage_failed(error)
        return self._refusal or FAULT

    def _acknowledge(self, _: object) -> Reply:
        self._log_acceptance()
        return Reply(250, "2.0.0", f"queued as {self._id}")

    def _committed_late(self, result: Failure | None) -> None:
        """The commit that took too long is over.

        A client that left before it was told anything doesn't mind: the message was received whole
        and stays (RFC 5321 §4.1.1.4). One that was told 451 will send it again.
        """
        if isinstance(result, Failure):
            log.error(
                "storage {storage} could not keep message {id}, and took too long: {error!r}",
                storage=self._storage_name,
                id=self._id,
                error=result.value,
            )
        elif self._refusal is None:
            self._log_acceptance()
        else:
            guard.as_deferred(self._undo()).addErrback(
                lambda failure: log.failure("undoing the commit of {id}", failure, id=self._id)
            )

    async def _undo(self) -> None:
        """Take the message out of the queue again."""
        try:
            await guard.ask(
                self._storage_name,
                (),
                self._clock,
                self._limits.plugin_time,
                lambda: self._storage.remove(self._id, self._clock.seconds()),
                (StorageFault, UnknownMessage),
            )
        except (StorageFault, UnknownMessage, guard.PluginFault) as error:
            log.error(
                "message {id} from {sender} was kept after its client was told to send it again, "
                "and may be delivered twice: {error!r}",
                id=self._id,
                sender=self._envelope.sender,
                error=error,
            )
        else:
            log.warn(
                "message {id} from {sender} was kept too late and taken out of the queue again: "
                "its client was told to send it again",
                id=self._id,
                sender=self._envelope.sender,
            )

    def abandon(self, reason: str) -> None:
        """The client went away, or is sent away."""
        self._left = True
        if self._sink is None:
            return
        self._give_up(FAULT)
        log.info(
            "gave up message {id} from {sender} by {address} on {server}: {reason}",
            id=self._id,
            sender=self._envelope.sender,
            address=self._client.address,
            server=self._client.server,
            login=self._client.login,
            size=self._size,
            reason=reason,
        )

    def refuse(self, reply: Reply, reason: str) -> None:
        """Give the message up; ``reply`` is what the client will be told at the end.

        :param reason: one clause for the log
        """
        self._give_up(reply)
        log.info(
            "refused message {id} from {sender} by {address} on {server}: {reason}; told {reply}",
            id=self._id,
            sender=self._envelope.sender,
            address=self._client.address,
            server=self._client.server,
            login=self._client.login,
            size=self._size,
            reason=reason,
            reply=reply,
        )

    def _give_up(self, reply: Reply) -> None:
        self._refusal = reply
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.abort()
        except Exception:
            log.failure("storage {storage} failed to abort", storage=self._storage_name)

    def _storage_failed(self, error: Exception) -> None:
        if isinstance(error, StorageFull):
            self.refuse(NO_ROOM, "the storage is full")
            return
        log.error(
            "storage {storage} could not keep message {id}: {error!r}",
            storage=self._storage_name,
            id=self._id,
            error=error,
        )
        self.refuse(FAULT, "the storage could not keep it")

    def _log_acceptance(self) -> None:
        if not is_told():
            return
        evidence = self._envelope.recipients[0].evidence
        log.info(
            "accepted message {id} from {sender} by {address} on {server}, {size} octets for "
            "{count} recipient(s): {reason} (rule {rule!r}, plugin {plugin!r})",
            id=self._id,
            sender=self._envelope.sender,
            address=self._client.address,
            server=self._client.server,
            login=self._client.login,
            size=self._size,
            count=len(self._envelope.recipients),
            recipients=self._envelope.recipients,
            reason=evidence.reason,
            rule=evidence.rule,
            plugin=evidence.plugin,
        )

"""What one attempt to deliver a message has come to so far."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from mailframe.interfaces import Job
from mailframe.outcome import Delivered, Outcome, Postponed, Refused
from mailframe.reply import Reply

log = Logger()


class Attempt:
    """The outcomes of one job's recipients, as they come in.

    :ivar job: the message and its recipients
    :ivar unsettled: the indices of the recipients that have no outcome yet
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.unsettled: tuple[int, ...] = tuple(range(len(job.recipients)))
        self._outcomes: list[Outcome | None] = [None] * len(job.recipients)
        self._temporary: Outcome | None = None  # why a server was passed over, the last such reason
        self._permanent: Outcome | None = None
        self._ascii: bool | None = None

    def record(
        self, where: str, indices: Sequence[int], replies: Sequence[Reply | None], *, again: bool
    ) -> None:
        """Take over what a server said of recipients; nothing of those with ``None``.

        A server that took some recipients and said 452 of others wants those in a transaction of
        their own (RFC 5321 §4.5.3.1.10): they stay unsettled.

        :param where: the server
        :param again: whether it could be given another transaction
        """
        more = again and any(reply is not None and reply.is_positive for reply in replies)
        for index, reply in zip(indices, replies, strict=True):
            if reply is not None and not (more and reply.code == 452):
                self._outcomes[index] = _outcome(where, reply)
        self.unsettled = tuple([index for index in indices if self._outcomes[index] is None])

    def settle_all(self, where: str, reply: Reply) -> None:
        """Nothing more can be done for those who are left."""
        for index in self.unsettled:
            self._outcomes[index] = _outcome(where, reply)
        self.unsettled = ()

    def passed_over(self, where: str, reply: Reply) -> None:
        """A server or a hop could not be used, with the reply that says why."""
        log.info(
            "{id}: {where} was passed over: {reason}",
            id=self.job.id,
            where=where or "a next hop",
            reason=str(reply),
        )
        if reply.is_permanent:
            self._permanent = _outcome(where, reply)
        else:
            self._temporary = _outcome(where, reply)

    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient."""
        rest = self._temporary or self._permanent
        rest = rest or Postponed(where="", reply=Reply(451, "4.4.0", "no server could be tried"))
        return tuple([outcome or rest for outcome in self._outcomes])

    async def is_ascii(self) -> bool | None:
        """Whether the content has 7-bit octets only; ``None`` when it could not be read."""
        if self._ascii is None:
            try:
                self._ascii = await self._scan()
            except CancelledError:
                raise
            except Exception:
                log.failure("{id}: the content could not be read", id=self.job.id)
        return self._ascii

    async def _scan(self) -> bool:
        content = await self.job.open()
        try:
            while octets := await content.read():
                if not octets.isascii():
                    return False
            return True
        finally:
            content.close()


def _outcome(where: str, reply: Reply) -> Outcome:
    if reply.is_positive:
        return Delivered(where=where, reply=reply)
    if reply.is_temporary:
        return Postponed(where=where, reply=reply)
    return Refused(where=where, reply=reply)

"""What one attempt to deliver a message has come to so far."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from mailframe.delivery.content_facts import ContentFacts
from mailframe.delivery.conversion import InThread
from mailframe.delivery.doubts import is_of_server
from mailframe.interfaces import Job
from mailframe.outcome import Delivered, Outcome, Postponed, Refused, Throttled
from mailframe.reply import Reply

log = Logger()

# RFC 5321 §4.5.3.1.8: recipients of one transaction that every server has to take.
LEAST_ROOM = 100


class Attempt:
    """The outcomes of one job's recipients, as they come in.

    :param in_thread: runs work elsewhere than in the reactor thread

    :ivar job: the message and its recipients
    :ivar content: what is known of its content
    :ivar unsettled: the indices of the recipients that have no outcome yet
    :ivar room: how many recipients a transaction may have: what the limits of the next hop say, or
        as many as a server took that said that there were too many; ``None`` when neither does
    :ivar in_trouble: the last server that put recipients off for a trouble of its own, or ``""``
    :ivar throttled: that the limits have no room for those who are left, or ``None``
    """

    def __init__(self, job: Job, in_thread: InThread) -> None:
        self.job = job
        self.content = ContentFacts(job, in_thread)
        self.unsettled: tuple[int, ...] = tuple(range(len(job.recipients)))
        self.room: int | None = None
        self.in_trouble = ""
        self.throttled: Throttled | None = None
        self._outcomes: list[Outcome | None] = [None] * len(job.recipients)
        self._temporary: Outcome | None = None  # why a server was passed over, the last such reason
        self._permanent: Outcome | None = None

    def record(
        self,
        where: str,
        indices: Sequence[int],
        replies: Sequence[Reply | None],
        *,
        again: bool,
        dsn: bool = False,
        deliver_by: bool = False,
        lmtp: bool = False,
    ) -> None:
        """Take over what a server said of recipients; nothing of those with ``None``.

        A server that took some recipients and said 452 of others wants those in a transaction of
        their own (RFC 5321 §4.5.3.1.10): they stay unsettled. Unless its status code says that it
        is about something else, such as a full mailbox.

        :param where: the server
        :param again: whether it could be given another transaction
        :param dsn: it offers DSN, so that it was told what the sender wants to be told
        :param deliver_by: it offers DELIVERBY
        :param lmtp: it speaks LMTP: without DSN it is taken for the last one on the way
        """
        taken = [reply for reply in replies if reply is not None and reply.is_positive]
        for index, reply in zip(indices, replies, strict=True):
            if reply is not None and again and taken and _is_too_many(reply):
                self.limit_room(max(len(taken), LEAST_ROOM))
            elif reply is not None and reply.is_positive:
                self._outcomes[index] = Delivered(
                    where=where,
                    reply=reply,
                    notifies=dsn and bool(self.job.originals[index].notify),
                    is_final=lmtp and not dsn,
                    knows_deadline=deliver_by,
                )
            elif reply is not None:
                self._outcomes[index] = _outcome(where, reply)
                if is_of_server(reply):
                    self.in_trouble = where
        self._note_unsettled()

    def settle(self, where: str, indices: Sequence[int], reply: Reply) -> None:
        """Nothing more can be done for these."""
        for index in indices:
            self._outcomes[index] = _outcome(where, reply)
        self._note_unsettled()

    def settle_all(self, where: str, reply: Reply) -> None:
        """Nothing more can be done for those who are left."""
        self.settle(where, self.unsettled, reply)

    def _note_unsettled(self) -> None:
        outcomes = self._outcomes
        self.unsettled = tuple([index for index in self.unsettled if outcomes[index] is None])

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

    def limit_room(self, recipients: int) -> None:
        """Tell no server of more recipients at once from now on."""
        self.room = recipients if self.room is None else min(self.room, recipients)

    @property
    def has_outcomes(self) -> bool:
        """Whether anybody is settled."""
        return len(self.unsettled) < len(self._outcomes)

    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient."""
        rest = self.throttled or self._temporary or self._permanent
        rest = rest or Postponed(where="", reply=Reply(451, "4.4.0", "no server could be tried"))
        return tuple([outcome or rest for outcome in self._outcomes])


def _is_too_many(reply: Reply) -> bool:
    return reply.code == 452 and reply.status in (None, "4.5.3")


def _outcome(where: str, reply: Reply) -> Outcome:
    if reply.is_positive:
        return Delivered(where=where, reply=reply)
    if reply.is_temporary:
        return Postponed(where=where, reply=reply)
    return Refused(where=where, reply=reply)

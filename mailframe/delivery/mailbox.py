"""A Maildir as a mailbox for POP3: `IPop3Mailbox` and `twisted.mail.interfaces.IMailboxPOP3`.

What the mailbox holds is settled when it is opened; mail that arrives later is seen next time.
Other programs may move, flag and remove messages meanwhile. Nothing is removed before `sync` or
`remove`.

Blocking work runs in threads, so that most methods give Deferreds, which callers of the interfaces
take as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, overload

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_session import Message, Session
from mailframe.delivery.read_ahead import Budget, ReadAhead
from mailframe.delivery.shielded import shielded
from mailframe.files import Files
from mailframe.interfaces import IPop3Mailbox, MailboxInUse

log = Logger()


class Mailboxes:
    """Opens mailboxes, each for one session at a time.

    :param files: the file system
    :param in_thread: see `mailframe.interfaces.Site`
    """

    def __init__(self, files: Files, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._files = files
        self._in_thread = in_thread
        self._open: set[MailboxPath] = set()
        self._budget = Budget()

    def open(self, path: MailboxPath, now: float) -> Deferred[IMailboxPOP3]:
        """Open and lock a Maildir.

        :param now: POSIX seconds
        :returns: fires with a `MaildirMailbox`
        :raises MailboxInUse: another session has it
        :raises ForeignMaildir, OSError: it can't be opened
        """
        if path in self._open:
            return fail(MailboxInUse(str(path)))
        self._open.add(path)

        def opened(session: Session) -> MaildirMailbox:
            return MaildirMailbox(
                session, self._in_thread, lambda: self._open.discard(path), self._budget
            )

        def failed(failure: Failure) -> Failure:
            self._open.discard(path)
            return failure

        work = self._in_thread(Session.open, self._files, path, now)
        work.addCallbacks(opened, failed)
        return shielded(work, MaildirMailbox.close)


@implementer(IPop3Mailbox, IMailboxPOP3)
class MaildirMailbox:
    """An open mailbox. It stays locked until `close`.

    :ivar sizes: octets of each message with CRLF line ends, deleted ones included
    """

    loginDelay = 0
    messageExpiration = None

    def __init__(
        self,
        session: Session,
        in_thread: Callable[..., Deferred[Any]],
        on_close: Callable[[], None],
        budget: Budget,
    ) -> None:
        """See `Mailboxes.open`."""
        self._session: Session | None = session
        self._in_thread = in_thread
        self._on_close = on_close
        self.sizes: Sequence[int] = session.listing.sizes
        self._deleted: set[int] = set()
        self._uidls: list[bytes] | None = None
        self._ahead = ReadAhead(session, self.sizes, in_thread, budget)

    def close(self) -> None:
        """End the session: the lock is released, and nothing is deleted. May be called again."""
        session, self._session = self._session, None
        self._ahead.close()
        if session is None:
            return
        if session.corrections:
            # The lock is kept until they are written.
            keeping = self._in_thread(session.keep_corrections)
            keeping.addErrback(lambda failure: log.failure("could not keep sizes", failure))
            keeping.addBoth(self._release, session)
        else:
            self._release(None, session)

    def _release(self, result: object, session: Session) -> None:
        session.close()
        self._on_close()

    # --- IPop3Mailbox ------------------------------------------------------------------------

    def fetch(self, index: int) -> bytes | Deferred[Message]:
        """See `IPop3Mailbox.fetch`."""
        self._check(index)
        if self._session is None:
            raise ValueError("the mailbox is closed")
        return self._ahead.fetch(index)

    def uidls(self) -> Deferred[list[bytes]]:
        """See `IPop3Mailbox.uidls`."""
        return self._in_session(lambda session: session.uidls())

    def remove(self, indices: Iterable[int]) -> Deferred[None]:
        """See `IPop3Mailbox.remove`."""
        return self._in_session(lambda session: session.remove(indices))

    def _in_session(self, work: Callable[[Session], Any]) -> Deferred[Any]:
        if self._session is None:
            raise ValueError("the mailbox is closed")
        return self._in_thread(work, self._session)

    # --- IMailboxPOP3 ------------------------------------------------------------------------

    @overload
    def listMessages(self) -> list[int]: ...

    @overload
    def listMessages(self, i: int) -> int: ...

    def listMessages(self, i: int | None = None) -> int | list[int]:
        """The size of one message or of each, in octets with CRLF; 0 where it is deleted.

        :raises ValueError: there is no such message
        """
        if i is not None:
            self._check(i)
            return 0 if i in self._deleted else self.sizes[i]
        sizes = list(self.sizes)
        for index in self._deleted:
            sizes[index] = 0
        return sizes

    def getMessage(self, index: int) -> Deferred[BinaryIO]:
        """A file of the message as it is stored, mostly with LF line ends.

        :returns: fires with an `io.BytesIO` where the message is small, else with an open file;
            fails with `FileNotFoundError` when another program has removed the message
        :raises ValueError: there is no such message
        """
        self._check(index)
        if index in self._deleted:
            raise ValueError(f"message {index} is deleted")
        reading = self._in_session(lambda session: session.read(index))
        return shielded(reading, lambda file: file.close())

    def getUidl(self, index: int) -> bytes:
        """The unique id: the same in every session, and never another message's.

        :raises ValueError: there is no such message
        """
        self._check(index)
        if self._uidls is None:
            assert self._session is not None
            self._uidls = self._session.uidls()
        return self._uidls[index]

    def deleteMessage(self, index: int) -> None:
        """Mark a message; `sync` removes it.

        :raises ValueError: there is no such message
        """
        self._check(index)
        self._deleted.add(index)

    def undeleteMessages(self) -> None:
        """Take all marks away."""
        self._deleted.clear()

    def sync(self) -> Deferred[None]:
        """Remove the marked messages, durably.

        :returns: fails with `OSError` when some are still there; the others are removed
        """
        return self.remove(sorted(self._deleted))

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self.sizes):
            raise ValueError(f"there is no message {index}")

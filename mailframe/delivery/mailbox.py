"""A Maildir as a mailbox for POP3: `twisted.mail.interfaces.IMailboxPOP3`.

What the mailbox holds is settled when it is opened; mail that arrives later is seen next time.
Other programs may move, flag and remove messages meanwhile. Nothing is removed before `sync`.

Blocking work runs in threads: `MaildirMailbox.getMessage` and `MaildirMailbox.sync` give Deferreds,
which callers of the interface take as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, overload

from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from zope.interface import implementer

from mailframe.delivery.maildir_files import Files
from mailframe.delivery.maildir_layout import MailboxPath, uidl
from mailframe.delivery.maildir_session import AT_ONCE, Message, Session, Sizes
from mailframe.delivery.shielded import shielded
from mailframe.interfaces import MailboxInUse

AHEAD = 16  # messages that are read at a time, as long as they are small


class Mailboxes:
    """Opens mailboxes, each for one session at a time.

    :param files: the file system
    :param in_thread: see `mailframe.interfaces.Site`
    """

    def __init__(self, files: Files, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._files = files
        self._in_thread = in_thread
        self._open: set[MailboxPath] = set()
        self._sizes = Sizes()

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
            return MaildirMailbox(session, self._in_thread, lambda: self._open.discard(path))

        def failed(failure: Failure) -> Failure:
            self._open.discard(path)
            return failure

        work = self._in_thread(Session.open, self._files, path, now, self._sizes)
        work.addCallbacks(opened, failed)
        return shielded(work, MaildirMailbox.close)


@implementer(IMailboxPOP3)
class MaildirMailbox:
    """An open mailbox. It stays locked until `close`."""

    loginDelay = 0
    messageExpiration = None

    def __init__(
        self,
        session: Session,
        in_thread: Callable[..., Deferred[Any]],
        on_close: Callable[[], None],
    ) -> None:
        self._session: Session | None = session
        self._messages = session.messages
        self._in_thread = in_thread
        self._on_close = on_close
        self._next = -1  # what comes after the messages that were read last
        self._ahead: dict[int, BinaryIO] = {}  # small messages that are read already

    def close(self) -> None:
        """End the session: the lock is released, and nothing is deleted. May be called again."""
        session, self._session = self._session, None
        self._ahead.clear()
        if session is not None:
            self._on_close()
            session.close()

    @overload
    def listMessages(self) -> list[int]: ...

    @overload
    def listMessages(self, i: int) -> int: ...

    def listMessages(self, i: int | None = None) -> int | list[int]:
        """The size of one message or of each, in octets with CRLF; 0 where it is deleted.

        :raises ValueError: there is no such message
        """
        if i is None:
            return [0 if message.deleted else message.size for message in self._messages]
        message = self._message(i)
        return 0 if message.deleted else message.size

    def getMessage(self, index: int) -> Deferred[BinaryIO]:
        """A file of the message as it is stored, mostly with LF line ends.

        A client that fetches one message after the other is read ahead for: a turn through another
        thread costs more than reading a small file.

        :returns: fires with an `io.BytesIO` where the message is small, else with an open file;
            fails with `FileNotFoundError` when another program has removed the message
        :raises ValueError: there is no such message
        """
        message = self._message(index)
        if message.deleted or self._session is None:
            raise ValueError(f"message {index} is deleted")
        file = self._ahead.pop(index, None)
        if file is not None:
            return succeed(file)
        self._ahead.clear()
        run = self._run(index)
        self._next = index + len(run)
        reading = self._in_thread(self._session.read_on, run)

        def read(files: list[BinaryIO]) -> BinaryIO:
            if self._session is not None:
                self._ahead.update(enumerate(files[1:], index + 1))
            return files[0]

        return shielded(reading.addCallback(read), lambda file: file.close())

    def _run(self, index: int) -> list[Message]:
        """What to read now: a message, and those after it when that is how the client reads."""
        run = [self._messages[index]]
        octets = 0
        if index == self._next:
            for message in self._messages[index + 1 : index + AHEAD]:
                octets += message.size
                if message.deleted or octets > AT_ONCE:
                    break
                run.append(message)
        return run

    def getUidl(self, index: int) -> bytes:
        """The unique id: the same in every session, and never another message's.

        :raises ValueError: there is no such message
        """
        return uidl(self._message(index).base)

    def deleteMessage(self, index: int) -> None:
        """Mark a message; `sync` removes it.

        :raises ValueError: there is no such message
        """
        self._message(index).deleted = True

    def undeleteMessages(self) -> None:
        """Take all marks away."""
        for message in self._messages:
            message.deleted = False

    def sync(self) -> Deferred[None]:
        """Remove the marked messages, durably.

        :returns: fails with `OSError` when some are still there; the others are removed
        """
        if self._session is None:
            raise ValueError("the mailbox is closed")
        return self._in_thread(self._session.remove_deleted)

    def _message(self, index: int) -> Message:
        if not 0 <= index < len(self._messages):
            raise ValueError(f"there is no message {index}")
        return self._messages[index]

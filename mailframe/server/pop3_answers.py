"""Answers what a POP3 session asks: logins, mailboxes, messages and their removal."""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailframe.envelope import Client
from mailframe.guard import PluginFault
from mailframe.reply import Reply
from mailframe.server.authentication import TOO_MANY_FAILURES, Authentication
from mailframe.server.mailbox_access import NoAccess, OpenMailbox
from mailframe.wire.pop3 import Pop3Session
from mailframe.wire.pop3_events import Authenticate, Event, Identify, Retrieve, StartTls, Update
from mailframe.wire.pop3_message import wire_form

if TYPE_CHECKING:
    from mailframe.server.pop3 import Pop3ServerFactory

log = Logger()

PIECE = 65536  # octets of a large message that are read at a time
PART = 1000  # messages that are removed at a time

Answer: TypeAlias = Coroutine[Any, Any, None] | None


class Line(Protocol):
    """The connection, seen from here.

    :ivar client: what is known of the client
    :ivar lost: the connection is gone
    :ivar closing: nothing more can be sent
    """

    @property
    def client(self) -> Client: ...

    @property
    def lost(self) -> bool: ...

    @property
    def closing(self) -> bool: ...

    def now_known(self, client: Client) -> None:
        """More is known of the client."""

    def learn_tls(self) -> None:
        """The TLS handshake is over, if there was one: it is known how that went."""

    def start_tls(self) -> None:
        """The client asked for TLS."""

    def flush(self) -> None:
        """Send what the session has to say."""

    def room(self) -> Deferred[None] | None:
        """What fires when there is room for more output; ``None`` when there is now."""

    def drop(self) -> None:
        """Close at once, without another word."""


class Answers:
    """Answers the events of one session. One is answered after the other."""

    def __init__(
        self,
        *,
        server: Pop3ServerFactory,
        session: Pop3Session,
        line: Line,
        binding: Callable[[str], bytes | None],
    ) -> None:
        """:param binding: see `mailframe.server.authentication.Authentication`"""
        self._server = server
        self._session = session
        self._line = line
        self._authentication = Authentication(
            portal=server.portal,
            limits=server.limits,
            clock=server.clock,
            failures=server.login_failures,
            binding=binding,
        )
        self._mailbox: OpenMailbox | None = None

    def answer(self, event: Event) -> Answer:
        """Answer an event.

        :returns: a coroutine when the answer may have to be waited for
        """
        return _ANSWERS[type(event)](self, event)

    def log_out(self) -> None:
        """Close the mailbox, which unlocks it, and end the login."""
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.log_out()
        self._authentication.log_out()

    def _start_tls(self, event: StartTls) -> None:
        self._line.start_tls()

    async def _authenticate(self, event: Authenticate) -> None:
        session, line = self._session, self._line
        line.learn_tls()
        proved = await self._authentication.prove(event.login, line.client)
        if isinstance(proved, Reply):
            text = " ".join(proved.text)
            if proved is TOO_MANY_FAILURES:
                session.hang_up(text, "AUTH")
            else:
                session.refuse(text, "SYS/TEMP" if proved.is_temporary else "AUTH")
            return
        if isinstance(proved, bytes):
            session.challenge(proved)
            return
        if line.lost:
            return
        client = attrs.evolve(line.client, login=str(proved))
        opened = await self._server.access.open(client, proved)
        if isinstance(opened, NoAccess):
            self._authentication.log_out()
            session.refuse(opened.text, opened.code)
            return
        self._mailbox = opened
        line.now_known(client)
        session.logged_in(opened.mailbox.sizes)

    async def _identify(self, event: Identify) -> None:
        try:
            uidls: Sequence[bytes] = await self._server.access.ask(self._open_mailbox().uidls)
        except PluginFault:
            self._session.refuse("can't tell unique ids at present", "SYS/TEMP")
        else:
            self._session.identified(uidls)

    def _retrieve(self, event: Retrieve) -> Answer:
        found = self._open_mailbox().fetch(event.index)
        if isinstance(found, bytes):
            self._session.message(found)
            return None
        return self._wait_for(event, found)

    async def _wait_for(self, event: Retrieve, reading: Any) -> None:
        session = self._session
        try:
            found = await self._server.access.ask(
                lambda: reading, FileNotFoundError, PermissionError
            )
        except FileNotFoundError:
            session.refuse("the message is not there any more: another program removed it")
        except PermissionError as error:
            self._not_permitted(error)
            session.refuse("the message can't be read: tell the postmaster", "SYS/PERM")
        except PluginFault:
            session.refuse("the message can't be read at present", "SYS/TEMP")
        else:
            if isinstance(found, io.BytesIO) and found.getbuffer().nbytes <= PIECE:
                found = wire_form(found.read())[0]
            if isinstance(found, bytes):
                session.message(found)
            else:
                await self._send(event, found)

    async def _send(self, event: Retrieve, file: Any) -> None:
        """Send a file, or the beginning of it, piece by piece."""
        session, line = self._session, self._line
        try:
            session.message_follows()
            more = True
            while more and not line.closing:
                if isinstance(file, io.BytesIO):
                    piece = file.read(PIECE)
                else:
                    piece = await self._server.in_thread(file.read, PIECE)
                if not piece:
                    break
                more = session.content(piece)
                line.flush()
                room = line.room()
                if room is not None:
                    await room
            session.message_sent()
        except Exception:
            # The message is begun: there is no way to tell the client but to break off.
            log.failure(
                "could not read message {number} of {login}",
                number=event.index + 1,
                login=line.client.login,
            )
            line.drop()
        finally:
            file.close()

    async def _update(self, event: Update) -> None:
        mailbox = self._open_mailbox()
        try:
            # In parts, as the time limit is meant for one of them.
            for start in range(0, len(event.indices), PART):
                part = event.indices[start : start + PART]
                await self._server.access.ask(partial(mailbox.remove, part), PermissionError)
        except PermissionError as error:
            self._not_permitted(error)
            self._not_removed("tell the postmaster", "SYS/PERM")
            return
        except PluginFault:
            self._not_removed("delete them again next time", "SYS/TEMP")
            return
        # Unlocked before the client is told, so that it may come back at once.
        self.log_out()
        self._session.accept(f"{self._server.hostname} says goodbye")

    def _not_removed(self, advice: str, code: str) -> None:
        self.log_out()
        self._session.refuse(f"some deleted messages were not removed: {advice}", code)

    def _not_permitted(self, error: PermissionError) -> None:
        """What only an administrator can mend (RFC 3206 §5)."""
        log.error(
            "no permission for the mailbox of {login}: {error}",
            login=self._line.client.login,
            error=str(error),
        )

    def _open_mailbox(self) -> Any:
        assert self._mailbox is not None
        return self._mailbox.mailbox


_ANSWERS = cast(
    dict[type, Callable[[Answers, Event], Answer]],
    {
        StartTls: Answers._start_tls,
        Authenticate: Answers._authenticate,
        Identify: Answers._identify,
        Retrieve: Answers._retrieve,
        Update: Answers._update,
    },
)

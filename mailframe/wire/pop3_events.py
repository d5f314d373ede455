"""What a POP3 session asks of whoever holds the mailbox, and what it may offer the client."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from mailframe.wire.sasl import Claim


@attrs.frozen(kw_only=True)
class Offer:
    """What the client may use now; it changes with the connection.

    :ivar stls: TLS can be started (RFC 2595 §4)
    :ivar login: a password may be sent: nobody can listen in
    :ivar mechanisms: of SASL, for AUTH; with PLAIN among them, USER and PASS are offered as well
    :ivar login_delay: seconds that have to pass between two logins to one mailbox, or 0
    """

    stls: bool = False
    login: bool = False
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    login_delay: int = 0


@attrs.frozen
class Flush:
    """There is much output, or much was done: send it, and let others have their turn.

    No answer is expected.
    """


@attrs.frozen
class StartTls:
    """Answer with `Pop3Session.tls_begins`."""


@attrs.frozen
class Authenticate:
    """Prove a login.

    Answer with `Pop3Session.logged_in`, `Pop3Session.refuse` or `Pop3Session.challenge`.
    """

    login: Claim


@attrs.frozen
class Identify:
    """Find the unique ids of all messages. Answer with `Pop3Session.identified` or ``refuse``."""


@attrs.frozen
class Retrieve:
    """Send a message.

    Answer with `Pop3Session.message`; or with `Pop3Session.message_follows`, any number of
    `Pop3Session.content` and then `Pop3Session.message_sent`; or with ``refuse``.

    :ivar index: of the message, from 0
    :ivar lines: how many lines of the body, or ``None`` for the whole message
    """

    index: int
    lines: int | None


@attrs.frozen
class Update:
    """The client took its leave: remove these messages. Answer with ``accept`` or ``refuse``.

    :ivar indices: of the messages, from 0, in their order
    """

    indices: tuple[int, ...]


Event: TypeAlias = Flush | StartTls | Authenticate | Identify | Retrieve | Update

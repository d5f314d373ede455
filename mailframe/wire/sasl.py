"""The SASL mechanisms PLAIN (RFC 4616) and LOGIN, for both sides, without I/O.

Challenges and responses are plain octets here; `encode` and `decode` give them the base64 form in
which SMTP (RFC 4954) and POP3 (RFC 5034) send them. Both mechanisms show the password to whoever
listens: it is the caller's part to offer them only where nobody can.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import attrs

MAX_LINE = 12288  # octets of a line with its CRLF in an AUTH exchange, RFC 4954 §4
MAX_PASSWORD = 1024  # octets; no work is done on more
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class SaslError(ValueError):
    """The other side broke the mechanism's rules. ``str(error)`` says how, in printable ASCII."""


@attrs.frozen(kw_only=True)
class Login:
    """What a client claims; nothing of it is proved yet.

    :ivar authzid: whom it wants to act as; empty means ``user``
    :ivar user: the login
    :ivar password: 1 to 1,024 octets
    """

    authzid: bytes
    user: bytes
    password: bytes = attrs.field(repr=False)


def encode(octets: bytes) -> bytes:
    """A challenge or response as it stands on the wire."""
    return base64.b64encode(octets)


def decode(line: bytes) -> bytes:
    """Read a base64 line, strictly.

    :raises SaslError: it is not base64
    """
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise SaslError("the response is not base64") from None


def decode_initial(argument: bytes) -> bytes:
    """Read an initial response, in which ``=`` stands for an empty one (RFC 4954 §4).

    :raises SaslError: it is not base64
    """
    return b"" if argument == b"=" else decode(argument)


# --- the server's side -----------------------------------------------------------------------


class ServerMechanism(Protocol):
    """One exchange, seen by the server."""

    def respond(self, response: bytes | None) -> bytes | Login:
        """Take what the client said.

        :param response: the decoded response; ``None`` at the beginning, when the client sent no
            initial response
        :returns: the next challenge, or what the client claims
        :raises SaslError: the response is against the mechanism's rules
        """


class PlainServer:
    """PLAIN: one response ``authzid NUL user NUL password``."""

    def respond(self, response: bytes | None) -> bytes | Login:
        """See `ServerMechanism.respond`."""
        if response is None:
            return b""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise SaslError("the response does not have the three parts of PLAIN")
        return _login(*parts)


class LoginServer:
    """LOGIN: two responses, user and password (draft-murchison-sasl-login)."""

    def __init__(self) -> None:
        self._user: bytes | None = None

    def respond(self, response: bytes | None) -> bytes | Login:
        """See `ServerMechanism.respond`."""
        if response is None:
            return b"Username:"
        if self._user is None:
            self._user = response
            return b"Password:"
        return _login(b"", self._user, response)


def _login(authzid: bytes, user: bytes, password: bytes) -> Login:
    if not user or not password:
        raise SaslError("the user or the password is empty")
    if len(password) > MAX_PASSWORD:
        raise SaslError(f"the password is longer than {MAX_PASSWORD} octets")
    if _CONTROLS.search(user) or _CONTROLS.search(authzid):
        raise SaslError("the user holds a control character")
    return Login(authzid=authzid, user=user, password=password)


SERVER_MECHANISMS: Mapping[str, Callable[[], ServerMechanism]] = {
    "PLAIN": PlainServer,
    "LOGIN": LoginServer,
}


# --- the client's side -----------------------------------------------------------------------


class ClientMechanism(Protocol):
    """One exchange, seen by the client.

    :ivar name: the mechanism's name
    """

    name: str

    def initial(self) -> bytes | None:
        """The initial response, or ``None`` when the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The response to a decoded challenge.

        :raises SaslError: the server asks for more than the mechanism has
        """


class PlainClient:
    """PLAIN, with an initial response."""

    name = "PLAIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._message: bytes | None = b"\0" + user + b"\0" + password

    def initial(self) -> bytes | None:
        """See `ClientMechanism.initial`."""
        message, self._message = self._message, None
        return message

    def respond(self, challenge: bytes) -> bytes:
        """See `ClientMechanism.respond`."""
        message = self.initial()
        if message is None:
            raise SaslError("the server asks for more than PLAIN has to say")
        return message


class LoginClient:
    """LOGIN: the user, then the password, whatever the prompts say."""

    name = "LOGIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._answers = [password, user]

    def initial(self) -> bytes | None:
        """See `ClientMechanism.initial`."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """See `ClientMechanism.respond`."""
        if not self._answers:
            raise SaslError("the server asks for more than LOGIN has to say")
        return self._answers.pop()


CLIENT_MECHANISMS: Mapping[str, Callable[[bytes, bytes], ClientMechanism]] = {
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
}


def choose(offered: Iterable[str], user: bytes, password: bytes) -> ClientMechanism | None:
    """The best of the mechanisms that a server offers, or ``None`` when we know none of them.

    :param offered: names in any case, as they stand in the EHLO or CAPA response
    """
    names = {name.upper() for name in offered}
    for name, mechanism in CLIENT_MECHANISMS.items():
        if name in names:
            return mechanism(user, password)
    return None

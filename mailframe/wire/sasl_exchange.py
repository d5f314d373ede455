"""What all SASL mechanisms have in common: their two sides, and how octets stand on the wire.

Challenges and responses are plain octets here; `encode` and `decode` give them the base64 form in
which SMTP (RFC 4954) and POP3 (RFC 5034) send them.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

import attrs

from mailframe.preparation import UnusableText, login_name
from mailframe.scram import salted_password

MAX_LINE = 12288  # octets of a line with its CRLF in an AUTH exchange, RFC 4954 §4
MAX_PASSWORD = 1024  # octets; no work is done on more


class SaslError(ValueError):
    """The other side broke the mechanism's rules. ``str(error)`` says how, in printable ASCII."""


@attrs.frozen(kw_only=True)
class Claim:
    """What a server has to find out before an exchange can go on.

    :ivar authzid: whom the client wants to act as; empty means ``user``
    :ivar user: the login, in normal form; nothing of it is proved yet
    """

    authzid: bytes
    user: bytes


@attrs.frozen(kw_only=True)
class Login(Claim):
    """A claim with a password.

    :ivar password: 1 to 1,024 octets
    """

    password: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Acknowledged(Claim):
    """The client has heard the last challenge: now it is to be told how its login went."""

    authzid: bytes = b""
    user: bytes = b""


@attrs.frozen(kw_only=True)
class Refuted(Claim):
    """A claim that its exchange shows to be false: the login fails, as with a wrong password.

    :ivar reason: for the log, in printable ASCII
    """

    reason: str


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


def read_name(octets: bytes) -> bytes:
    """A login, or another identity, in normal form.

    :raises SaslError: it can't be one
    """
    try:
        return login_name(octets)
    except UnusableText as error:
        raise SaslError(str(error)) from None


class ServerMechanism(Protocol):
    """One exchange, seen by the server."""

    def respond(self, response: bytes | None) -> bytes | Claim:
        """Take what the client said.

        :param response: the decoded response; ``None`` at the beginning, when the client sent no
            initial response
        :returns: the next challenge, or what the client claims. A claim may lead to a further
            challenge, whose response comes here again
        :raises SaslError: the response is against the mechanism's rules
        """


@attrs.frozen(kw_only=True)
class Derivation:
    """A piece of work too long for the reactor thread: hashing a password many times."""

    password: bytes = attrs.field(repr=False)
    salt: bytes
    iterations: int

    def compute(self) -> bytes:
        """Do it."""
        return salted_password(self.password, self.salt, self.iterations)


class ClientMechanism(Protocol):
    """One exchange, seen by the client.

    :ivar name: the mechanism's name
    """

    name: str

    def initial(self) -> bytes | None:
        """The initial response, or ``None`` when the server speaks first."""

    def respond(self, challenge: bytes) -> bytes | Derivation:
        """The response to a decoded challenge.

        :returns: the response; or what is to be computed for it, whose result goes to `derived`
        :raises SaslError: the server asks for more than the mechanism has, or is not the one that
            it says to be
        """

    def derived(self, key: bytes) -> bytes:
        """The response, once the work that `respond` asked for is done."""

    def succeeded(self) -> None:
        """The server says that the login is accepted.

        :raises SaslError: it has not proved yet what it had to prove
        """

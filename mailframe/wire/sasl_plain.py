"""PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), for both sides.

Both show the password to whoever listens: it is the caller's part to use them only where nobody
can.
"""

from __future__ import annotations

from mailframe.wire.sasl_exchange import MAX_PASSWORD, Login, SaslError, read_name


def claim_login(authzid: bytes, user: bytes, password: bytes) -> Login:
    """What a client said in clear, if it can be a login at all.

    :raises SaslError: it can't
    """
    if not user or not password:
        raise SaslError("the user or the password is empty")
    if len(password) > MAX_PASSWORD:
        raise SaslError(f"the password is longer than {MAX_PASSWORD} octets")
    return Login(authzid=read_name(authzid), user=read_name(user), password=password)


class PlainServer:
    """PLAIN: one response ``authzid NUL user NUL password``."""

    def respond(self, response: bytes | None) -> bytes | Login:
        """See `mailframe.wire.sasl_exchange.ServerMechanism.respond`."""
        if response is None:
            return b""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise SaslError("the response does not have the three parts of PLAIN")
        return claim_login(*parts)


class LoginServer:
    """LOGIN: two responses, user and password."""

    def __init__(self) -> None:
        self._user: bytes | None = None

    def respond(self, response: bytes | None) -> bytes | Login:
        """See `mailframe.wire.sasl_exchange.ServerMechanism.respond`."""
        if response is None:
            return b"Username:"
        if self._user is None:
            self._user = response
            return b"Password:"
        return claim_login(b"", self._user, response)


class WithoutProof:
    """A client mechanism in which the server proves nothing, and nothing takes long."""

    def derived(self, key: bytes) -> bytes:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.derived`; never asked for."""
        raise AssertionError("nothing was to be derived")

    def succeeded(self) -> None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.succeeded`."""


class PlainClient(WithoutProof):
    """PLAIN, with an initial response."""

    name = "PLAIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._message: bytes | None = b"\0" + user + b"\0" + password

    def initial(self) -> bytes | None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.initial`."""
        message, self._message = self._message, None
        return message

    def respond(self, challenge: bytes) -> bytes:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.respond`."""
        message = self.initial()
        if message is None:
            raise SaslError("the server asks for more than PLAIN has to say")
        return message


class LoginClient(WithoutProof):
    """LOGIN: the user, then the password, whatever the prompts say."""

    name = "LOGIN"

    def __init__(self, user: bytes, password: bytes) -> None:
        self._answers = [password, user]

    def initial(self) -> bytes | None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.initial`."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.respond`."""
        if not self._answers:
            raise SaslError("the server asks for more than LOGIN has to say")
        return self._answers.pop()

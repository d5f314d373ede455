"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): the client's side."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

from mailframe.scram import MECHANISM, mac, xor
from mailframe.wire.sasl_exchange import Derivation, SaslError
from mailframe.wire.sasl_scram import (
    make_nonce,
    read_server_final,
    read_server_first,
    write_name,
)


class ScramClient:
    """One exchange. Nothing is believed of a server that does not sign it with the login's keys.

    :ivar name: the mechanism's name
    """

    def __init__(
        self,
        user: bytes,
        password: bytes,
        *,
        binding: tuple[str, bytes] | None = None,
        plus: bool = False,
        nonce: Callable[[], bytes] = make_nonce,
    ) -> None:
        """
        :param binding: the kind of channel binding that the connection has, and its octets
        :param plus: use it, as the server offers that
        :param nonce: makes our part of the nonce
        """
        self.name = f"{MECHANISM}-PLUS" if plus else MECHANISM
        self._password = password
        if plus:
            assert binding is not None
            self._header = b"p=" + binding[0].encode("ascii") + b",,"
            self._bound = self._header + binding[1]
        else:
            # ``y`` says that we could, and lets the server see when its offer was tampered with.
            self._header = self._bound = b"n,," if binding is None else b"y,,"
        self._nonce = nonce()
        self._bare = b"n=" + write_name(user) + b",r=" + self._nonce
        self._said_first = False
        self._server_first = self._signature = b""
        self._server_nonce = b""
        self._verified = False

    def initial(self) -> bytes | None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.initial`."""
        self._said_first = True
        return self._header + self._bare

    def respond(self, challenge: bytes) -> bytes | Derivation:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.respond`."""
        if not self._said_first:
            self._said_first = True
            return self._header + self._bare
        if not self._server_first:
            return self._read_first(challenge)
        if self._verified or not self._signature:
            raise SaslError("the server asks for more than SCRAM has to say")
        if not hmac.compare_digest(read_server_final(challenge), self._signature):
            raise SaslError("the server's signature is wrong: it does not know the login")
        self._verified = True
        return b""

    def _read_first(self, challenge: bytes) -> Derivation:
        first = read_server_first(challenge)
        if not first.nonce.startswith(self._nonce) or first.nonce == self._nonce:
            raise SaslError("the server's nonce does not go on from ours")
        self._server_first, self._server_nonce = challenge, first.nonce
        return Derivation(password=self._password, salt=first.salt, iterations=first.iterations)

    def derived(self, key: bytes) -> bytes:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.derived`."""
        final = b"c=" + base64.b64encode(self._bound) + b",r=" + self._server_nonce
        message = b",".join((self._bare, self._server_first, final))
        client_key = mac(key, b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        self._signature = mac(mac(key, b"Server Key"), message)
        return final + b",p=" + base64.b64encode(xor(client_key, mac(stored_key, message)))

    def succeeded(self) -> None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.succeeded`."""
        if not self._verified:
            raise SaslError("the server accepts the login without proof that it knows it")

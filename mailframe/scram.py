"""What SCRAM-SHA-256 keeps of a password, and what is computed from it (RFC 5802 §3, RFC 7677).

`ScramKeys` are enough to verify a client's proof and to prove to the client that the server knows
them. They are no password: whoever steals them can't log in with them, but can guess at the
password behind them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re

import attrs

from mailframe.preparation import password_for_scram

MECHANISM = "SCRAM-SHA-256"
TLS_EXPORTER = "tls-exporter"  # RFC 9266
TLS_SERVER_END_POINT = "tls-server-end-point"  # RFC 5929 §4
BINDINGS = (TLS_EXPORTER, TLS_SERVER_END_POINT)  # the channel bindings that can be used
LEAST_ITERATIONS = 4096  # RFC 7677 §4
MOST_ITERATIONS = 1_000_000  # a second of work at the most, whoever names the number
ITERATIONS = 65_536  # for keys that are made here: some 20 ms for a client, once for each session
SALT = 16  # octets
_TEXT = re.compile(
    r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


def salted_password(password: bytes, salt: bytes, iterations: int) -> bytes:
    """The costly part: for ``ITERATIONS`` about 20 ms, so never in the reactor thread.

    :param password: its octets, not prepared yet
    """
    return hashlib.pbkdf2_hmac("sha256", password_for_scram(password), salt, iterations)


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, message, "sha256")


def xor(one: bytes, other: bytes) -> bytes:
    """The exclusive or of two strings of 32 octets."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(32, "big")


@attrs.frozen(kw_only=True)
class ScramKeys:
    """What a server keeps to verify a login with SCRAM-SHA-256.

    As text it is what RFC 5803 §2 sets out, in the form that PostgreSQL keeps too:
    ``SCRAM-SHA-256$65536:<salt>$<stored key>:<server key>``, each in base64.

    :ivar salt: at least one octet
    :ivar iterations: `LEAST_ITERATIONS` to `MOST_ITERATIONS`
    :ivar stored_key: verifies the client's proof
    :ivar server_key: proves to the client that the server is the one that keeps its keys
    """

    salt: bytes
    iterations: int
    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    @classmethod
    def derive(
        cls, password: bytes, *, salt: bytes | None = None, iterations: int = ITERATIONS
    ) -> ScramKeys:
        """Make the keys of a password. Takes long: never in the reactor thread.

        :param salt: by default a random one
        """
        salt = os.urandom(SALT) if salt is None else salt
        salted = salted_password(password, salt, iterations)
        return cls(
            salt=salt,
            iterations=iterations,
            stored_key=hashlib.sha256(mac(salted, b"Client Key")).digest(),
            server_key=mac(salted, b"Server Key"),
        )

    @classmethod
    def parse(cls, text: str) -> ScramKeys:
        """Read the text form.

        :raises ValueError: it is no such text
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("not of the form SCRAM-SHA-256$iterations:salt$stored key:server key")
        try:
            salt, stored_key, server_key = (
                base64.b64decode(each, validate=True) for each in match.groups()[1:]
            )
        except binascii.Error:
            raise ValueError("not base64 in each of its parts") from None
        iterations = int(match[1])
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise ValueError(f"not of {LEAST_ITERATIONS} to {MOST_ITERATIONS} iterations")
        if not salt or len(stored_key) != 32 or len(server_key) != 32:
            raise ValueError("not made of a salt and two keys of 32 octets")
        return cls(salt=salt, iterations=iterations, stored_key=stored_key, server_key=server_key)

    def __str__(self) -> str:
        salt, stored_key, server_key = (
            base64.b64encode(each).decode("ascii")
            for each in (self.salt, self.stored_key, self.server_key)
        )
        return f"{MECHANISM}${self.iterations}:{salt}${stored_key}:{server_key}"

    def fits(self, proof: bytes, message: bytes) -> bool:
        """Whether the proof was made with the password behind these keys (RFC 5802 §3).

        :param proof: the client's
        :param message: the AuthMessage of the exchange
        """
        if len(proof) != 32:
            return False
        client_key = xor(proof, mac(self.stored_key, message))
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self.stored_key)

    def sign(self, message: bytes) -> bytes:
        """The server's signature of the exchange."""
        return mac(self.server_key, message)

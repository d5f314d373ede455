"""OAUTHBEARER (RFC 7628) and XOAUTH2 (as Google and Microsoft document it), for both sides.

Both carry a bearer token of OAuth 2.0. One that is refused is answered with a challenge in JSON
that says so; the client acknowledges that with a dummy response, and only then is told that its
login failed.
"""

from __future__ import annotations

import json
import re

import attrs

from mailframe.wire.sasl_exchange import Acknowledged, Claim, SaslError, read_name
from mailframe.wire.sasl_plain import WithoutProof
from mailframe.wire.sasl_scram import read_gs2_header, write_name

MAX_TOKEN = 8192  # octets
_TOKEN = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*) *")  # RFC 6750 §2.1
_PAIR = re.compile(rb"([A-Za-z]+)=([\t\r\n\x20-\x7e]*)", re.DOTALL)  # RFC 7628 §3.1
_DUMMY = b"\x01"  # RFC 7628 §3.2.3


@attrs.frozen(kw_only=True)
class TokenClaim(Claim):
    """A claim with a token.

    :ivar user: whom the client says to be; empty when it leaves that to the token
    :ivar refusal: the challenge to send when the token is refused
    """

    token: bytes = attrs.field(repr=False)
    refusal: bytes


class OAuthBearerServer:
    """OAUTHBEARER: ``n,a=user,^Ahost=…^Aport=…^Aauth=Bearer token^A^A``."""

    _refusal = json.dumps({"status": "invalid_token"}).encode("ascii")

    def __init__(self) -> None:
        self._heard = False

    def respond(self, response: bytes | None) -> bytes | Claim:
        """See `mailframe.wire.sasl_exchange.ServerMechanism.respond`."""
        if response is None:
            return b""
        if self._heard:
            return Acknowledged()
        self._heard = True
        user, pairs = self._read(response)
        match = _TOKEN.fullmatch(pairs.get(b"auth", b""))
        if match is None or len(match[1]) > MAX_TOKEN:
            raise SaslError("there is no bearer token, or one that is too long")
        return TokenClaim(authzid=user, user=user, token=match[1], refusal=self._refusal)

    def _read(self, response: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        header = read_gs2_header(response)
        rest = response[len(header.octets) :]
        if header.flag == "p" or not rest.startswith(b"\x01"):
            raise SaslError("the response does not begin as OAUTHBEARER does")
        return header.authzid, _pairs(rest[1:])


class XOAuth2Server(OAuthBearerServer):
    """XOAUTH2: ``user=user^Aauth=Bearer token^A^A``."""

    _refusal = json.dumps({"status": "401", "schemes": "bearer"}).encode("ascii")

    def _read(self, response: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        first, separator, rest = response.partition(b"\x01")
        if not separator or not first.startswith(b"user=") or len(first) == 5:
            raise SaslError("the response does not begin as XOAUTH2 does")
        return read_name(first[5:]), _pairs(rest)


class OAuthBearerClient(WithoutProof):
    """OAUTHBEARER, with an initial response."""

    name = "OAUTHBEARER"

    def __init__(self, user: bytes, token: bytes) -> None:
        self._message: bytes | None = self._compose(user, b"auth=Bearer " + token + b"\x01\x01")
        self.refusal = b""

    def _compose(self, user: bytes, rest: bytes) -> bytes:
        return b"n,a=" + write_name(user) + b",\x01" + rest

    def initial(self) -> bytes | None:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.initial`."""
        message, self._message = self._message, None
        return message

    def respond(self, challenge: bytes) -> bytes:
        """See `mailframe.wire.sasl_exchange.ClientMechanism.respond`."""
        message = self.initial()
        if message is not None:
            return message
        if self.refusal:
            raise SaslError(f"the server asks for more than {self.name} has to say")
        # It is refused; the server says why, and waits for a dummy.
        self.refusal = challenge or b"{}"
        return self._dummy()

    def _dummy(self) -> bytes:
        return _DUMMY


class XOAuth2Client(OAuthBearerClient):
    """XOAUTH2, with an initial response."""

    name = "XOAUTH2"

    def _compose(self, user: bytes, rest: bytes) -> bytes:
        return b"user=" + user + b"\x01" + rest

    def _dummy(self) -> bytes:
        return b""


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    """``key=value^A…^A``: the pairs, each with its separator, and one more separator."""
    if not octets.endswith(b"\x01\x01"):
        raise SaslError("the response does not end as it should")
    pairs: dict[bytes, bytes] = {}
    for text in octets[:-2].split(b"\x01"):
        match = _PAIR.fullmatch(text)
        if match is None or match[1].lower() in pairs:
            raise SaslError("a key in the response is not one, or there twice")
        pairs[match[1].lower()] = match[2]
    return pairs

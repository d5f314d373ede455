"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): the server's side.

The keys of a login are somebody else's to find, and so is the channel binding. So the exchange
stops twice: with a `ScramLookup`, which its `ScramLookup.challenge` goes on from, and with a
`ScramProof`, to be verified with the keys. When the proof was good its signature is the last
challenge, and the client's empty response to that comes out as `Acknowledged`. What somebody in
between has changed, or passed on from another connection, comes out as `Refuted`: to the client it
is a failed login, and it counts as one (RFC 5802 §7, ``server-error-value``).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import attrs

from mailframe.scram import BINDINGS, MECHANISM, ScramKeys
from mailframe.wire.sasl_exchange import Acknowledged, Claim, Refuted, SaslError
from mailframe.wire.sasl_scram import (
    ClientFirst,
    make_nonce,
    read_client_final,
    read_client_first,
)

PLUS = f"{MECHANISM}-PLUS"


@attrs.frozen(kw_only=True)
class ScramLookup(Claim):
    """The client wants to be told the salt of a login.

    :ivar binding: the kind of channel binding that it uses; ``""`` for none
    """

    binding: str
    exchange: ScramServer = attrs.field(repr=False)

    def challenge(self, keys: ScramKeys, binding: bytes) -> bytes:
        """What to send to the client.

        :param keys: those of the login, or others that nothing fits when there is no such login
        :param binding: the connection's, of the kind that is asked for; else ``b""``
        """
        return self.exchange.challenge(keys, binding)


@attrs.frozen(kw_only=True)
class ScramProof(Claim):
    """The client says that it knows the password.

    :ivar proof: shows it, to who has the keys
    :ivar message: the AuthMessage, over which proof and signature are computed
    """

    proof: bytes = attrs.field(repr=False)
    message: bytes = attrs.field(repr=False)

    def fits(self, keys: ScramKeys) -> bool:
        """Whether it does."""
        return keys.fits(self.proof, self.message)

    def signature(self, keys: ScramKeys) -> bytes:
        """What to send to a client whose proof fits: the server's own proof."""
        return b"v=" + base64.b64encode(keys.sign(self.message))


class ScramServer:
    """One exchange."""

    def __init__(
        self, *, plus: bool, plus_offered: bool, nonce: Callable[[], bytes] = make_nonce
    ) -> None:
        """
        :param plus: whether the client chose the mechanism with channel binding
        :param plus_offered: whether it could have chosen it
        :param nonce: makes our part of the nonce
        """
        self._plus = plus
        self._plus_offered = plus_offered
        self._make_nonce = nonce
        self._first: ClientFirst | None = None
        self._binding = self._nonce = self._server_first = b""
        self._proved = False

    def respond(self, response: bytes | None) -> bytes | Claim:
        """See `mailframe.wire.sasl_exchange.ServerMechanism.respond`."""
        if response is None:
            return b""
        if self._first is None:
            return self._read_first(response)
        if not self._proved:
            return self._read_final(self._first, response)
        if response:
            raise SaslError("an empty response is due at the end of SCRAM")
        return Acknowledged()

    def _read_first(self, response: bytes) -> Claim:
        first = read_client_first(response)
        if self._plus and first.header.flag != "p":
            raise SaslError(f"{PLUS} is used without a channel binding")
        if not self._plus and first.header.flag == "p":
            raise SaslError(f"a channel binding is used without {PLUS}")
        if first.header.flag == "y" and self._plus_offered:
            # RFC 5802 §6: somebody in between has taken it out of what was offered.
            return _refuted(first, f"{PLUS} was offered, but did not reach the client")
        if first.header.flag == "p" and first.header.binding not in BINDINGS:
            raise SaslError(f"the known channel bindings are {' and '.join(BINDINGS)}")
        self._first = first
        header = first.header
        return ScramLookup(
            authzid=header.authzid, user=first.user, binding=header.binding, exchange=self
        )

    def challenge(self, keys: ScramKeys, binding: bytes) -> bytes:
        """See `ScramLookup.challenge`."""
        assert self._first is not None
        self._binding = binding
        self._nonce = self._first.nonce + self._make_nonce()
        salt = base64.b64encode(keys.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, keys.iterations)
        return self._server_first

    def _read_final(self, first: ClientFirst, response: bytes) -> Claim:
        final = read_client_final(response)
        if not hmac.compare_digest(final.nonce, self._nonce):
            return _refuted(first, "the nonce is not that of this exchange")
        if not hmac.compare_digest(final.binding, first.header.octets + self._binding):
            return _refuted(first, "the channel binding is not that of this connection")
        self._proved = True
        return ScramProof(
            authzid=first.header.authzid,
            user=first.user,
            proof=final.proof,
            message=b",".join((first.bare, self._server_first, final.signed)),
        )


def _refuted(first: ClientFirst, reason: str) -> Refuted:
    return Refuted(authzid=first.header.authzid, user=first.user, reason=reason)

"""SASL (RFC 4422) for both sides, without I/O: which mechanisms there are, and how to choose one.

==================================== ========================================================
`mailframe.wire.sasl_exchange`       what all mechanisms have in common
`mailframe.wire.sasl_plain`          PLAIN and LOGIN
`mailframe.wire.sasl_scram_server`,  SCRAM-SHA-256 and SCRAM-SHA-256-PLUS; their messages are in
`mailframe.wire.sasl_scram_client`   `mailframe.wire.sasl_scram`
`mailframe.wire.sasl_bearer`         XOAUTH2 and OAUTHBEARER
==================================== ========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from mailframe.scram import MECHANISM
from mailframe.wire.sasl_bearer import OAuthBearerServer, TokenClaim, XOAuth2Server
from mailframe.wire.sasl_exchange import (
    MAX_LINE,
    MAX_PASSWORD,
    Acknowledged,
    Claim,
    ClientMechanism,
    Derivation,
    Login,
    Refuted,
    SaslError,
    ServerMechanism,
    decode,
    decode_initial,
    encode,
)
from mailframe.wire.sasl_plain import (
    LoginClient,
    LoginServer,
    PlainClient,
    PlainServer,
    claim_login,
)
from mailframe.wire.sasl_scram_client import ScramClient
from mailframe.wire.sasl_scram_server import PLUS, ScramLookup, ScramProof, ScramServer

__all__ = [
    "MAX_LINE",
    "MAX_PASSWORD",
    "PLUS",
    "SCRAM",
    "SERVER_MECHANISMS",
    "Acknowledged",
    "Claim",
    "ClientMechanism",
    "Derivation",
    "Login",
    "Refuted",
    "SaslError",
    "ScramLookup",
    "ScramProof",
    "ServerMechanism",
    "TokenClaim",
    "choose",
    "claim_login",
    "decode",
    "decode_initial",
    "encode",
    "server_mechanism",
]

SCRAM = MECHANISM

_WITHOUT_CHOICE: Mapping[str, Callable[[], ServerMechanism]] = {
    "PLAIN": PlainServer,
    "LOGIN": LoginServer,
    "OAUTHBEARER": OAuthBearerServer,
    "XOAUTH2": XOAuth2Server,
}
# All that a server can offer, the strongest first.
SERVER_MECHANISMS = (PLUS, SCRAM, *_WITHOUT_CHOICE)


def server_mechanism(name: str, offered: Collection[str]) -> ServerMechanism:
    """Begin an exchange as the server.

    :param name: in capitals, one of ``offered``
    :param offered: the mechanisms that the client could have chosen
    """
    if name in (SCRAM, PLUS):
        return ScramServer(plus=name == PLUS, plus_offered=PLUS in offered)
    return _WITHOUT_CHOICE[name]()


def choose(
    offered: Iterable[str],
    user: bytes,
    password: bytes,
    binding: tuple[str, bytes] | None = None,
) -> ClientMechanism | None:
    """The strongest of the mechanisms that a server offers, or ``None`` when we know none of them.

    :param offered: names in any case, as they stand in the EHLO or CAPA response
    :param binding: the kind and octets of the connection's channel binding, if there is one
    """
    names = {name.upper() for name in offered}
    if PLUS in names and binding is not None:
        return ScramClient(user, password, binding=binding, plus=True)
    if SCRAM in names:
        return ScramClient(user, password, binding=binding)
    if "PLAIN" in names:
        return PlainClient(user, password)
    if "LOGIN" in names:
        return LoginClient(user, password)
    return None

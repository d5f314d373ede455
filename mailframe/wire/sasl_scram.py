"""The messages of SCRAM (RFC 5802 §7), read strictly and written.

::

    C: n,,n=user,r=<client's nonce>
    S: r=<client's and server's nonce>,s=<salt>,i=<iterations>
    C: c=<gs2 header and channel binding>,r=<both nonces>,p=<proof>
    S: v=<signature>

Each reader gives back the very octets that both sides' proofs are computed over, never a
re-written copy.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets

import attrs

from mailframe.scram import LEAST_ITERATIONS, MOST_ITERATIONS
from mailframe.wire.sasl_exchange import SaslError, read_name

_GS2_HEADER = re.compile(
    rb"(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.-]{1,64})),(?:a=(?P<authzid>[^,]*))?,"
)  # an empty authzid is none; GNU SASL sends one
_NONCE = rb"[\x21-\x2b\x2d-\x7e]{1,1024}"
# Extensions that we don't know may stand between; RFC 5802 §5.1 has them ignored.
_MORE = rb"(?:,[A-Za-z]=[^,\0]+)*"
_FIRST = re.compile(rb"n=(?P<user>[^,\0]+),r=(?P<nonce>" + _NONCE + rb")" + _MORE)
_FINAL = re.compile(
    rb"(?P<signed>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>"
    + _NONCE
    + rb")"
    + _MORE
    + rb"),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>" + _NONCE + rb"),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<count>[1-9]\d{0,9})" + _MORE
)
_SERVER_FINAL = re.compile(rb"v=(?P<signature>[A-Za-z0-9+/=]+)" + _MORE)
_NAME = re.compile(rb"(?:[^=]|=2C|=3D)+")


def make_nonce() -> bytes:
    """Octets that nobody has used before and nobody can guess."""
    return secrets.token_urlsafe(24).encode("ascii")


@attrs.frozen(kw_only=True)
class Gs2Header:
    """What stands before a message (RFC 5801 §4).

    :ivar flag: ``n``: no channel binding; ``y``: the client could, but thinks that the server
        can't; ``p``: it uses one
    :ivar binding: its kind when the flag is ``p``, else ``""``
    :ivar octets: the header with its last comma
    """

    flag: str
    binding: str
    authzid: bytes
    octets: bytes


@attrs.frozen(kw_only=True)
class ClientFirst:
    """``client-first-message``.

    :ivar bare: the message without the header
    """

    header: Gs2Header
    user: bytes
    nonce: bytes
    bare: bytes


@attrs.frozen(kw_only=True)
class ClientFinal:
    """``client-final-message``.

    :ivar signed: the message without the proof
    :ivar binding: the gs2 header of the first message and the channel binding
    """

    signed: bytes
    binding: bytes
    nonce: bytes
    proof: bytes


@attrs.frozen(kw_only=True)
class ServerFirst:
    """``server-first-message``."""

    nonce: bytes
    salt: bytes
    iterations: int


def read_gs2_header(message: bytes) -> Gs2Header:
    """Read the header that a message begins with.

    :raises SaslError: it does not begin with one
    """
    match = _GS2_HEADER.match(message)
    if match is None:
        raise SaslError("the response does not begin with a gs2 header")
    authzid = match["authzid"]
    return Gs2Header(
        flag=(match["flag"] or b"p").decode("ascii"),
        binding=(match["binding"] or b"").decode("ascii"),
        authzid=_name(authzid) if authzid else b"",
        octets=match[0],
    )


def read_client_first(message: bytes) -> ClientFirst:
    """Read a client's first message.

    :raises SaslError: it is none, or has an extension (``m=``) that must be understood
    """
    header = read_gs2_header(message)
    bare = message[len(header.octets) :]
    match = _FIRST.fullmatch(bare)
    if match is None:
        raise SaslError("the response is no first message of SCRAM")
    return ClientFirst(header=header, user=_name(match["user"]), nonce=match["nonce"], bare=bare)


def read_client_final(message: bytes) -> ClientFinal:
    """Read a client's final message.

    :raises SaslError: it is none
    """
    match = _FINAL.fullmatch(message)
    if match is None:
        raise SaslError("the response is no final message of SCRAM")
    return ClientFinal(
        signed=match["signed"],
        binding=_base64(match["binding"]),
        nonce=match["nonce"],
        proof=_base64(match["proof"]),
    )


def read_server_first(message: bytes) -> ServerFirst:
    """Read a server's first message.

    :raises SaslError: it is none; or it asks for too little or too much work, with which it could
        find out the password or keep us busy
    """
    match = _SERVER_FIRST.fullmatch(message)
    if match is None:
        raise SaslError("the challenge is no first message of SCRAM")
    iterations = int(match["count"])
    if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
        raise SaslError(f"the server asks for {iterations} iterations")
    return ServerFirst(nonce=match["nonce"], salt=_base64(match["salt"]), iterations=iterations)


def read_server_final(message: bytes) -> bytes:
    """Read a server's final message.

    :returns: its signature
    :raises SaslError: it is none, or says that the login failed
    """
    match = _SERVER_FINAL.fullmatch(message)
    if match is None:
        raise SaslError("the challenge is no final message of SCRAM with a signature")
    return _base64(match["signature"])


def write_name(name: bytes) -> bytes:
    """A login as it stands in a message."""
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


def _name(escaped: bytes) -> bytes:
    if not _NAME.fullmatch(escaped):
        raise SaslError("a name in the response holds a = that stands for nothing")
    return read_name(escaped.replace(b"=2C", b",").replace(b"=3D", b"="))


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SaslError("a part of the message is not base64") from None

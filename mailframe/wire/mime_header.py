"""What the header section of a MIME entity says of its body (RFC 2045, RFC 2046). Pure and linear.

Only what decides about conversion is read: the type, the boundary and the transfer encoding. Fields
that occur twice, or that nobody can read, may mean something else to others than to us; an entity
with such fields is ``opaque``, and nothing inside is touched.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["leaf", "multipart", "message", "opaque"]

IDENTITY = ("7bit", "8bit", "binary")  # encodings that leave the octets as they are
_MAX_BOUNDARY = 200  # octets; RFC 2046 §5.1.1 allows 70
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:(.*)", re.DOTALL)
_TOKEN = rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_TYPE = re.compile(rb"[ \t]*(" + _TOKEN + rb")[ \t]*/[ \t]*(" + _TOKEN + rb")[ \t]*")
_PARAMETER = re.compile(
    rb";[ \t]*(?:(" + _TOKEN + rb")[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))[ \t]*)?"
)
_ENCODING = re.compile(rb"[ \t]*(" + _TOKEN + rb")[ \t]*")


@attrs.frozen(kw_only=True)
class Entity:
    """What an entity says of itself.

    :ivar kind: ``multipart`` and ``message`` hold other entities, a ``leaf`` does not
    :ivar text: a leaf of type ``text``
    :ivar encoding: of Content-Transfer-Encoding, in lower case; ``7bit`` when it says nothing
    :ivar boundary: of a multipart
    :ivar digest: parts of a multipart that name no type are messages (RFC 2046 §5.1.5)
    :ivar signed: a multipart whose octets must stay as they are (RFC 1847 §2.1)
    :ivar typed: it names a type
    :ivar versioned: it has MIME-Version
    """

    kind: Kind
    text: bool = False
    encoding: str = "7bit"
    boundary: bytes = b""
    digest: bool = False
    signed: bool = False
    typed: bool = False
    versioned: bool = False


def read_entity(header: bytes, *, in_digest: bool = False) -> Entity:
    """Read a header section.

    :param header: whole lines with CRLF, without the empty one
    :param in_digest: it belongs to a part of a multipart/digest
    """
    types: list[bytes] = []
    encodings: list[bytes] = []
    versioned = False
    for field in _fields(header):
        match = _FIELD.fullmatch(field)
        if match is None:
            continue
        name = match[1].lower()
        if name == b"content-type":
            types.append(_plain(match[2]))
        elif name == b"content-transfer-encoding":
            encodings.append(_plain(match[2]))
        elif name == b"mime-version":
            versioned = True
    if len(types) > 1 or len(encodings) > 1:
        return Entity(kind="opaque", typed=True, versioned=versioned)
    encoding = "7bit"
    if encodings:
        token = _ENCODING.fullmatch(encodings[0])
        encoding = token[1].decode("ascii").lower() if token else "?"
    if not types:
        kind: Kind = "message" if in_digest else "leaf"
        return Entity(kind=kind, text=not in_digest, encoding=encoding, versioned=versioned)
    entity = _typed(types[0], encoding)
    return attrs.evolve(entity, encoding=encoding, typed=True, versioned=versioned)


def _typed(value: bytes, encoding: str) -> Entity:
    match = _TYPE.match(value)
    if match is None:  # RFC 2045 §5.2: what can't be read is shown as text
        return Entity(kind="leaf")
    top, sub = match[1].lower(), match[2].lower()
    if top == b"multipart":
        boundary = _parameter(value, match.end(), b"boundary")
        if not 0 < len(boundary) <= _MAX_BOUNDARY or encoding not in IDENTITY:
            return Entity(kind="opaque")
        return Entity(
            kind="multipart", boundary=boundary, digest=sub == b"digest", signed=sub == b"signed"
        )
    if top == b"message":
        if sub in (b"rfc822", b"news") and encoding in IDENTITY:
            return Entity(kind="message")
        # RFC 2045 §6.4: nothing else that may hold messages is to be encoded. RFC 6532 §3.7 allows
        # it of message/global.
        return Entity(kind="leaf" if sub.startswith(b"global") else "opaque")
    return Entity(kind="leaf", text=top == b"text")


def _parameter(value: bytes, at: int, wanted: bytes) -> bytes:
    """A parameter of Content-Type; empty when it is missing, or the parameters can't be read."""
    found = b""
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            return b""
        if match[1] is not None and match[1].lower() == wanted:
            if found:
                return b""
            found = match[3] if match[2] is None else re.sub(rb"\\(.)", rb"\1", match[2])
        at = match.end()
    return found.rstrip(b" ")


def _fields(header: bytes) -> list[bytes]:
    """Each field with its continuation lines, as it stands."""
    fields: list[list[bytes]] = []
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1].append(line)
        elif line:
            fields.append([line])
    return [b"\r\n".join(lines) for lines in fields]


def _plain(value: bytes) -> bytes:
    """A field's value on one line, without comments (RFC 5322 §3.2.2)."""
    value = value.replace(b"\r\n", b"")
    if b"(" not in value:
        return value
    kept = bytearray()
    depth = 0
    quoted = escaped = False
    for octet in value:
        if escaped:
            escaped = False
        elif octet == 0x5C and (quoted or depth):
            escaped = True
        elif octet == 0x22 and not depth:
            quoted = not quoted
        elif octet == 0x28 and not quoted:
            depth += 1
            continue
        elif octet == 0x29 and depth:
            depth -= 1
            continue
        if not depth:
            kept.append(octet)
    return bytes(kept)


def with_encoding(header: bytes, encoding: str) -> bytes:
    """The header section with another Content-Transfer-Encoding, at the place of the former one."""
    line = b"Content-Transfer-Encoding: " + encoding.encode("ascii")
    fields = _fields(header)
    for place, field in enumerate(fields):
        match = _FIELD.fullmatch(field)
        if match is not None and match[1].lower() == b"content-transfer-encoding":
            fields[place] = line
            break
    else:
        fields.append(line)
    return b"".join(field + b"\r\n" for field in fields)

"""Takes out of a header section what claims to be our own judgement (RFC 8601 §5).

``Authentication-Results`` says who judged in its first word. A field with our name that came from
outside would be believed by everyone here who trusts us.
"""

from __future__ import annotations

import re

from mailframe.address import AddressError, normal_domain
from mailframe.server.header_scan import end_of_header

# A whole field, with the lines that continue it.
_FIELD = re.compile(
    rb"(?:\A|(?<=\n))authentication-results[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.IGNORECASE
)
_TOKEN = re.compile(rb'\\.|[()";]|[^\\()";]+|\\', re.DOTALL)
_SPACE = re.compile(rb"(?:[\x00-\x20]|\xc2[\x80-\xa0])+")  # what any reader takes for space
# What can stand in a host name, behind what can't.
_ID = re.compile(rb"[^a-z0-9_.\x80-\xff-]*([a-z0-9_.\x80-\xff-]+)")


def without_forged_results(octets: bytes, name: bytes) -> bytes:
    """A message's beginning without the fields that claim to be ours.

    :param octets: the whole header section, and maybe some of the body
    :param name: our own host name, lower case
    """
    end = end_of_header(octets)
    header = _FIELD.sub(lambda match: b"" if _claims(match[0], name) else match[0], octets[:end])
    return header + octets[end:]


def _claims(field: bytes, name: bytes) -> bool:
    """Whether the field's authserv-id (RFC 8601 §2.2) is this name, or may be read as it."""
    depth = 0  # of comments
    quoted = False
    said = bytearray()
    for match in _TOKEN.finditer(field, field.index(b":") + 1):
        token = match[0]
        if quoted:
            if token == b'"':
                quoted = False
                said += b" "
            else:
                said += token[1:] if token[:1] == b"\\" else token
        elif token == b"(":
            depth += 1
            said += b" "  # a comment parts two words as a space does
        elif depth:
            depth -= token == b")"
        elif token == b'"':
            quoted = True
        elif token == b";":
            break
        else:
            said += token
    if depth or quoted:
        # Nobody can say where the first word ends, so that each reader may find another.
        return name in field.lower()
    if b"=?" in said:
        return True  # an encoded word (RFC 2047), which has no place there and is read by some
    words = _SPACE.sub(b" ", bytes(said).lower()).replace(b" .", b".").replace(b". ", b".")
    first = _ID.match(words)
    return first is not None and _normal(first[1].rstrip(b".")) == name


def _normal(id: bytes) -> bytes:
    """A name in the form of ours: one beyond ASCII (RFC 8616 §5) as its A-labels."""
    if id.isascii():
        return id
    try:
        return normal_domain(id.decode()).encode("ascii")
    except (AddressError, UnicodeDecodeError):
        return id

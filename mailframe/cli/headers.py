"""The header section of a message on standard input: its fields, and the addresses they hold.

Enough of RFC 5322 for ``mailframe send -t``. Each address goes through `Address.parse`, the parser
that authorisation and routing use; a display name, a comment or a group's name is never part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

from mailframe.address import Address, AddressError

MAX_HEADER = 1024 * 1024  # octets of a header section

# RFC 5322 §2.2: a name of printable ASCII without colon, then anything, over folded lines (§2.2.3).
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:(?:[^\r]|\r\n[ \t])*+\r\n(?![ \t])")
# What matters in an address list (§3.4): quoted strings, literals, comments' and lists' marks. A
# quoted string that is not closed is all the rest, lest each quote in it be looked at anew.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|\[[^\[\]]*\]|[<>,:;]|[^"\[<>,:;]+|.', re.DOTALL)
_OUTSIDE_COMMENTS = re.compile(r'"(?:[^"\\]|\\.)*+"?|\\.|\(|[^\\"(]+|.', re.DOTALL)
_INSIDE_COMMENTS = re.compile(r"\\.|[()]|[^\\()]+|.", re.DOTALL)  # a quote means nothing there


@attrs.frozen(kw_only=True)
class Field:
    """One field of a header.

    :ivar name: in lower case
    :ivar octets: all of it, its name and every CRLF included
    """

    name: str
    octets: bytes

    @property
    def value(self) -> str:
        """What follows the colon, unfolded, any octet outside ASCII as it would be in Latin-1."""
        return self.octets.partition(b":")[2].replace(b"\r\n", b"").strip().decode("latin-1")


def split_header(octets: bytes) -> tuple[tuple[Field, ...], int]:
    """Read the fields at the start of a message.

    :param octets: the message's beginning, with CRLF line ends
    :returns: the fields, and how many octets they take. The section ends before the first line
        that is no field, so a message without a header has no fields
    """
    fields: list[Field] = []
    position = 0
    while match := _FIELD.match(octets, position):
        fields.append(Field(name=match[1].decode("ascii").lower(), octets=match[0]))
        position = match.end()
    return tuple(fields), position


def recipients(fields: Sequence[Field]) -> tuple[Address, ...]:
    """Whom the header names as recipients, each once.

    A message that was sent on has ``Resent-`` fields; those then count and the others don't.

    :raises AddressError: a field holds something that is not an address
    """
    names = {"resent-to", "resent-cc", "resent-bcc"}
    if not any(field.name in names for field in fields):
        names = {"to", "cc", "bcc"}
    found = [
        address for field in fields if field.name in names for address in addresses(field.value)
    ]
    return tuple(dict.fromkeys(found))


def addresses(value: str) -> Iterator[Address]:
    """The addresses of an address list (RFC 5322 §3.4), groups opened.

    :raises AddressError: an element is not an address
    """
    text: list[str] = []  # the element so far, outside its angle brackets
    inside: list[str] | None = None  # what stands in the angle brackets
    is_open = False
    for mark in (*_TOKEN.findall(_without_comments(value)), ","):
        if mark == "<" and inside is None:
            inside, is_open = [], True
        elif mark == ">" and is_open:
            is_open = False
        elif is_open:
            assert inside is not None
            inside.append(mark)
        elif mark == ":":
            text.clear()  # what came before was a group's name
        elif mark in ",;":
            found = "".join(text if inside is None else inside).strip()
            if found or inside is not None:
                yield _parse(found)
            text, inside = [], None
        elif inside is not None and mark.strip():
            raise AddressError(f"a comma is missing before {mark.strip()!a}")
        else:
            text.append(mark)
    if is_open:
        raise AddressError("an angle bracket is not closed")


def _parse(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise AddressError(f"{text!a}: {error}") from None


def _without_comments(value: str) -> str:
    kept: list[str] = []
    depth = position = 0
    while match := (_INSIDE_COMMENTS if depth else _OUTSIDE_COMMENTS).match(value, position):
        position = match.end()
        mark = match[0]
        if mark == "(":
            depth += 1
        elif not depth:
            kept.append(mark)
        elif mark == ")":
            depth -= 1
    return "".join(kept)

"""Maps that are files: of keys and values, and of regular expressions.

A line holds a key and, behind spaces, its value, which may be missing; lines that are empty or
begin with ``#`` are passed over. The keys of the first kind are patterns as rules have them, but
without wildcards in the local part; the closest counts, wherever in the file it stands::

    jsmith@mindspring.com   reject:moved to earthlink.net
    *@mindspring.com        tcp:127.0.0.1:2600
    *@*.mindspring.com      mx:mindspring.com  tcp:backup.example:25

The keys of the second kind are regular expressions, which must fit the whole address whatever the
case of its letters; the first that fits counts. ``\\1`` in a value is its first group, as long as
that holds nothing but letters, digits, ``.``, ``_`` and ``-``: else a sender could choose the way::

    (sales|info)-[a-z]+@rosse\\.example   redirect:\\1@rosse.example
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailframe.address import quote_local_part
from mailframe.interfaces import ILookup
from mailframe.patterns import AddressPattern
from mailframe.routing.followed import FollowedFile
from mailframe.routing.linear_regex import check_regex

_LINE = re.compile(r'("(?:[^"\\]|\\.)*"\S*|\S+)(?:\s+(.*))?')
_GROUP = re.compile(r"\\(\d)")
_HARMLESS = re.compile(r"[A-Za-z0-9._-]*")


def _nothing(_value: str) -> None:
    """Any value will do."""


@implementer(ILookup)
class FileMap:
    """Keys and values.

    :param check: raises `ValueError` for a value that can't be used
    :raises ValueError: the file can't be used; the message says which line
    """

    def __init__(
        self,
        path: str,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        check: Callable[[str], None] = _nothing,
    ) -> None:
        def parse(text: str) -> dict[str, str]:
            return parse_map(text, check)

        self._file = FollowedFile(path, parse, clock, in_thread)

    async def find(self, key: str) -> str | None:
        """See `ILookup`."""
        entries = await self._file.value()
        for each in _ladder(key):
            if each in entries:
                return entries[each]
        return None


def parse_map(text: str, check: Callable[[str], None] = _nothing) -> dict[str, str]:
    """Read the text of a map: each key in normal form with its value.

    :raises ValueError: it can't be used; the message begins with the line's number
    """
    entries: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, key, value in _lines(text):
        try:
            normal = _normal(key)
            check(value)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if normal in entries:
            raise ValueError(f"line {number}: {key!a} stands in line {lines[normal]} already")
        entries[normal], lines[normal] = value, number
    return entries


@implementer(ILookup)
class RegexMap:
    """Regular expressions and values.

    :raises ValueError: the file can't be used; the message says which line
    """

    def __init__(
        self, path: str, clock: IReactorTime, in_thread: Callable[..., Deferred[Any]]
    ) -> None:
        self._file = FollowedFile(path, parse_regexes, clock, in_thread)

    async def find(self, key: str) -> str | None:
        """See `ILookup`."""
        for expression, value in await self._file.value():
            match = expression.fullmatch(key)
            if match is None:
                continue
            groups = (match[0], *(group or "" for group in match.groups()))
            used = [groups[int(place)] for place in _GROUP.findall(value)]
            if all(map(_HARMLESS.fullmatch, used)):
                return _filled(value, groups)
        return None


def parse_regexes(text: str) -> list[tuple[re.Pattern[str], str]]:
    """Read the text of a map of regular expressions.

    :raises ValueError: it can't be used; the message begins with the line's number
    """
    expressions = []
    for number, key, value in _lines(text):
        try:
            expression = check_regex(key)
        except ValueError as error:
            raise ValueError(f"line {number}: {key!a} {error}") from None
        if any(int(place) > expression.groups for place in _GROUP.findall(value)):
            raise ValueError(f"line {number}: {value!a} names a group that {key!a} has not")
        expressions.append((expression, value))
    return expressions


def _filled(value: str, groups: Sequence[str]) -> str:
    return _GROUP.sub(lambda place: groups[int(place[1])], value)


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, "a line that is not empty has a first word"
        yield number, match[1], (match[2] or "").strip()


def _normal(key: str) -> str:
    pattern = AddressPattern.parse(key)
    local_part = pattern.local_part
    if local_part is None:
        return key
    if not pattern.literal and local_part != "*" and ("*" in local_part or "?" in local_part):
        raise ValueError(f"{key!a} has a wildcard in its local part; here only *@ may be one")
    quoted = quote_local_part(local_part) if pattern.literal else local_part
    return f"{quoted}@{pattern.domain}"


def _ladder(key: str) -> Iterator[str]:
    """A key, and the patterns that fit it, the closest first."""
    yield key
    local, at, domain = key.rpartition("@")
    if at and local:
        yield f"*@{domain}"
        parent = domain.partition(".")[2] if not domain.startswith("[") else ""
        while parent:
            yield f"*@*.{parent}"
            parent = parent.partition(".")[2]
        yield "*@*"
    yield "*"

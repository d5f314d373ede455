"""``[[routing.map]]``: tables that routing rules look things up in.

A map is a file of keys and values, a file of regular expressions, or a query to an SQLite database;
or whatever else provides `mailframe.interfaces.ILookup`. One that can't tell is a fault: the mail
waits and its reason says so; it never takes another way instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.interfaces import ILookup, LookupFault
from mailframe.routing.conditions import Question
from mailframe.routing.map_files import FileMap, RegexMap
from mailframe.routing.map_sqlite import SqliteMap
from mailframe.routing.rules import RuleSettings
from mailframe.routing.via import Via, parse_via
from mailframe.units import FilePath

log = Logger()

By: TypeAlias = Literal["recipient", "sender", "login"]
_SOURCES = ("file", "regex", "sqlite")


def _name(_instance: object, attribute: Any, value: str) -> None:
    if not (value.strip() and value.isprintable() and value.isascii()):
        raise ValueError(f"'{attribute.name}' found {value!a}; allowed: a name in printable ASCII")


@attrs.frozen(kw_only=True)
class MapSettings:
    """One ``[[routing.map]]`` table. It names one of ``file``, ``regex`` and ``sqlite``.

    :ivar name: how rules refer to it, ``"map:name"``
    :ivar by: what ``via = "map:name"`` looks up
    :ivar file: keys and values, line by line
    :ivar regex: regular expressions and values, line by line, of which the first match counts
    :ivar sqlite: a database
    :ivar query: what is asked of it, with ``?`` for the key; the first column of the first row is
        the value
    """

    name: str = attrs.field(validator=_name)
    by: By = attrs.field(
        default="recipient", validator=attrs.validators.in_(("recipient", "sender", "login"))
    )
    file: FilePath | None = None
    regex: FilePath | None = None
    sqlite: FilePath | None = None
    query: str | None = None

    def __attrs_post_init__(self) -> None:
        given = [each for each in _SOURCES if getattr(self, each) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a map has one of file, regex and sqlite; found {found}")
        if (self.sqlite is None) != (self.query is None):
            lacks, there = ("query", "sqlite") if self.query is None else ("sqlite", "query")
            raise ValueError(f"'{there}' is there without {lacks}; a database needs both")


class MapFault(Exception):
    """A map can't tell, or told what can't be used. ``str(error)`` is the reason of the route."""


class Map:
    """A map under its name.

    :param by: what is looked up for ``via``
    """

    def __init__(self, name: str, by: By, lookup: ILookup) -> None:
        self.name = name
        self.by: By = by
        self._lookup = lookup

    async def find(self, by: str, question: Question) -> str | None:
        """What it has for a message.

        :param by: what is looked up
        :raises MapFault: it can't tell
        """
        key = _key(by, question)
        if key is None:
            return None
        try:
            return await self._lookup.find(key)
        except LookupFault as fault:
            reason = str(fault)
        except Exception as error:
            log.failure("map {map} failed", map=self.name)
            reason = f"it raised {type(error).__name__}"
        log.error(
            "map {map} can't tell about {key}: {reason}", map=self.name, key=key, reason=reason
        )
        raise MapFault(f'map "{self.name}" can\'t tell: {reason}')

    async def told(self, by: str, question: Question) -> str:
        """Whether it has something, as one clause.

        :raises MapFault: it can't tell
        """
        key = _key(by, question)
        if key is None:
            return "the client did not log in"
        there = "is" if await self.find(by, question) is not None else "is not"
        return f'{by} {key} {there} in map "{self.name}"'

    def via(self, value: str, settings: RuleSettings) -> Via:
        """Where a value sends mail.

        :param settings: of the rule that asked
        :raises MapFault: nowhere: it can't be used
        """
        try:
            return parse_value(value, settings)
        except ValueError as error:
            raise MapFault(f'map "{self.name}" says {value!a}: {error}') from None


def parse_value(value: str, settings: RuleSettings | None = None) -> Via:
    """Read a value that stands for ``via``: as in a rule, but a list is divided by spaces.

    :raises ValueError: it can't be used
    """
    words = value.split()
    is_text = value.strip().startswith(("reject:", "hold:"))
    via = parse_via(value.strip() if is_text or not words else tuple(words))
    if via.kind == "map":
        raise ValueError("a map can't name another one")
    if settings is not None:
        settings.check(via, value)
    return via


def build_maps(
    settings: Sequence[MapSettings],
    rules: Sequence[RuleSettings],
    clock: IReactorTime,
    in_thread: Callable[..., Deferred[Any]],
) -> Mapping[str, Map]:
    """Make the maps of a table.

    :param rules: which use them
    :param clock: tells when it is time to look at files again
    :param in_thread: see `mailframe.interfaces.Site`
    :raises ValueError: one can't be used
    """
    maps: dict[str, Map] = {}
    for each in settings:
        try:
            maps[each.name] = build_map(each, rules, clock, in_thread)
        except ValueError as error:
            raise ValueError(f'map "{each.name}": {error}') from error
    return maps


def build_map(
    settings: MapSettings,
    rules: Sequence[RuleSettings],
    clock: IReactorTime,
    in_thread: Callable[..., Deferred[Any]],
) -> Map:
    """Make one of them.

    :param rules: see `build_maps`
    :raises ValueError: it can't be used
    """
    users = [rule for rule in rules if parse_via(rule.via).map == settings.name]

    def check(value: str) -> None:
        for rule in users:
            parse_value(value, rule)

    lookup: ILookup
    if settings.file is not None:
        lookup = FileMap(settings.file, clock, in_thread, check)
    elif settings.regex is not None:
        lookup = RegexMap(settings.regex, clock, in_thread)
    else:
        lookup = SqliteMap(settings.sqlite or "", settings.query or "", in_thread)
    return Map(settings.name, settings.by, lookup)


def _key(by: str, question: Question) -> str | None:
    if by == "login":
        return None if question.login is None else question.login.lower()
    address = question.recipient if by == "recipient" else question.sender
    return "<>" if address is None else str(address).lower()

"""The commands of POP3 as a table: in which state each is allowed, and what arguments it takes.

RFC 1939 §§4-7, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH), RFC 6856 (UTF8, LANG). APOP is
left out: it needs passwords that the server can read, and MD5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

State: TypeAlias = Literal["authorization", "transaction"]
Arguments: TypeAlias = tuple[bytes, ...] | tuple[int, ...]

_NUMBER = re.compile(rb"\d{1,20}")  # some clients say 2 ** 64 - 1 for "all lines"
_RANGE = re.compile(rb"\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,20}")
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class CommandError(ValueError):
    """The command is not one, or not as it should be. ``str(error)`` is for the client."""


def _none(rest: bytes) -> Arguments:
    if rest.strip(b" "):
        raise CommandError("the command takes no argument")
    return ()


def _text(rest: bytes) -> Arguments:
    """All that follows the single space, spaces included: a password may hold them."""
    if not rest:
        raise CommandError("an argument is missing")
    if _CONTROLS.search(rest):
        raise CommandError("the argument holds a control character")
    if not rest.isascii():
        try:
            rest.decode("utf-8")
        except UnicodeDecodeError:
            raise CommandError("the argument is not UTF-8") from None
    return (rest,)


def _language(rest: bytes) -> Arguments:
    """An optional language range (RFC 4647 §2.1)."""
    words = rest.split()
    if len(words) > 1 or not all(_RANGE.fullmatch(word) for word in words):
        raise CommandError("the argument is not a language")
    return tuple(words)


def _mechanism(rest: bytes) -> Arguments:
    words = rest.split()
    if not 1 <= len(words) <= 2:
        raise CommandError("the command takes a mechanism and at most an initial response")
    return tuple(words)


def _number(rest: bytes) -> Arguments:
    return (int(rest),) if _NUMBER.fullmatch(rest) else _numbers(rest, 1, 1)


def _numbers(rest: bytes, least: int, most: int) -> Arguments:
    words = rest.split()
    if not least <= len(words) <= most:
        raise CommandError("an argument is missing" if len(words) < least else "too many arguments")
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise CommandError("the argument is not a number")
    return tuple(int(word) for word in words)


def _optional_number(rest: bytes) -> Arguments:
    return _numbers(rest, 0, 1)


def _two_numbers(rest: bytes) -> Arguments:
    return _numbers(rest, 2, 2)


@attrs.frozen
class Command:
    """One row of the table.

    :ivar name: the keyword in capitals
    :ivar states: where it is allowed
    :ivar arguments: reads what follows the keyword; raises `CommandError`
    """

    name: str
    states: tuple[State, ...]
    arguments: Callable[[bytes], Arguments]


_FIRST: tuple[State, ...] = ("authorization",)
_THEN: tuple[State, ...] = ("transaction",)

COMMANDS: Mapping[bytes, Command] = {
    command.name.encode("ascii"): command
    for command in (
        Command("USER", _FIRST, _text),
        Command("PASS", _FIRST, _text),
        Command("AUTH", _FIRST, _mechanism),
        Command("STLS", _FIRST, _none),
        Command("UTF8", _FIRST, _none),
        Command("LANG", _FIRST + _THEN, _language),
        Command("CAPA", _FIRST + _THEN, _none),
        Command("QUIT", _FIRST + _THEN, _none),
        Command("STAT", _THEN, _none),
        Command("LIST", _THEN, _optional_number),
        Command("UIDL", _THEN, _optional_number),
        Command("RETR", _THEN, _number),
        Command("TOP", _THEN, _two_numbers),
        Command("DELE", _THEN, _number),
        Command("NOOP", _THEN, _none),
        Command("RSET", _THEN, _none),
    )
}


def parse(line: bytes, state: State) -> tuple[str, Arguments]:
    """Read a command line.

    :param line: without its CRLF
    :returns: the command's name and its arguments
    :raises CommandError: there is no such command, it is not allowed now, or an argument is wrong
    """
    keyword, _, rest = line.partition(b" ")
    command = COMMANDS.get(keyword) or COMMANDS.get(keyword.upper())
    if command is None:
        raise CommandError("unknown command")
    if state not in command.states:
        raise CommandError(
            "log in first" if state == "authorization" else "only allowed before the login"
        )
    return command.name, command.arguments(rest)

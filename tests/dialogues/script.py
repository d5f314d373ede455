"""Dialogues as text files: what the client says and what the server says, line by line.

::

    # What a user would lose if this went otherwise.
    server: tls=starttls message_size=1000
    S: 220 ...
    C: EHLO client.example
    S: 250 ...
    C: STARTTLS
    S: 220 ...
    TLS
    C- NO LINE END\\n
    kept: 0
    connection: open

- ``C:`` and ``S:`` are lines with their CRLF, ``C-`` and ``S-`` octets without; Python's escapes
  are allowed in all four.
- A reply that is expected may end in ``...``, which stands for any text and any further lines.
- ``TLS`` is where TLS begins.
- ``each: a | b | c`` plays the dialogue for each of the values, put in the place of ``{x}``.
- ``cuts: none`` is for what means something else in several segments.
- Any other ``name: value`` means what the test that plays the file makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

import attrs

Who: TypeAlias = Literal["C", "S", "TLS"]


@attrs.frozen
class Turn:
    """What one side says before the other does, or the beginning of TLS.

    :ivar octets: as they go over the wire
    :ivar lines: as they stand in the file
    """

    who: Who
    octets: bytes = b""
    lines: tuple[str, ...] = ()


@attrs.frozen
class Script:
    """One dialogue.

    :ivar settings: the ``name: value`` lines; those that come again joined by line ends
    """

    name: str
    turns: tuple[Turn, ...]
    settings: dict[str, str]

    def words(self, name: str) -> dict[str, str]:
        """A setting of the form ``key=value key=value``."""
        return dict(word.partition("=")[::2] for word in self.settings.get(name, "").split())


def unescaped(text: str) -> bytes:
    """The octets that a line of a file stands for."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def scripts(folder: str) -> Iterator[Script]:
    """The dialogues in a folder beside this file, in the order of their names."""
    for path in sorted((Path(__file__).parent / folder).glob("*.txt")):
        text = path.read_text("ascii")
        name = path.stem.replace("-", "_")
        first = next((line for line in text.splitlines() if line.startswith("each: ")), None)
        if first is None:
            yield _parse(name, text)
            continue
        for number, value in enumerate(first.removeprefix("each: ").split(" | ")):
            yield _parse(f"{name}_{number + 1}", text.replace("{x}", value))


def _parse(name: str, text: str) -> Script:
    turns: list[Turn] = []
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        mark, said = line[:2], line[3:]
        if line == "TLS":
            turns.append(Turn("TLS"))
        elif mark in ("C:", "C-", "S:", "S-"):
            octets = unescaped(said) + (b"\r\n" if mark[1] == ":" else b"")
            who: Who = "C" if mark[0] == "C" else "S"
            if turns and turns[-1].who == who:
                last = turns.pop()
                turns.append(Turn(who, last.octets + octets, (*last.lines, said)))
            else:
                turns.append(Turn(who, octets, (said,)))
        else:
            key, colon, value = line.partition(": ")
            assert colon, f"{name}, line {number}: {line!r} is no line of a dialogue"
            settings[key] = f"{settings[key]}\n{value}" if key in settings else value
    return Script(name, tuple(turns), settings)


def cuts(octets: bytes, rounds: int = 8) -> Iterator[list[bytes]]:
    """Ways to cut what is said: not at all, into single octets, and at random."""
    yield [octets]
    yield [octets[place : place + 1] for place in range(len(octets))]
    random = Random(len(octets))
    for _ in range(rounds):
        largest = random.choice((3, 10, 40))
        pieces = []
        left = octets
        while left:
            size = random.randint(1, largest)
            pieces.append(left[:size])
            left = left[size:]
        yield pieces


def rounds(script: Script) -> range:
    """Which of the ways to cut are to be tried."""
    return range(1 if script.settings.get("cuts") == "none" else 10)


def replies(octets: bytes) -> list[str]:
    """The replies in what a server said, each with its lines joined by line ends."""
    found: list[str] = []
    unfinished: list[str] = []
    for line in octets.decode("ascii").split("\r\n")[:-1]:
        unfinished.append(line)
        if line[3:4] != "-":
            found.append("\n".join(unfinished))
            unfinished.clear()
    assert not unfinished
    assert not octets or octets.endswith(b"\r\n")
    return found


def fits(reply: str, expected: str) -> bool:
    """Whether a reply is the one that a dialogue expects."""
    if not expected.endswith("..."):
        return reply == expected
    wanted = expected.removesuffix("...")
    more = wanted.removesuffix(" ") + "-" if wanted.endswith(" ") else wanted
    return reply.startswith((wanted, more))

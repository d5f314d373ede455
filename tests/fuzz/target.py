"""What a fuzzing target is, and the claims that many of them make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs


@attrs.frozen(kw_only=True)
class Target:
    """A parser and what is claimed of it for any input.

    :ivar check: takes any octets; raises when a claim does not hold
    :ivar words: pieces that make inputs of which the parser understands something
    """

    name: str
    check: Callable[[bytes], None]
    words: tuple[bytes, ...]


def words(*texts: str) -> tuple[bytes, ...]:
    """Pieces, with escapes for octets that are not printable."""
    return tuple(text.encode("latin-1") for text in texts)


def text_of(octets: bytes) -> str:
    """Octets as a text that may hold any character."""
    return octets.decode("utf-8", "surrogateescape")


def says_why(error: Exception) -> None:
    """See that an error is fit for a log and a terminal."""
    text = str(error)
    assert text, f"{error!r} says nothing"
    for line in text.split("\n"):
        assert line.isprintable(), f"{text!r} can't be shown"


def cuts(octets: bytes) -> Iterator[list[bytes]]:
    """Ways in which octets may arrive: whole, singly, and in pieces of some size."""
    yield [octets]
    yield [octets[place : place + 1] for place in range(len(octets))]
    size = 2 + (octets[0] if octets else 0) % 13
    yield [octets[place : place + size] for place in range(0, len(octets), size)]


def all_same(results: Iterable[object], octets: bytes) -> None:
    """See that the way of cutting made no difference."""
    first, *others = results
    for other in others:
        assert other == first, f"{octets!r} cut gives {other!r} instead of {first!r}"

"""Regular expressions that are quick whatever they are matched against.

Python's `re` tries every way in which the parts of an expression could share a text. So only single
characters and classes may be repeated, and an expression that could be tried in too many ways is
refused: the time for an address of 254 octets stays bounded.
"""

from __future__ import annotations

import re
import warnings

MAX_WAYS = 256**3  # in which an expression could be tried on 256 octets
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?:)?|.", re.DOTALL)
_REPEAT = re.compile(r"(\*|\+|\?|\{\d*,?\d*\})\??")


def check_regex(text: str) -> re.Pattern[str]:
    """Compile an expression for any case of letters.

    :raises ValueError: it is none, or could take long; the message says why, as what it does wrong
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what other versions may understand
            expression = re.compile(text, re.IGNORECASE | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    ways = _ways(text)
    if ways > MAX_WAYS:
        raise ValueError("could take long: it has too many of *, +, {}, ? and |")
    return expression


def _ways(text: str) -> int:
    ways, branches, place = 1, [1], 0
    while place < len(text):
        atom = _ATOM.match(text, place)
        assert atom is not None, "whatever compiles begins with an atom"
        place = atom.end()
        if atom[0] == "|":
            branches[-1] += 1
        elif atom[0].startswith("("):
            if text.startswith("?", place) and atom[0] == "(":
                raise ValueError("has a group that begins with (?; only (?: may")
            branches.append(1)
            continue
        elif re.fullmatch(r"\\[1-9]", atom[0]):
            raise ValueError("refers back to a group of its own, which can take long")
        elif atom[0] == ")":
            ways *= branches.pop()
        repeat = _REPEAT.match(text, place)
        if repeat is not None:
            place = repeat.end()
            if repeat[1] == "?":
                ways *= 2
            elif atom[0] == ")":
                raise ValueError("repeats a group, which can take long; repeat a class: [a-z]+")
            else:
                ways *= 256
        if ways > MAX_WAYS:
            break
    return ways * branches[0]

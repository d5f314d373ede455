"""What is wrong in a configuration file, said so that it can be mended at once.

A `Mistake` names the table, the key, what was found and what is allowed; a `SettingsError` is all
the mistakes of one file as one message.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import attrs


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant, or ``None`` when none comes close."""
    words = {each.lower(): each for each in allowed}
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return words[close[0]] if close else None


def shown(value: object) -> str:
    """A value as it would stand in the file, cut when it is long."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = '"' + value.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(shown, value)) + "]"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:76] + " ..."


class Disallowed(ValueError):
    """A value is not one of those allowed. Raised where it is read; the reader knows the place.

    :ivar allowed: what is, as a phrase: ``a list of texts``
    :ivar choices: the words among which to look for the one that was meant
    """

    def __init__(self, allowed: str, choices: Sequence[str] = ()) -> None:
        super().__init__(f"allowed: {allowed}")
        self.allowed = allowed
        self.choices = tuple(choices)


@attrs.frozen(kw_only=True)
class Mistake:
    """One mistake.

    :ivar table: ``[routing]`` or ``[[server]] #2 "mx"``; ``""`` is the file's top
    :ivar key: the key, or ``""`` when the table as a whole is meant
    :ivar problem: one clause, with what was found
    :ivar allowed: what is allowed instead, or ``""``
    :ivar meant: the nearest valid name, or ``None``
    """

    table: str = ""
    key: str = ""
    problem: str
    allowed: str = ""
    meant: str | None = None

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.table, self.key) if part)
        words = f"{place}: {self.problem}" if place else self.problem
        if self.allowed:
            words += f"; allowed: {self.allowed}"
        if self.meant is not None:
            words += f"; did you mean {shown(self.meant)}?"
        return words


class SettingsError(Exception):
    """A configuration can't be used. ``str(error)`` is the one message for the user.

    :ivar path: the file, or ``""`` for settings that were passed in a program
    :ivar mistakes: at least one
    """

    def __init__(self, path: str, mistakes: Iterable[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(mistakes)
        source = path or "settings"
        if len(self.mistakes) == 1:
            text = f"{source}: {self.mistakes[0]}"
        else:
            lines = "".join(f"\n  {mistake}" for mistake in self.mistakes)
            text = f"{source}: {len(self.mistakes)} mistakes{lines}"
        super().__init__(text)

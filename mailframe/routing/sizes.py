"""Limits on a message's size, as a routing rule names them: ``">10MB"``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import attrs

from mailframe.units import Octets, parse_size

ALLOWED = 'a limit such as ">10MB", "<=1MB", ">=64KiB" or "<500B"'
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@attrs.frozen(kw_only=True)
class SizeLimit:
    """One limit. Made by `parse`.

    :ivar text: as it was written
    :ivar sign: ``>``, ``>=``, ``<`` or ``<=``
    """

    text: str
    sign: str
    octets: Octets

    @classmethod
    def parse(cls, text: str) -> SizeLimit:
        """Read what a rule names.

        :raises ValueError: it can't be read; the message says what is allowed
        """
        sign = next((each for each in _COMPARE if text.startswith(each)), None)
        if sign is None:
            raise ValueError(f"{text!r} can't be used; allowed: {ALLOWED}")
        try:
            octets = parse_size(text.removeprefix(sign))
        except ValueError:
            raise ValueError(f"{text!r} can't be used; allowed: {ALLOWED}") from None
        return cls(text=text, sign=sign, octets=octets)

    def holds(self, octets: int) -> bool:
        """Whether a size is within the limit."""
        return _COMPARE[self.sign](octets, self.octets)

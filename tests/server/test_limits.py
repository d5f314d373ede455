"""Covers mailframe.server.limits."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.limits import Limits

# Those that may be 0, which is no limit, or none of what they count.
_ZERO = {
    *("message_size", "data_line", "junk_commands", "login_failures_per_address"),
    *("login_failures_per_login", "login_delay", "data_rate", "hold"),
}


class LimitsTests(SynchronousTestCase):
    """What a slip in ``[limits]`` leads to."""

    def refused(self, key: str, value: Any) -> None:
        """This value is none."""
        error = self.assertRaises(ValueError, Limits, **{key: value})
        self.assertIn(f"'{key}' must be >= ", str(error))

    def test_zero(self) -> None:
        """A server that serves nobody, or only seems to have a limit."""
        for field in attrs.fields(Limits):
            if field.name in _ZERO:
                Limits(**{field.name: 0})
            else:
                self.refused(field.name, 0)

    def test_negative(self) -> None:
        """The same; sizes and times that are negative are refused where they are read."""
        for field in attrs.fields(Limits):
            if field.type == "int":
                self.refused(field.name, -1)

    def test_short_lines(self) -> None:
        """Not even EHLO would be understood."""
        self.refused("command_line", 63)

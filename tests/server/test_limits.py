"""Covers mailframe.server.limits."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.limits import Limits
from mailframe.units import Octets, Seconds
from tests.server.test_smtp_session import ENVELOPE, SessionCase

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


class InForceTests(SessionCase):
    """What the modules that see to a limit are told; how they see to it is tested with each."""

    def test_header_size(self) -> None:
        """A header section without end would fill the memory."""
        session, transport = self.connect(self.factory(header_size=Octets(100)))
        for length, code in ((90, b"250"), (110, b"554")):
            header = b"X: %s\r\n\r\n" % (b"x" * (length - 7))
            session.dataReceived(b"HELO x\r\n" + ENVELOPE + b"DATA\r\n" + header + b".\r\n")
            self.assertEqual(self.codes(transport)[-1], code)

    def test_plugin_time(self) -> None:
        """A plugin that hangs would hold its clients for ever."""
        session, transport = self.connect(self.factory(plugin_time=Seconds(7.0)))
        self.authorisation.answer = Deferred()
        session.dataReceived(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<x@far.example>\r\n")
        self.clock.advance(6)
        self.assertEqual(self.codes(transport), [b"220", b"250", b"250"])
        self.clock.advance(1)
        self.assertEqual(self.codes(transport), [b"451"])

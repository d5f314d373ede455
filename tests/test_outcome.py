"""Decisions as values: `mailframe.outcome`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.outcome import Redirect, Relay


class RouteTests(SynchronousTestCase):
    def test_leads_somewhere(self) -> None:
        """A plugin's empty route makes a message vanish."""
        self.assertRaises(ValueError, Relay, reason="nowhere", hops=())
        self.assertRaises(ValueError, Redirect, reason="nobody", addresses=())

"""How often garbage is looked for: `mailframe.garbage`."""

from __future__ import annotations

import gc
import weakref

from twisted.trial.unittest import SynchronousTestCase

from mailframe.garbage import OBJECTS, collect_seldom


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


class CollectSeldomTests(SynchronousTestCase):
    """Garbage is found, but not looked for with each few messages."""

    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)

    def test_seldom(self) -> None:
        """Each message pays for a look at the whole server."""
        collect_seldom()
        self.assertEqual(gc.get_threshold()[0], OBJECTS)
        self.assertGreater(gc.get_freeze_count(), 0)

    def test_still_found(self) -> None:
        """A server that runs for months grows with each connection."""
        collect_seldom()
        found = weakref.ref(Knot())
        kept = [[number] for number in range(OBJECTS + 1000)]
        self.assertIsNone(found())
        del kept

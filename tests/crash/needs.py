"""What tests of crashes need of the machine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase


class SharedSqliteCase(SynchronousTestCase):
    """Watching what SQLite does takes its shared library, as Linux distributions have it."""

    def setUp(self) -> None:
        super().setUp()
        libraries = Path("/proc/self/maps")
        if not libraries.exists():
            raise SkipTest("this needs Linux")
        sqlite3.connect(":memory:").close()  # loads it
        if "libsqlite3.so.0" not in libraries.read_text():
            raise SkipTest("this Python's SQLite is not the shared library libsqlite3.so.0")

    def tearDown(self) -> None:
        # What is broken on purpose is told in the log, and is what is looked for.
        self.flushLoggedErrors()
        super().tearDown()

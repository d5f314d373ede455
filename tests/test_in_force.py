"""What a running server tells of its configuration to commands beside it."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from mailframe.in_force import NAME, InForce, Serving, digest, serving


class InForceTests(SynchronousTestCase):
    """`InForce` and `serving`"""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.config = self.mktemp()
        self.write("one")
        self.server = InForce(self.folder)
        self.addCleanup(self.server.close)

    def write(self, text: str) -> None:
        with open(self.config, "w") as file:
            file.write(text)

    def test_serving(self) -> None:
        """A command would take a file for the one in force that the server has not read yet."""
        self.assertIsNone(serving(self.folder))
        self.server.publish(self.config)
        before = digest(self.config)
        self.assertEqual(serving(self.folder), Serving(path=self.config, digest=before))
        self.write("two")
        self.assertEqual(serving(self.folder), Serving(path=self.config, digest=before))
        self.server.publish(self.config)
        self.assertNotEqual(digest(self.config), before)
        self.assertEqual(
            serving(self.folder), Serving(path=self.config, digest=digest(self.config))
        )

    def test_stopped(self) -> None:
        """A server that has ended, whatever way, would seem to run."""
        self.server.publish(self.config)
        self.server.close()
        self.assertTrue(os.path.exists(os.path.join(self.folder, NAME)))
        self.assertIsNone(serving(self.folder))

    def test_workers(self) -> None:
        """The end of one process of several would look like the end of the server."""
        other = InForce(self.folder)
        self.server.publish(self.config)
        other.publish(self.config)
        self.server.close()
        self.assertIsNotNone(serving(self.folder))
        other.close()
        self.assertIsNone(serving(self.folder))

    def test_being_written(self) -> None:
        """A moment of writing would end a command in a traceback, or let it pass."""
        self.server.publish(self.config)
        for text in ("", "{", "[]", "{}"):
            with open(os.path.join(self.folder, NAME), "w") as file:
                file.write(text)
            self.assertEqual(serving(self.folder), Serving(path="", digest=""))

    def test_no_file(self) -> None:
        """A server that a program made of arguments would be said to have read a file."""
        self.server.publish("")
        self.assertIsNone(serving(self.folder))

    def test_cannot_be_written(self) -> None:
        """Mail would not be served for want of a file that nothing depends on."""
        InForce(os.path.join(self.folder, "nowhere")).publish(self.config)

    def test_unreadable(self) -> None:
        """A file that has gone would be compared with a traceback."""
        self.assertEqual(digest(os.path.join(self.folder, "nothing")), "")

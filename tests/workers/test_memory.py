"""Covers mailframe.workers.memory."""

from __future__ import annotations

import mmap
import os

from twisted.trial.unittest import SynchronousTestCase

from mailframe.workers import memory


class MemoryTests(SynchronousTestCase):
    """Memory for several processes."""

    def check(self) -> int:
        """Make memory and share it; its descriptor."""
        descriptor = memory.make_memory(10_000)
        self.addCleanup(os.close, descriptor)
        one, other = (mmap.mmap(descriptor, 10_000) for _ in range(2))
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.assertEqual(one[:], bytes(10_000))
        one[9_999] = 7
        self.assertEqual(other[9_999], 7)
        return descriptor

    def test_made(self) -> None:
        """Workers would count each for itself."""
        self.check()

    def test_as_a_file(self) -> None:
        """Without room on the disk the first failed login would kill a worker."""
        self.patch(memory, "os", _Os())
        status = os.fstat(self.check())
        self.assertGreaterEqual(status.st_blocks * 512, 10_000)
        self.assertEqual(status.st_nlink, 0)


class _Os:
    """A system that has no memory of its own kind for it."""

    posix_fallocate = staticmethod(os.posix_fallocate)
    dup = staticmethod(os.dup)

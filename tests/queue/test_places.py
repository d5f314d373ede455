"""Covers mailframe.queue.places."""

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue.places import Place


class PlaceTests(SynchronousTestCase):
    """Places among the processes that share a queue."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def place(self) -> Place:
        place = Place(self.folder, Random(1))
        self.addCleanup(place.close)
        return place

    def test_no_two_have_the_same(self) -> None:
        """Two workers with one place would make the same id one day, and refuse a message."""
        self.assertEqual([self.place()() for _ in range(64)], list(range(64)))

    def test_a_place_becomes_free(self) -> None:
        """Restarts must not use up the places."""
        first, second = self.place(), self.place()
        self.assertEqual((first(), second()), (0, 1))
        first.close()
        self.assertEqual(self.place()(), 0)

    def test_more_processes_than_places(self) -> None:
        """The 65th process must serve as well."""
        for _ in range(64):
            self.place()()
        self.assertIn(self.place()(), range(64))

    def test_no_file_can_be_locked(self) -> None:
        """Without a lock mail is accepted all the same."""
        place = Place(os.path.join(self.folder, "missing"), Random(1))
        self.addCleanup(place.close)
        self.assertIn(place(), range(64))

    def test_nobody_is_led_elsewhere(self) -> None:
        """Who may write into the folder must not have files made somewhere else."""
        target = os.path.join(self.folder, "elsewhere")
        os.symlink(target, os.path.join(self.folder, "place-0.lock"))
        self.assertEqual(self.place()(), 1)
        self.assertFalse(os.path.exists(target))

    def test_no_descriptor_leaks(self) -> None:
        """A process that comes last must not end with a descriptor for each of the others."""
        for _ in range(10):
            self.place()()
        before = len(os.listdir("/proc/self/fd"))
        last = self.place()
        last()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)
        last.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

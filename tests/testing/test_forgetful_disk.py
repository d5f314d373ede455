"""Covers mailframe.testing.forgetful_disk, and shows how it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from mailframe.files import DIRECTORY, Files, sync_folder
from mailframe.testing.forgetful_disk import ForgetfulDisk

WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
LETTER = b"At one?\r\n" * 200


def keep(files: Files, folder: str, *, sync_file: bool = True, sync_names: bool = True) -> None:
    """Write a letter under another name, and give it its own when it is whole."""
    descriptor = files.open(f"{folder}/draft", WRITE, 0o600)
    files.write(descriptor, (LETTER,))
    if sync_file:
        files.fsync(descriptor)
    files.close(descriptor)
    names = files.open(folder, DIRECTORY)
    files.rename("draft", names, "letter", names)
    files.close(names)
    if sync_names:
        sync_folder(files, folder)


class KeepTests(SynchronousTestCase):
    """A letter that was kept outlives a power cut."""

    def folder(self) -> str:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        return folder

    def found(self, **how: bool) -> Iterator[tuple[bool, bytes | None]]:
        """Of each state: whether the letter was said to be kept, and what is in it."""
        disk = ForgetfulDisk(self.folder())
        keep(disk.files, disk.folder, **how)
        disk.note("kept")
        for state in disk.states(Random(1)):
            folder = self.folder()
            state.write(folder)
            path = f"{folder}/letter"
            octets = None
            if os.path.exists(path):
                with open(path, "rb") as file:
                    octets = file.read()
            yield "kept" in state.notes, octets

    def test_kept(self) -> None:
        """A letter would be lost or torn."""
        found = set(self.found())
        self.assertEqual(found, {(False, None), (False, LETTER), (True, LETTER)})

    def test_the_file_is_not_synced(self) -> None:
        """A disk that forgets nothing would let everything pass."""
        torn = {octets for kept, octets in self.found(sync_file=False) if kept}
        self.assertIn(b"", torn)
        self.assertTrue(any(octets and octets != LETTER for octets in torn), torn)

    def test_the_name_is_not_synced(self) -> None:
        """The same for names."""
        self.assertIn((True, None), set(self.found(sync_names=False)))


class DiskTests(SynchronousTestCase):
    """What else is done to files."""

    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        self.disk = ForgetfulDisk(folder)

    def listings(self) -> set[tuple[str, ...]]:
        """What may be in the folder at the end, sorted."""
        found = set()
        for state in self.disk.states(Random(1)):
            if "end" in state.notes:
                folder = os.path.abspath(self.mktemp())
                os.mkdir(folder)
                state.write(folder)
                found.add(tuple(sorted(os.listdir(folder))))
        return found

    def make(self, name: str) -> None:
        files, folder = self.disk.files, self.disk.folder
        files.close(files.open(f"{folder}/{name}", WRITE, 0o600))

    def test_an_unlink_is_forgotten(self) -> None:
        """What was deleted comes back, and the model would not know."""
        self.make("one")
        sync_folder(self.disk.files, self.disk.folder)
        self.disk.files.unlink(f"{self.disk.folder}/one")
        self.disk.note("end")
        self.assertEqual(self.listings(), {(), ("one",)})

    def test_in_any_order(self) -> None:
        """Only what common file systems happen to do would be tried."""
        self.make("one")
        self.make("two")
        self.disk.note("end")
        self.assertEqual(self.listings(), {(), ("one",), ("two",), ("one", "two")})

    def test_a_rename_is_whole(self) -> None:
        """States would be tried that no disk can be in."""
        files, folder = self.disk.files, self.disk.folder
        self.make("one")
        sync_folder(files, folder)
        names = files.open(folder, DIRECTORY)
        files.rename("one", names, "two", names)
        files.close(names)
        self.disk.note("end")
        self.assertEqual(self.listings(), {("one",), ("two",)})

    def test_a_folder(self) -> None:
        """A mailbox could not be followed."""
        files, folder = self.disk.files, self.disk.folder
        files.mkdir(f"{folder}/box")
        self.disk.note("end")
        self.assertEqual(self.listings(), {(), ("box",)})

    def test_the_same_file(self) -> None:
        """A program that knows files by their inode numbers would not find them."""
        files, folder = self.disk.files, self.disk.folder
        self.make("one")
        number = files.stat(f"{folder}/one").st_ino
        sync_folder(files, folder)
        *_, state = self.disk.states(Random(1))
        after = os.path.abspath(self.mktemp())
        os.mkdir(after)
        known = state.write(after)
        self.assertEqual(known.stat(f"{after}/one").st_ino, number)

    def test_elsewhere(self) -> None:
        """Files that are none of its business would end in an error."""
        path = os.path.abspath(self.mktemp())
        self.disk.files.close(self.disk.files.open(path, WRITE, 0o600))
        self.assertEqual(self.disk.calls, 0)

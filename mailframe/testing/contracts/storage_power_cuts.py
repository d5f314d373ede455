"""What a storage keeps when the power fails, tried on a disk that forgets what was not synced."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from random import Random
from tempfile import TemporaryDirectory

import attrs

from mailframe.entry import Notice
from mailframe.files import Files
from mailframe.interfaces import IQueueStorage
from mailframe.testing.contracts.storage import CONTENT, StorageContract
from mailframe.testing.forgetful_disk import ForgetfulDisk
from mailframe.testing.network import VirtualReactor
from mailframe.testing.samples import make_envelope

# Beyond what storages keep in a database.
LARGE = b"Subject: much\r\n\r\n" + b"At one, at two, or at three?\r\n" * 2_500
AGAIN = CONTENT + b"Again?\r\n"
NOTICE = b"Subject: returned\r\n\r\nNobody there.\r\n"
LATER = 900.0  # seconds
_MEMORY = "/dev/shm"  # noqa: S108  # below it nobody else can guess a name


@attrs.frozen
class Promise:
    """What is promised of a message from some moment on.

    :ivar state: ``here``, whole; ``waiting``, likewise, for its next attempt; ``leaving``, so that
        it may be gone; ``returning``: gone if, and only if, the notice of it is there; ``gone``;
        ``returned``: gone, and the notice is there
    """

    id: str
    state: str
    content: bytes = attrs.field(default=b"", repr=False)


class PowerCutContract(StorageContract):
    """Mix into a test case that says how a storage is made in a folder.

    Some messages go their way, and everything that is done to files is written down. Then a storage
    is made on each of the states that a power cut might have left.

    :cvar uses_sqlite: the storage opens databases of Python's ``sqlite3`` below the folder
    :cvar most: states that are chosen at every moment, besides those that always are
    """

    uses_sqlite = False
    most = 2

    def make_storage_in(self, folder: str, files: Files) -> IQueueStorage:
        """A storage over what is in a folder, at first nothing; each time with other randomness.

        :param files: does everything that the storage does to files, but for SQLite's
        """
        raise AssertionError("override make_storage_in()")

    def make_storage(self, clock: VirtualReactor) -> IQueueStorage:
        """One in a folder where all is written down."""
        self.disk = ForgetfulDisk(self._folder())
        if self.uses_sqlite:
            self._watching.enter_context(self.disk.sqlite())
        return self.make_storage_in(self.disk.folder, self.disk.files)

    def _folder(self) -> str:
        # In memory where that can be: each state is made by writing, and synced by the storage.
        place = _MEMORY if os.path.isdir(_MEMORY) else None
        folder = self._folders.enter_context(TemporaryDirectory(prefix="mailframe-", dir=place))
        return os.path.realpath(folder)

    def setUp(self) -> None:
        """Make the storage."""
        self._watching, self._folders = ExitStack(), ExitStack()
        super().setUp()

    def tearDown(self) -> None:
        """Close it."""
        self._watching.close()
        super().tearDown()
        self._folders.close()

    def test_power_cuts(self) -> None:
        """When the power fails, mail that was acknowledged is lost, or what was sent comes back."""
        self.work()
        self.get(self.storage.close())
        self._watching.close()
        self.assertGreater(self.disk.calls, 0, "nothing was done by the files that were given")
        for number, state in enumerate(self.disk.states(Random(1), self.most)):
            if number:
                self.get(self.storage.close())
                self._folders.close()
            folder = self._folder()
            self.storage = self.make_storage_in(folder, state.write(folder))
            where = f"after {state.moment} calls, with {dict(state.survived)}"
            self.check([note for note in state.notes if isinstance(note, Promise)], where)

    def work(self) -> None:
        """Have messages come, wait and leave."""
        ids = {}
        for content in (CONTENT, LARGE, AGAIN):
            ids[content] = self.keep(content=content)
            self.disk.note(Promise(ids[content], "here", content))
        entries = {entry.id: entry for entry in self.claim()}
        first, large, last = (entries[id] for id in ids.values())
        self.disk.note(Promise(first.id, "leaving"))
        self.settle(first, self.step(first, next_attempt=None))
        self.disk.note(Promise(first.id, "gone"))
        self.settle(large, self.step(large, next_attempt=self.now + LATER, warned=True))
        self.disk.note(Promise(large.id, "waiting", LARGE))
        self.disk.note(Promise(last.id, "returning"))
        notice = Notice(envelope=make_envelope(sender=None, arrived=self.now), content=NOTICE)
        step = self.step(last, next_attempt=None)
        self.get(self.storage.settle(id=last.id, owner="one", step=step, notices=(notice,)))
        self.disk.note(Promise(last.id, "returned"))

    def check(self, promises: Sequence[Promise], where: str) -> None:
        """Demand that what was promised last of each message is so."""
        found = self.get(self.storage.messages(after=None, limit=100))
        entries = {entry.id: entry for entry in found}
        contents = {id: self.content(id) for id in entries}
        for content in contents.values():
            self.assertIn(content, (CONTENT, LARGE, AGAIN, NOTICE), where)
        has_notice = NOTICE in contents.values()
        for promise in {promise.id: promise for promise in promises}.values():
            id = promise.id
            if promise.state in ("here", "waiting"):
                self.assertEqual(contents.get(id), promise.content, where)
            if promise.state == "waiting":
                self.assertTrue(entries[id].warned, where)
            if promise.state in ("gone", "returned"):
                self.assertNotIn(id, entries, where)
            if promise.state in ("returning", "returned"):
                self.assertNotEqual(id in entries, has_notice, where)

"""A model of a disk that forgets what was not synced, and all the states a power cut may leave.

Whatever is done to files goes through a `ForgetfulDisk` to a real folder, and is written down.
After that it tells, for every moment between two calls, in which states the disk may be found if
the power was cut just then: what was synced is there; of what was not, each change may have reached
the disk or not, whatever was done before or after it.

- Octets written to a file survive from the sync of that file on. A write may survive in part.
- A name made, changed or removed in a folder survives from the sync of that folder on; the sync of
  the file itself does not help. A rename happens whole or not at all, and is certain when both
  folders are synced.
- What is done to a name rests on what was done to the same name before.

That is less than common file systems promise, which keep the order of names. So what holds here
holds on any of them, as long as their rename is atomic.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from random import Random
from typing import Any

import attrs

from mailframe.files import Files
from mailframe.testing.storage_calls import StorageCall
from mailframe.testing.watched_files import WatchedFiles
from mailframe.testing.watched_sqlite import WatchedSqlite

SECTOR = 512  # octets; a write survives in whole ones
FEW = 4  # changes up to which every combination is a state of its own
# What SQLite shares with other processes while they live means nothing after a power cut.
FLEETING = ("-shm",)


@attrs.define(eq=False)
class Node:
    """A file or folder.

    :ivar inode: its inode number, once it is known
    :ivar octets: of a file, those that are certain to survive
    :ivar entries: of a folder, likewise; ``None`` for a file
    :ivar present: a folder as programs see it
    """

    inode: int = 0
    octets: bytes = b""
    entries: dict[str, Node] | None = None
    present: dict[str, Node] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Change:
    """Something that may not survive yet.

    :ivar number: counts all changes
    :ivar node: whose octets it changes; ``None`` when it changes names
    :ivar names: folders, names and what they name from now on
    :ivar unsynced: the folders whose sync makes it certain
    :ivar rests_on: earlier changes that survive if this one does
    """

    number: int
    node: Node | None = None
    offset: int = 0
    octets: bytes | None = None
    names: tuple[tuple[Node, str, Node | None], ...] = ()
    unsynced: set[Node] = attrs.field(factory=set)
    rests_on: tuple[Change, ...] = ()


@attrs.frozen(eq=False)
class State:
    """What a disk may hold after a power cut.

    :ivar moment: how many calls had been made
    :ivar notes: what had been noted by then
    :ivar survived: the numbers of the changes that survived without a sync, and how many octets of
        it when it was not all
    """

    moment: int
    notes: tuple[Any, ...]
    survived: Mapping[int, int | None]
    _root: Node
    _changes: tuple[Change, ...]

    def write(self, folder: str) -> Files:
        """Put it into an empty folder.

        :param folder: takes the place of the disk's
        :returns: the file system, with files and folders known by the inode numbers they had
        """
        chosen = [change for change in self._changes if change.number in self.survived]
        names: dict[Node, dict[str, Node]] = {}
        for change in chosen:
            for parent, name, node in change.names:
                entries = names.setdefault(parent, dict(parent.entries or {}))
                if node is None:
                    entries.pop(name, None)
                else:
                    entries[name] = node
        inodes: dict[int, int] = {}
        self._write(self._root, folder, names, chosen, inodes)
        return _SameInodes(inodes)

    def _write(
        self,
        node: Node,
        path: str,
        names: Mapping[Node, dict[str, Node]],
        chosen: Collection[Change],
        inodes: dict[int, int],
    ) -> None:
        entries = names.get(node, node.entries)
        if entries is None:
            octets = node.octets
            for change in chosen:
                if change.node is node:
                    octets = _changed(octets, change, self.survived[change.number])
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
        else:
            os.makedirs(path, 0o700, exist_ok=True)
        inodes[os.stat(path).st_ino] = node.inode
        for name, entry in (entries or {}).items():
            self._write(entry, f"{path}/{name}", names, chosen, inodes)


class _SameInodes(Files):
    """The file system, with some inode numbers replaced.

    :param inodes: what takes the place of which
    """

    def __init__(self, inodes: Mapping[int, int]) -> None:
        self._inodes = inodes

    def stat(self, name: str | bytes, dir_fd: int | None = None) -> os.stat_result:
        """See `Files.stat`."""
        return self._replaced(super().stat(name, dir_fd))

    def fstat(self, descriptor: int) -> os.stat_result:
        """See `Files.fstat`."""
        return self._replaced(super().fstat(descriptor))

    def _replaced(self, found: os.stat_result) -> os.stat_result:
        fields = list(found)
        fields[1] = self._inodes.get(found.st_ino) or found.st_ino
        times = {name: getattr(found, name) for name in dir(found) if "time" in name}
        return os.stat_result(fields, times)


class ForgetfulDisk:
    """The disk, as a watch (`mailframe.testing.storage_calls.Watch`).

    :param folder: an empty one; everything in it is to be changed through `files` and, by SQLite,
        while `sqlite` is entered
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self.files = WatchedFiles(self)
        self._log: list[StorageCall | tuple[Any]] = []
        self._inodes: dict[int, int] = {}  # by the place in the log where a file is opened

    def sqlite(self) -> WatchedSqlite:
        """Within it, SQLite's connections are opened so that what they do is written down."""
        return WatchedSqlite(self)

    def before(self, call: StorageCall) -> None:
        """See `Watch`."""

    def after(self, call: StorageCall) -> None:
        """See `Watch`."""
        if not call.path.startswith(self.folder) or call.path.endswith(FLEETING):
            return
        self._log.append(call)
        if call.operation in ("open", "create"):
            self._inodes[len(self._log) - 1] = os.stat(call.path).st_ino

    @property
    def calls(self) -> int:
        """How many calls were written down."""
        return sum(isinstance(entry, StorageCall) for entry in self._log)

    def note(self, value: Any) -> None:
        """Note something, such as a promise that was made just now."""
        self._log.append((value,))

    def states(self, chance: Random, most: int = 12) -> Iterator[State]:
        """The states that power cuts may leave, moment by moment; none of them twice.

        Each must be written, if at all, before the next is asked for.

        :param chance: chooses, where there are more than that
        :param most: at every moment, besides those with all or nothing of what was not synced
        """
        model = _Model(self.folder)
        notes: tuple[Any, ...] = ()
        seen: set[tuple[int, int, frozenset[tuple[int, int | None]]]] = set()
        for moment, entry in enumerate(self._log):
            if isinstance(entry, tuple):
                notes += entry
            elif not model.apply(entry, self._inodes.get(moment, 0)):
                continue
            for survived in _choices(model.pending, chance, most):
                identity = model.version, len(notes), frozenset(survived.items())
                if identity not in seen:
                    seen.add(identity)
                    yield State(moment, notes, survived, model.root, tuple(model.pending))


def _closed(changes: Collection[Change]) -> dict[int, int | None]:
    """The numbers of changes and of all that they rest on."""
    found: dict[int, int | None] = {}
    waiting = list(changes)
    while waiting:
        change = waiting.pop()
        if change.number not in found:
            found[change.number] = None
            waiting += change.rests_on
    return found


def _choices(pending: list[Change], chance: Random, most: int) -> Iterator[dict[int, int | None]]:
    """Which of the changes may have survived."""
    yield {}
    if not pending:
        return
    yield _closed(pending)
    names = [change for change in pending if change.node is None]
    data = [change for change in pending if change.node is not None]
    if names and data:
        yield _closed(names)
        yield _closed(data)
    if len(pending) <= FEW:
        for number in range(1, 2 ** len(pending) - 1):
            yield _closed([c for n, c in enumerate(pending) if number >> n & 1])
    else:
        for _ in range(most):
            kind = chance.randrange(4)
            if kind == 0:  # as a journal would have it
                yield _closed(pending[: chance.randrange(1, len(pending))])
            elif kind == 1:
                yield _closed([chance.choice(pending)])
            elif kind == 2:
                without = chance.choice(pending)
                yield {
                    number: None
                    for change in pending
                    if without.number not in (numbers := _closed([change]))
                    for number in numbers
                }
            else:
                yield _closed([c for c in pending if chance.random() < 0.5])
    large = [c for c in data if c.octets is not None and len(c.octets) > SECTOR]
    if large:  # one that survived in part
        torn = chance.choice(large)
        survived = _closed([*names, *(c for c in data if c.number <= torn.number)])
        sectors = len(torn.octets or b"") // SECTOR
        survived[torn.number] = SECTOR * chance.randrange(sectors + 1)
        yield survived


class _Model:
    """The disk as it is at a moment."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.root = Node(entries={})
        self.pending: list[Change] = []
        self.version = 0  # of what is certain
        self._numbers = 0
        self._inode = 0
        self._descriptors: dict[int, Node] = {}
        self._at: dict[int, int] = {}

    def apply(self, call: StorageCall, inode: int) -> bool:
        """Go on by one call; whether it made a difference to what may survive.

        :param inode: the number of what it opens
        """
        before = self._numbers, self.version
        self._inode = inode
        getattr(self, f"_{call.operation}", self._nothing)(call)
        return (self._numbers, self.version) != before

    # --- calls -------------------------------------------------------------------------------

    def _nothing(self, call: StorageCall) -> None:
        """It only looked."""

    def _create(self, call: StorageCall) -> None:
        folder, name = self._place(call.path)
        if name not in folder.present:
            self._rename_to((folder, name, Node()))
        self._opened(call, folder.present[name])

    def _open(self, call: StorageCall) -> None:
        node = self._found(call.path)
        if node is not None:  # else it is what this disk was never told of, such as a lock
            self._opened(call, node)

    def _mkdir(self, call: StorageCall) -> None:
        self._rename_to((*self._place(call.path), Node(entries={})))

    def _rename(self, call: StorageCall) -> None:
        old, new = self._place(call.path), self._place(call.to)
        node = old[0].present[old[1]]
        self._rename_to((*old, None), (*new, node))

    def _unlink(self, call: StorageCall) -> None:
        folder, name = self._place(call.path)
        self._rename_to((folder, name, None))
        if call.syncs_folder:
            self._sync(folder)

    def _write(self, call: StorageCall) -> None:
        node = self._descriptors[call.descriptor or 0]
        at = self._at.get(call.descriptor or 0, 0) if call.offset is None else call.offset
        self._at[call.descriptor or 0] = at + len(call.octets)
        self._change(node=node, offset=at, octets=call.octets)

    def _truncate(self, call: StorageCall) -> None:
        self._change(node=self._descriptors[call.descriptor or 0], offset=call.size)

    def _fsync(self, call: StorageCall) -> None:
        self._sync(self._descriptors[call.descriptor or 0])
        if call.syncs_folder:
            self._sync(self._place(call.path)[0])

    def _close(self, call: StorageCall) -> None:
        self._descriptors.pop(call.descriptor or 0, None)

    # --- within ------------------------------------------------------------------------------

    def _opened(self, call: StorageCall, node: Node) -> None:
        assert call.descriptor is not None, "known after the call"
        node.inode = self._inode
        self._descriptors[call.descriptor] = node
        self._at[call.descriptor] = 0

    def _found(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in os.path.relpath(path, self.folder).split("/"):
            if node is not None and name != ".":
                node = node.present.get(name)
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        folder = self._found(os.path.dirname(path))
        if folder is None:
            raise AssertionError(f"{path}: its folder was not made through this disk")
        return folder, os.path.basename(path)

    def _change(self, **what: Any) -> Change:
        self._numbers += 1
        change = Change(number=self._numbers, **what)
        self.pending.append(change)
        return change

    def _rename_to(self, *names: tuple[Node, str, Node | None]) -> None:
        touched = {(folder, name) for folder, name, _ in names}
        self._change(
            names=names,
            unsynced={folder for folder, _, _ in names},
            rests_on=tuple(
                change
                for change in self.pending
                if any((folder, name) in touched for folder, name, _ in change.names)
            ),
        )
        for folder, name, node in names:
            if node is None:
                del folder.present[name]
            else:
                folder.present[name] = node

    def _sync(self, node: Node) -> None:
        certain: set[int] = set()
        for change in self.pending:
            if change.node is node:
                certain.add(change.number)
            elif node in change.unsynced:
                change.unsynced.discard(node)
                if not change.unsynced:
                    certain |= _closed([change]).keys()
        if not certain:
            return
        self.version += 1
        for change in self.pending:
            if change.number in certain:
                _make_certain(change)
        self.pending = [change for change in self.pending if change.number not in certain]


def _make_certain(change: Change) -> None:
    if change.node is not None:
        change.node.octets = _changed(change.node.octets, change, None)
    for folder, name, node in change.names:
        assert folder.entries is not None, "only folders hold names"
        if node is None:
            folder.entries.pop(name, None)
        else:
            folder.entries[name] = node


def _changed(octets: bytes, change: Change, most: int | None) -> bytes:
    """What a file's octets are after a change, or the first part of it."""
    if change.octets is None:
        return octets[: change.offset].ljust(change.offset, b"\0")
    added = change.octets[:most]
    before = octets[: change.offset].ljust(change.offset, b"\0")
    return before + added + octets[change.offset + len(added) :]

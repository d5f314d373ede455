"""What a Maildir holds, in the order of arrival. Everything here blocks, and runs in threads.

Written for mailboxes of 100,000 messages: names are compared as whole sets and lists, and what was
found out about a message at an earlier listing, its size above all, is not found out again.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import compress
from typing import Any, TypeAlias

import attrs
from twisted.logger import Logger

from mailframe.delivery.maildir_files import ForeignMaildir, OpenMaildir
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_names import arrival, base_name, wire_size
from mailframe.delivery.maildir_sizes import read_size
from mailframe.files import Files

log = Logger()

Place: TypeAlias = tuple[str, bool]  # a whole name, and whether it lies in cur

FEW = 1000  # messages that came out of order; more are better put in order with all the others
_TRIES = 3  # how often a folder is read again that changes meanwhile
_PART = 10_000  # names that are sorted at a time
_DIGITS = 10  # of a POSIX time between 2001 and 2286: such names sort by themselves


@attrs.frozen(eq=False)
class Listing:
    """The messages of a Maildir, in the order of their arrival.

    :ivar names: whole, as last seen
    :ivar in_cur: 1 for each that was last seen in cur, 0 for new
    :ivar sizes: octets with every line ended by CRLF
    """

    names: list[str]
    in_cur: bytearray
    sizes: array[int]

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self.names)


def nothing() -> Listing:
    """The listing of an empty Maildir."""
    return Listing([], bytearray(), array("Q"))


def by_base(new: Iterable[str], cur: Iterable[str]) -> dict[str, Place]:
    """Where messages are, by the bases of their names.

    :param new: the names in new, which was listed first: a message that somebody moved meanwhile is
        in cur
    """
    places = {base_name(name): (name, False) for name in new}
    places.update((base_name(name), (name, True)) for name in cur)
    return places


def told_by_names(listing: Listing) -> bool:
    """Whether the names alone tell all sizes."""
    return all(
        wire_size(base_name(name)) == size
        for name, size in zip(listing.names, listing.sizes, strict=True)
    )


@attrs.frozen(eq=False)
class Seen:
    """The regular files of a folder.

    :ivar known: those of an earlier listing, by their places there
    :ivar others: the names of the others
    """

    known: list[int]
    others: list[str]

    def names(self, before: Listing) -> list[str]:
        """All names.

        :param before: the earlier listing
        """
        return [before.names[at] for at in self.known] + self.others


class Lister:
    """Lists one Maildir.

    :ivar complete: nothing was left out that may be there next time
    :ivar changes: how many messages came, went or moved since the earlier listing
    """

    def __init__(self, files: Files, maildir: OpenMaildir, path: MailboxPath) -> None:
        """:param path: for the log"""
        self._files = files
        self._maildir = maildir
        self._path = path
        self.complete = True
        self.changes = 0

    def listing(self, before: Listing) -> Listing:
        """List it.

        :param before: an earlier listing, or an empty one
        :raises OSError: a folder can't be read
        """
        known = dict(zip(before.names, range(len(before)), strict=True))
        # New comes first: a message that somebody moves meanwhile is then seen in either folder.
        new = self._look(self._maildir.new, known)
        cur = self._look_in_cur(known)
        found = self._continued(before, new, cur) if known else None
        return self._afresh(before, new, cur) if found is None else found

    def _continued(self, before: Listing, new: Seen, cur: Seen) -> Listing | None:
        """The earlier listing with what moved, without what went, and with what came.

        :returns: ``None`` when that is not enough to find the order
        """
        there, in_cur = bytearray(len(before)), bytearray(len(before))
        for at in new.known:
            there[at] = 1
        for at in cur.known:
            there[at] = in_cur[at] = 1
        kept = Listing(list(before.names), in_cur, before.sizes[:])
        came = by_base(new.others, cur.others)
        self.changes = len(came)
        if 0 in there:
            for at in [at for at, present in enumerate(there) if not present]:
                place = came.pop(base_name(kept.names[at]), None)
                if place is not None:
                    there[at] = 1
                    kept.names[at], in_cur[at] = place
            if 0 in there:
                self.changes += there.count(0)
                kept = Listing(
                    list(compress(kept.names, there)),
                    bytearray(compress(in_cur, there)),
                    array("Q", compress(kept.sizes, there)),
                )
        return self._with(kept, came) if came else kept

    def _with(self, kept: Listing, came: dict[str, Place]) -> Listing | None:
        """A listing with some messages more.

        :returns: ``None`` when their place is not easily found
        """
        names = kept.names
        last = arrival(names[-1]) if names else 0
        if last is None or not all(map(_plain, came)):
            return None
        amid = sum(int(base[:_DIGITS]) <= last for base in came)
        if amid and (amid > FEW or not came.keys().isdisjoint(map(base_name, names))):
            return None
        sizes: dict[str, int] = {}
        if self._measure(came, sizes):
            return None
        for base in sorted(sizes):
            at = len(names)
            if amid and int(base[:_DIGITS]) <= last:
                try:
                    at = bisect_left(names, (int(base[:_DIGITS]), base), key=_sort_key)
                except ValueError:
                    return None
            name, in_cur = came[base]
            names.insert(at, name)
            kept.in_cur.insert(at, in_cur)
            kept.sizes.insert(at, sizes[base])
        return kept

    def _afresh(self, before: Listing, new: Seen, cur: Seen) -> Listing:
        """A listing for which all names are looked at."""
        places = by_base(new.names(before), cur.names(before))
        self.changes = len(places)
        sizes: dict[str, int] = dict(zip(map(base_name, before.names), before.sizes, strict=True))
        arrivals = self._arrivals(places)
        missing = self._measure(places, sizes)
        if missing:
            # Another program moved these while we read the others.
            again = by_base((), self._look_in_cur({}).others)
            found = {base: again[base] for base in missing & again.keys()}
            places.update(found)
            missing -= found.keys() - self._measure(found, sizes)
        for base in missing:
            self._leave_out(places[base][0], "it is not there any more")
            del places[base]
        order = _in_order([base for base in places if base in sizes], arrivals)
        placed = [places[base] for base in order]
        return Listing(
            [name for name, _ in placed],
            bytearray(there for _, there in placed),
            array("Q", [sizes[base] for base in order]),
        )

    def _look_in_cur(self, known: Mapping[str, int]) -> Seen:
        """Look what cur holds, and miss nothing that others rename meanwhile.

        Reading a folder may miss a file that is given another name at that time, and a message
        would be gone for a session because somebody flagged it.
        """
        folder = self._maildir.cur
        for _ in range(_TRIES):
            before = self._files.fstat(folder).st_mtime_ns
            seen = self._look(folder, known)
            if self._files.fstat(folder).st_mtime_ns == before:
                break
        return seen

    def _look(self, folder: int, known: Mapping[str, int]) -> Seen:
        """Look what a folder holds; only what is not known is looked at one by one."""
        at: list[Any] = []
        if known:
            names = self._files.names(folder)
            at = list(map(known.get, names))
            others = []
            if None in at:
                others = [name for name, place in zip(names, at, strict=True) if place is None]
                at = [place for place in at if place is not None]
            odd = {name for name in others if name[0] != "." and not self._is_regular(name, folder)}
        else:
            others, irregular = self._files.regular(folder)
            odd = {name for name in irregular if name[0] != "."}
        for name in odd:
            log.warn(
                "{name!r} in the Maildir {path} is not a regular file: ignored",
                name=name,
                path=str(self._path),
            )
        return Seen(at, [name for name in others if name[0] != "." and name not in odd])

    def _is_regular(self, name: str, folder: int) -> bool:
        try:
            return stat.S_ISREG(self._files.stat(name, folder).st_mode)
        except OSError:
            return True  # whatever it is, reading it will tell

    def _arrivals(self, places: dict[str, Place]) -> Mapping[str, int]:
        """When those came whose names don't begin with an ordinary time."""
        found: dict[str, int] = {}
        for base in [base for base in places if not _plain(base)]:
            name, in_cur = places[base]
            time = arrival(base)
            try:
                if time is None:
                    folder = self._maildir.cur if in_cur else self._maildir.new
                    time = int(self._files.stat(name, folder).st_mtime)
            except OSError as error:
                self._leave_out(name, str(error))
                del places[base]
            else:
                found[base] = time
        return found

    def _measure(self, places: dict[str, Place], sizes: dict[str, int]) -> set[str]:
        """Find out the sizes that are not known yet.

        :param places: what can't be read is taken out
        :param sizes: known ones; the others are added
        :returns: those that are not where they were
        """
        missing: set[str] = set()
        for base in [base for base in places if base not in sizes]:
            size = wire_size(base)
            if size is None:
                name, in_cur = places[base]
                folder = self._maildir.cur if in_cur else self._maildir.new
                # What can't be read is left out, rather than keep all the others from being read.
                try:
                    size = read_size(self._files, name, folder)
                except FileNotFoundError:
                    missing.add(base)
                    continue
                except (OSError, ForeignMaildir) as error:
                    self._leave_out(name, str(error))
                    del places[base]
                    continue
            sizes[base] = size
        return missing

    def _leave_out(self, name: str, reason: str) -> None:
        self.complete = False
        log.warn(
            "{name!r} in the Maildir {path} can't be read: {reason}",
            name=name,
            path=str(self._path),
            reason=reason,
        )


def _plain(base: str) -> bool:
    """Whether a name begins with an ordinary time."""
    digits = base[:_DIGITS]
    return (
        base[_DIGITS : _DIGITS + 1] == "."
        and digits.isdecimal()
        and digits.isascii()
        and digits[0] != "0"
    )


def _sort_key(name: str) -> tuple[int, str]:
    """What a listing is sorted by.

    :raises ValueError: the name alone does not tell
    """
    base = base_name(name)
    time = arrival(base)
    if time is None:
        raise ValueError(name)
    return time, base


def _in_order(bases: list[str], arrivals: Mapping[str, int]) -> list[str]:
    """Bases by the time of arrival, and by name where that is the same."""
    if arrivals:
        bases.sort(key=lambda b: (arrivals[b] if b in arrivals else int(b[:_DIGITS]), b))
    else:
        # By parts first, as no other thread runs while a list is sorted.
        for start in range(0, len(bases), _PART):
            bases[start : start + _PART] = sorted(bases[start : start + _PART])
        bases.sort()
    return bases

"""What a Maildir holds, in the order of arrival. Everything here blocks, and runs in threads.

Written for mailboxes of 100,000 messages: names are compared as whole sets and lists, and what was
found out about a message at an earlier listing, its size above all, is not found out again.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Iterable, Mapping
from itertools import compress
from typing import TypeAlias

import attrs
from twisted.logger import Logger

from mailframe.delivery.maildir_files import ForeignMaildir, OpenMaildir, open_regular
from mailframe.delivery.maildir_layout import MailboxPath
from mailframe.delivery.maildir_names import arrival, base_name, wire_size
from mailframe.files import Files

log = Logger()

Place: TypeAlias = tuple[str, bool]  # a whole name, and whether it lies in cur

BLOCK = 65536  # octets that are read at a time
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


class Lister:
    """Lists one Maildir.

    :ivar complete: nothing was left out that may be there next time
    """

    def __init__(self, files: Files, maildir: OpenMaildir, path: MailboxPath) -> None:
        """:param path: for the log"""
        self._files = files
        self._maildir = maildir
        self._path = path
        self._buffer = bytearray(BLOCK)
        self.complete = True

    def listing(self, before: Listing) -> Listing:
        """List it.

        :param before: an earlier listing, or an empty one
        :raises OSError: a folder can't be read
        """
        # New comes first: a message that somebody moves meanwhile is then seen in either folder.
        new = self._names(self._maildir.new, before)
        cur = self._names(self._maildir.cur, before)
        return self._continued(before, new, cur) or self._afresh(before, new, cur)

    def _continued(self, before: Listing, new: list[str], cur: list[str]) -> Listing | None:
        """The earlier listing without what went and with what came after all of it.

        :returns: ``None`` when more has happened than that
        """
        if not len(before):
            return None
        there = (set(new), set(cur))
        stayed = [
            name in there[place] for name, place in zip(before.names, before.in_cur, strict=True)
        ]
        if all(stayed):
            kept = Listing(list(before.names), before.in_cur[:], before.sizes[:])
        else:
            kept = Listing(
                list(compress(before.names, stayed)),
                bytearray(compress(before.in_cur, stayed)),
                array("Q", compress(before.sizes, stayed)),
            )
        known = set(kept.names)
        added = by_base(
            [name for name in new if name not in known], [name for name in cur if name not in known]
        )
        if not added:
            return kept
        last = arrival(kept.names[-1]) if kept.names else 0
        if last is None or not all(_plain(base) and int(base[:_DIGITS]) > last for base in added):
            return None
        sizes: dict[str, int] = {}
        if self._measure(added, sizes):
            return None
        for base in sorted(sizes):
            name, in_cur = added[base]
            kept.names.append(name)
            kept.in_cur.append(in_cur)
            kept.sizes.append(sizes[base])
        return kept

    def _afresh(self, before: Listing, new: list[str], cur: list[str]) -> Listing:
        """A listing for which all names are looked at."""
        places = by_base(new, cur)
        sizes: dict[str, int] = dict(zip(map(base_name, before.names), before.sizes, strict=True))
        arrivals = self._arrivals(places)
        missing = self._measure(places, sizes)
        if missing:
            # Another program moved these while we read the others.
            again = by_base((), self._names(self._maildir.cur, before))
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

    def _names(self, folder: int, before: Listing) -> list[str]:
        """The regular files of a folder."""
        if len(before):
            # Much faster, as only what was not there before is looked at one by one.
            names = self._files.names(folder)
            others = [name for name in set(names).difference(before.names) if name[0] != "."]
            odd = {name for name in others if not self._is_regular(name, folder)}
        else:
            names, irregular = self._files.regular(folder)
            odd = {name for name in irregular if name[0] != "."}
        for name in odd:
            log.warn(
                "{name!r} in the Maildir {path} is not a regular file: ignored",
                name=name,
                path=str(self._path),
            )
        return [name for name in names if name[0] != "." and name not in odd]

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
                    size = self._read_size(name, folder)
                except FileNotFoundError:
                    missing.add(base)
                    continue
                except (OSError, ForeignMaildir) as error:
                    self._leave_out(name, str(error))
                    del places[base]
                    continue
            sizes[base] = size
        return missing

    def _read_size(self, name: str, folder: int) -> int:
        """Octets as they are sent, stuffed dots not counted."""
        files, buffer = self._files, self._buffer
        descriptor, whole = open_regular(files, name, folder)
        try:
            size = left = whole
            last = 10
            while left > 0 and (count := files.read_into(descriptor, buffer)):
                left -= count
                # Each lone CR or LF becomes two octets; a CRLF across two pieces counts once.
                size += buffer.count(b"\n", 0, count)
                if last == 13 or buffer.find(b"\r", 0, count) >= 0:
                    size += buffer.count(b"\r", 0, count) - 2 * buffer.count(b"\r\n", 0, count)
                    size -= 2 if last == 13 and buffer[0] == 10 else 0
                last = buffer[count - 1]
            return size - max(left, 0) + (0 if last in (10, 13) else 2)
        finally:
            files.close(descriptor)

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

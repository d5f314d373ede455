"""The messages of a POP3 session: sizes, unique ids, and which are marked as deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

PIECE = 1000  # lines of a listing that are made at a time


class NoSuchMessage(ValueError):
    """The client named no message that is there. ``str(error)`` is for the client."""


class Maildrop:
    """The messages, numbered from 1 as the client sees them, and by index from 0.

    :ivar count: messages that are not marked as deleted
    :ivar octets: of these
    :ivar uidls: the unique ids, once they are known
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """:param sizes: octets of each message as it will be sent, stuffed dots not counted"""
        self._sizes = sizes
        self._deleted: set[int] = set()
        self.count = len(sizes)
        self.octets = sum(sizes)
        self.uidls: Sequence[bytes] | None = None

    def index(self, number: int) -> int:
        """The index of a message that is there.

        :raises NoSuchMessage: it is not, or is marked as deleted
        """
        index = number - 1
        if not 0 <= index < len(self._sizes):
            raise NoSuchMessage("no such message")
        if index in self._deleted:
            raise NoSuchMessage(f"message {number} is marked as deleted")
        return index

    def size(self, index: int) -> int:
        """Octets of a message."""
        return self._sizes[index]

    def delete(self, index: int) -> None:
        """Mark a message that is there."""
        self._deleted.add(index)
        self.count -= 1
        self.octets -= self._sizes[index]

    def reset(self) -> None:
        """Take all marks away."""
        self.count = len(self._sizes)
        self.octets += sum(self._sizes[index] for index in self._deleted)
        self._deleted.clear()

    def deleted(self) -> tuple[int, ...]:
        """The indices of the messages that are marked, in their order."""
        return tuple(sorted(self._deleted))

    def summary(self) -> str:
        """How much there is, for people."""
        return f"{self.count} messages ({self.octets} octets)"

    def size_lines(self) -> Iterator[bytes]:
        """The lines of LIST, in pieces."""
        sizes = self._sizes
        return self._lines(lambda index: b"%d %d\r\n" % (index + 1, sizes[index]))

    def uidl_lines(self) -> Iterator[bytes]:
        """The lines of UIDL, in pieces; `uidls` must be known."""
        uidls = self.uidls
        assert uidls is not None
        return self._lines(lambda index: b"%d %b\r\n" % (index + 1, uidls[index]))

    def _lines(self, line: Callable[[int], bytes]) -> Iterator[bytes]:
        # It does not change meanwhile: no command is read before the listing is complete.
        deleted = self._deleted
        total = len(self._sizes)
        for start in range(0, total, PIECE):
            indices = range(start, min(start + PIECE, total))
            if deleted:
                yield b"".join([line(index) for index in indices if index not in deleted])
            else:
                yield b"".join([line(index) for index in indices])

"""Questions about line ends."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire import line_ends


def every_string() -> list[bytes]:
    """Every string of CR, LF and a letter up to a length of seven."""
    return [
        bytes(octets) for size in range(8) for octets in itertools.product(b"\r\na", repeat=size)
    ]


class LineEndTests(SynchronousTestCase):
    """The searches beside what they stand for, octet by octet."""

    def test_bare_line_ends_are_seen(self) -> None:
        """Content with a bare CR or LF got past, which some server takes for the end of a line."""
        for octets in every_string():
            ends = octets.count(b"\r\n")
            bare = octets.count(b"\r") != ends or octets.count(b"\n") != ends
            self.assertEqual(line_ends.has_bare(octets), bare, octets)

    def test_line_ends_are_made_whole(self) -> None:
        """A line that ended in a bare octet ran into the next, or an empty line came from CRLF."""
        self.assertEqual(line_ends.whole(b"a\r\nb\nc\rd\r\r\n\n"), b"a\r\nb\r\nc\r\nd\r\n\r\n\r\n")
        for octets in every_string():
            made = line_ends.whole(octets)
            self.assertFalse(line_ends.has_bare(made), octets)
            self.assertEqual(made.split(b"\r\n"), self.lines(octets), octets)

    def lines(self, octets: bytes) -> list[bytes]:
        """The lines of text with ends of all three kinds."""
        lines = [b""]
        rest = iter(range(len(octets)))
        for at in rest:
            if octets[at : at + 2] == b"\r\n":
                lines.append(b"")
                next(rest)
            elif octets[at : at + 1] in (b"\r", b"\n"):
                lines.append(b"")
            else:
                lines[-1] += octets[at : at + 1]
        return lines

    def test_lfs_are_counted(self) -> None:
        """POP3 told wrong sizes of messages in a Maildir."""
        for octets in every_string():
            self.assertEqual(line_ends.count_lf(octets), octets.count(b"\n"), octets)

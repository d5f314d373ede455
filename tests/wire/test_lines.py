"""Lines out of a stream: `mailframe.wire.lines`."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.lines import BareLineEnd, LineBuffer, LineTooLong


def drain(buffer: LineBuffer) -> list[object]:
    """All that can be taken now; errors stand as their type."""
    taken: list[object] = []
    while True:
        try:
            line = buffer.next_line()
        except (BareLineEnd, LineTooLong) as error:
            taken.append(type(error))
            continue
        if line is None:
            return taken
        taken.append(line)


def slow_lines(octets: bytes, limit: int) -> list[object]:
    """What the buffer should give for whole lines, in the plainest way."""
    lines: list[object] = []
    for line in octets.split(b"\r\n")[:-1]:
        if len(line) + 2 > limit:
            lines.append(LineTooLong)
        elif b"\r" in line or b"\n" in line:
            lines.append(BareLineEnd)
        else:
            lines.append(line)
    return lines


class LineBufferTests(SynchronousTestCase):
    """Only CRLF ends a line, and no line is longer than allowed."""

    def test_lines(self) -> None:
        """Pipelined commands are all seen, in order."""
        buffer = LineBuffer(20)
        buffer.feed(b"one\r\ntwo\r\n\r\nthr")
        self.assertEqual(drain(buffer), [b"one", b"two", b""])
        self.assertEqual(len(buffer), 3)
        buffer.feed(b"ee\r")
        self.assertEqual(drain(buffer), [])
        buffer.feed(b"\n")
        self.assertEqual(drain(buffer), [b"three"])
        self.assertEqual(len(buffer), 0)

    def test_take_all(self) -> None:
        """What came behind STARTTLS or DATA is found, whole lines or not."""
        buffer = LineBuffer(20)
        buffer.feed(b"DATA\r\nSubject: x\r\nbo")
        self.assertEqual(buffer.next_line(), b"DATA")
        self.assertEqual(buffer.take_all(), b"Subject: x\r\nbo")
        self.assertEqual(buffer.take_all(), b"")
        self.assertIsNone(buffer.next_line())

    def test_limit_is_exact(self) -> None:
        """A line of just the limit, CRLF included, is a legal one."""
        buffer = LineBuffer(10)
        buffer.feed(b"12345678\r\n123456789\r\nok\r\n")
        self.assertEqual(drain(buffer), [b"12345678", LineTooLong, b"ok"])

    def test_limit_without_a_line_end(self) -> None:
        """A client that sends a line without end fills no memory, and is told once."""
        buffer = LineBuffer(10)
        taken = []
        for _ in range(1000):
            buffer.feed(b"x" * 100)
            taken += drain(buffer)
            self.assertLess(len(buffer), 200)
        self.assertEqual(taken, [LineTooLong])
        buffer.feed(b"\r\nok\r\n")
        self.assertEqual(drain(buffer), [b"ok"])

    def test_bare_line_ends(self) -> None:
        """A bare CR or LF hides no command in a line."""
        buffer = LineBuffer(40)
        buffer.feed(b"NOOP\nQUIT\r\nNOOP\rQUIT\r\n\r\r\nNOOP\r\n")
        self.assertEqual(drain(buffer), [BareLineEnd, BareLineEnd, BareLineEnd, b"NOOP"])

    def test_exhaustive(self) -> None:
        """However the octets are cut into segments, the lines are the same."""
        for size in range(1, 7):
            for letters in itertools.product(b"\r\na", repeat=size):
                octets = bytes(letters) + b"\r\n"
                expected = slow_lines(octets, 5)
                for cut in range(size + 2):
                    buffer = LineBuffer(5)
                    buffer.feed(octets[:cut])
                    taken = drain(buffer)
                    buffer.feed(octets[cut:])
                    taken += drain(buffer)
                    self.assertEqual(taken, expected, (octets, cut))

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n", b"\r", b"\n", b"NOOP\r\n"])),
        st.data(),
    )
    def test_random(self, parts: list[bytes], data: st.DataObject) -> None:
        """The same for longer streams in many segments, taken line by line or all at once."""
        octets = b"".join(parts) + b"\r\n"
        buffer = LineBuffer(20)
        taken: list[object] = []
        while octets:
            cut = data.draw(st.integers(1, len(octets)))
            buffer.feed(octets[:cut])
            octets = octets[cut:]
            if not octets or data.draw(st.booleans()):
                taken += drain(buffer)
        self.assertEqual(taken, slow_lines(b"".join(parts) + b"\r\n", 20))

"""All strings over {CR, LF, dot, NUL, a}, however they are cut, against `tests.wire.reference`.

A string of eight octets can be cut in 128 ways, which is too much to try one by one for 488,281
strings. So it is shown in two steps. Octet by octet, every string is read as the reference reads
it. And wherever a decoder stands after some octets, it makes the same of the following octets in
one chunk as of one after the other: then, by induction, it makes the same of them however they are
cut. Decoders have few states (all is in their slots, and can be copied), so the second step takes
few more decodings than there are strings.

``MAILFRAME_EXHAUSTIVE=6`` sets another length than 8.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.data import DataDecoder, DataEncoder
from tests.wire.dialogue import player
from tests.wire.reference import Reading, read_data, whole_lines

LONGEST = int(os.environ.get("MAILFRAME_EXHAUSTIVE", "8"))
ALPHABET = (b"\r", b"\n", b".", b"\0", b"a")
TRUE_END = b"\r\n.\r\nQUIT\r\n"


def strings(longest: int) -> Iterator[bytes]:
    """Every string over the alphabet."""
    for size in range(longest + 1):
        for letters in itertools.product(ALPHABET, repeat=size):
            yield b"".join(letters)


def twin(original: Any) -> Any:
    """Another decoder or encoder in the same state."""
    kind = type(original)
    copied = kind.__new__(kind)
    for slot in kind.__slots__:
        setattr(copied, slot, getattr(original, slot))
    return copied


def decode(decoder: DataDecoder, octets: bytes) -> bytes:
    """Let octets arrive; behind the end, where the receiver puts them into `rest` itself."""
    if decoder.finished:
        decoder.rest += octets
        return b""
    return decoder.decode(octets)


def decoder_state(decoder: DataDecoder) -> tuple[object, ...]:
    """All that matters for what is told of these octets and those that may follow.

    Which of its faults content is refused for matters to nobody.
    """
    if decoder.finished:
        return decoder.fault is None, decoder.rest
    return decoder.fault is None, decoder._held, decoder.fault is None and decoder._skip


def encoder_state(encoder: DataEncoder) -> tuple[object, ...]:
    """The same of an encoder."""
    return encoder._at_line_start, encoder._held_cr


class CutCase(SynchronousTestCase):
    """The second step of the proof."""

    def setUp(self) -> None:
        """Don't measure coverage here: millions of calls would take minutes, and show no line that
        `tests.wire.test_data` does not reach.
        """
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)

    def check_cuts(
        self,
        start: Any,
        take: Callable[[Any, bytes], bytes],
        state: Callable[[Any], tuple[object, ...]],
    ) -> None:
        """See that chunks don't matter, wherever the decoder or encoder stands."""
        self.take, self.state = take, state
        self.steps: dict[object, object] = {}
        self.depths: dict[tuple[object, ...], tuple[int, Any]] = {}
        explored: dict[tuple[object, ...], int] = {}
        self.remember(start, 0)
        while True:
            slots = min(
                (s for s in self.depths if self.depths[s][0] < explored.get(s, LONGEST + 1)),
                key=lambda s: self.depths[s][0],
                default=None,
            )
            if slots is None:
                break
            depth, self.start = self.depths[slots]
            explored[slots] = depth
            self.descend(self.start, b"", b"", depth)
        self.assertGreater(len(explored), 2)

    def remember(self, reached: Any, depth: int) -> None:
        """Note that a string of this length leads to a state, to go on from there too."""
        if getattr(reached, "finished", False):
            return
        slots = tuple(getattr(reached, slot) for slot in reached.__slots__)
        if slots not in self.depths or self.depths[slots][0] > depth:
            self.depths[slots] = depth, reached

    def descend(self, reached: Any, octets: bytes, given: bytes, depth: int) -> None:
        """Go through all that may follow ``octets``, which led here one after the other."""
        before = self.state(reached)
        for letter in ALPHABET:
            longer = octets + letter
            singly, whole = twin(reached), twin(self.start)
            piece = self.take(singly, letter)
            gave = self.take(whole, longer)
            after = self.state(singly)
            if not getattr(singly, "fault", None):
                if gave != given + piece:
                    self.fail(f"{longer!r} in one chunk gives {gave!r}")
                # States that look alike must go on alike.
                step = self.steps.setdefault((before, letter), (after, piece))
                self.assertEqual(step, (after, piece))
            if self.state(whole) != after:
                self.fail(f"{longer!r} in one chunk leads elsewhere")
            self.remember(singly, depth + 1)
            self.remember(whole, depth + 1)
            if depth + 1 < LONGEST:
                self.descend(singly, longer, given + piece, depth + 1)


class DecoderTests(CutCase):
    """Nobody smuggles a message or a command into this server, with any string at all."""

    def test_every_string(self) -> None:
        """A sender's text is never taken for commands, nor its end for text."""
        self.tried = 0
        self.read_on(DataDecoder(), b"", b"")
        self.assertEqual(self.tried, sum(5**size for size in range(1, LONGEST + 1)))

    def test_every_cut(self) -> None:
        """No segmentation of a sender's octets makes them mean something else."""
        self.check_cuts(DataDecoder(), decode, decoder_state)

    def read_on(self, decoder: DataDecoder, octets: bytes, content: bytes) -> None:
        """Try all strings that begin with these octets."""
        for letter in ALPHABET:
            longer = octets + letter
            after = twin(decoder)
            gave = content + decode(after, letter)
            self.compare(after, longer, gave)
            ended = twin(after)
            self.compare(ended, longer + TRUE_END, gave + decode(ended, TRUE_END))
            self.tried += 1
            if len(longer) < LONGEST:
                self.read_on(after, longer, gave)

    def compare(self, decoder: DataDecoder, octets: bytes, content: bytes) -> None:
        """See that the decoder read what the reference reads."""
        found = None
        if decoder.finished:
            found = Reading(None if decoder.fault else content, decoder.rest)
        if found != read_data(octets):
            self.fail(f"{octets!r} is read as {found}")

    def test_every_short_string_in_a_session(self) -> None:
        """A refused message ends the session; any other is followed by what the client said next,
        and by nothing that was its text."""
        opening = b"HELO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@here.example>\r\nDATA\r\n"
        behind = b"VRFY smuggled\r\n"
        for string in strings(min(LONGEST, 5)):
            played = player()
            played.feed(opening)
            before = len(played.output)
            played.feed(string + behind + TRUE_END)
            reading = read_data(string + behind + TRUE_END)
            assert reading is not None
            said = played.output[before:]
            if reading.content is None:
                self.assertEqual(said[:4], b"554 ", string)
                self.assertEqual(said.count(b"\r\n"), 1, string)
                self.assertTrue(played.receiver.closing)
            else:
                self.assertEqual(played.content, reading.content, string)
                self.assertTrue(said.startswith(b"250 2.0.0 queued\r\n"), string)
                commands = reading.rest.split(b"\r\n")
                self.assertEqual(said.count(b"252 "), commands.count(behind[:-2]), string)


class EncoderTests(CutCase):
    """Nobody smuggles anything through this server into the next, with any content at all."""

    def test_every_content(self) -> None:
        """It ends where we ended it, and holds no bare CR or LF that ends a line elsewhere."""
        for content in strings(LONGEST):
            encoder = DataEncoder()
            wire = encoder.encode(content) + encoder.finish()
            ends = wire.count(b"\r\n")
            if wire.count(b"\r") != ends or wire.count(b"\n") != ends:
                self.fail(f"a bare line end in {wire!r}")
            lines = whole_lines(content)
            # A line that begins with NUL is refused by ours, wherever it comes from.
            nulls = re.search(rb"(?:^|\n)\0", lines)
            if read_data(wire) != Reading(None if nulls else lines, b""):
                self.fail(f"{content!r} is sent as {wire!r}")

    def test_every_cut(self) -> None:
        """The pieces in which content is read from the queue don't matter."""
        self.check_cuts(DataEncoder(), DataEncoder.encode, encoder_state)
        for content in strings(min(LONGEST, 4)):
            whole, singly = DataEncoder(), DataEncoder()
            expected = whole.encode(content) + whole.finish()
            wire = b"".join(singly.encode(bytes([octet])) for octet in content)
            self.assertEqual(wire + singly.finish(), expected)

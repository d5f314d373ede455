"""Covers mailframe.workers.messages."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.certificates import KeyPair
from mailframe.workers.messages import Greeting, Lines, Order, line, read_greeting, read_order

PAIR = KeyPair(
    certificate=bytes(range(256)),
    private_key=b"secret\r\n",
    certificate_path="/etc/chain.pem",
    private_key_path="/etc/key.pem",
)


class MessageTests(SynchronousTestCase):
    """What goes over the pipes."""

    def test_order(self) -> None:
        """A worker must get the configuration and the key octet for octet."""
        for order in (Order(text='a = "ü"\n\x00', pair=PAIR), Order(text="", pair=None)):
            octets = line(order)
            self.assertEqual(octets.count(b"\n"), 1)
            self.assertEqual(read_order(octets), order)

    def test_greeting(self) -> None:
        """A worker that replaces another must be told what happened since the start."""
        first = Order(text="x", pair=None)
        for latest in (None, Order(text="y", pair=PAIR)):
            greeting = Greeting(
                worker=1,
                workers=2,
                path="/etc/mailframe.toml",
                first=first,
                latest=latest,
                sockets=(4, 5),
                reactor="twisted.internet.epollreactor",
                log_level="info",
            )
            self.assertEqual(read_greeting(line(greeting)), greeting)

    def test_words(self) -> None:
        """A line end in what is logged must not end the message."""
        octets = line(("log", 1.5, "info", "x", "a\nb"))
        self.assertEqual(octets.count(b"\n"), 1)
        self.assertEqual(json.loads(octets), ["log", 1.5, "info", "x", "a\nb"])

    def test_the_key_is_not_shown(self) -> None:
        """A traceback or a log line with an order in it must not give the key away."""
        self.assertNotIn("secret", repr(Order(text="", pair=PAIR)))

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.binary(max_size=5).filter(lambda b: b"\n" not in b)), st.data())
    def test_lines(self, lines: list[bytes], data: st.DataObject) -> None:
        """However a pipe cuts them, messages must come whole and in order."""
        octets = b"\n".join([*lines, b"rest"])
        found: list[bytes] = []
        reader = Lines()
        while octets:
            cut = data.draw(st.integers(1, len(octets)))
            found += reader.add(octets[:cut])
            octets = octets[cut:]
        self.assertEqual(found, lines)
        self.assertEqual(reader.end(), [b"rest"])
        self.assertEqual(Lines().end(), [])

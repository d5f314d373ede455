"""What the names of messages tell."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.maildir_layout import delivery_name, delivery_stem
from mailframe.delivery.maildir_names import arrival, base_name, uidls, wire_size


class NameTests(SynchronousTestCase):
    """Our own names, and those that other programs give."""

    def test_reads_back(self) -> None:
        """POP3 shows sizes and the order of arrival from the name alone."""
        stem = delivery_stem(1_700_000_000.5, "0abc", Address("mary", "here.example"))
        name = delivery_name(stem, "mx.example", 10, 12)
        self.assertEqual(arrival(name), 1_700_000_000)
        self.assertEqual(wire_size(base_name(name + ":2,ST")), 12)
        self.assertEqual(base_name(name + ":2,ST"), name)

    def test_foreign_names(self) -> None:
        """Names that other programs give are read as far as they tell something."""
        self.assertIsNone(arrival("message"))
        self.assertIsNone(arrival("9" * 16 + ".x"))
        for name in (
            "1.x.host,S=5",
            "1.x.host,W=5x",
            "1.x,W=",
            "12",
            "1,W=\u0665",
            "a,W=" + "9" * 16,
        ):
            self.assertIsNone(wire_size(name), name)
        self.assertEqual(wire_size("1.x.host,W=5,S=4"), 5)
        self.assertEqual(wire_size("1.x.host,S=4,W=5"), 5)


class UniqueIdTests(SynchronousTestCase):
    """UIDL: 1 to 70 printable octets (RFC 1939 §7), no two of them the same."""

    def test_the_unique_part(self) -> None:
        """A client fetches all again when another server flags a message or mends its sizes."""
        names = ["1.x.host", "1.y.host,S=5,W=6", "1.z.host,S=1:2,S"]
        self.assertEqual(uidls(names), [b"1.x.host", b"1.y.host", b"1.z.host"])
        self.assertEqual(uidls([]), [])

    def test_odd_names(self) -> None:
        """A name of another form makes a listing that is against the protocol."""
        odd = ["x" * 71, "a b", "a\tb", "\udcff", "", ",S=5", "\u00e9"]
        found = uidls(["1.x.host", *odd])
        self.assertEqual(found[0], b"1.x.host")
        self.assertEqual(len(set(found)), len(odd) + 1)
        for uidl in found[1:]:
            self.assertRegex(uidl.decode(), r"\A[0-9a-f]{64}\Z")
        # Another server that mends the sizes in a name leaves the message the same.
        self.assertEqual(uidls(["x" * 71]), uidls(["x" * 71 + ",S=1,W=2:2,S"]))

    def test_not_unique(self) -> None:
        """One of two gets the id of the other once that is removed, and is never fetched."""
        both = ["1.x.host,S=5", "1.x.host,S=6:2,S"]
        found = uidls(both)
        self.assertEqual(len({*found, b"1.x.host"}), 3)
        self.assertEqual(uidls([both[1], both[0]]), found[::-1])
        # A name that is the hash of another must not make the list shorter.
        self.assertEqual(len(uidls(["a b", uidls(["a b"])[0].decode()])), 2)

    @settings(deadline=None, max_examples=100)
    @given(st.sets(st.text(st.sampled_from("ab,S=1.\udc80 "), max_size=6)))
    def test_different(self, bases: set[str]) -> None:
        """A client takes two messages for one, and never fetches the second."""
        found = uidls(sorted(bases))
        self.assertEqual(len(set(found)), len(bases))
        for uidl in found:
            self.assertRegex(uidl.decode(), r"\A[\x21-\x7e]{1,70}\Z")

"""The header section of a message on standard input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address, AddressError
from mailframe.cli.headers import addresses, recipients, split_header


def found(value: str) -> list[str]:
    """The addresses of a list, as text."""
    return [str(address) for address in addresses(value)]


class Lists(SynchronousTestCase):
    """Address lists as people and programs write them."""

    def test_forms(self) -> None:
        """Mail would go to nobody, or to a piece of a name."""
        for value, expected in (
            ("a@b.example", ["a@b.example"]),
            ("Joe Q. Public <joe@b.example>, x@y.example", ["joe@b.example", "x@y.example"]),
            ('"Public, Joe" <joe@b.example>', ["joe@b.example"]),
            ('"<evil@x.example>" <joe@b.example>', ["joe@b.example"]),
            ('"say \\"<a@b>\\", and" <joe@b.example>', ["joe@b.example"]),
            ("joe@b.example (home, and (really) away)", ["joe@b.example"]),
            ("(a@b) joe@b.example", ["joe@b.example"]),
            (
                "friends: a@b.example, C <c@d.example>;, e@f.example",
                ["a@b.example", "c@d.example", "e@f.example"],
            ),
            ("undisclosed-recipients:;", []),
            ("", []),
            (" , a@b.example,, ", ["a@b.example"]),
            ('"a b,c"@d.example', ['"a b,c"@d.example']),
            ("u@[IPv6:2001:db8::1], <v@[192.0.2.1]>", ["u@[IPv6:2001:db8::1]", "v@[192.0.2.1]"]),
            ("=?utf-8?q?x=40y=2Eexample=2C?= <a@b.example>", ["a@b.example"]),
            ("J\u00f6rg <a@b.example>", ["a@b.example"]),
        ):
            self.assertEqual(found(value), expected, value)

    def test_refused(self) -> None:
        """Mail would go to another address than the one that stands there."""
        for value in (
            "joe",
            "<joe>",
            "<>",
            "a@b.example c@d.example",
            "<a@b.example",
            "<a@b.example> c@d.example",
            "<a@b.example> <c@d.example>",
            "<@hop.example:a@b.example>",
            "a@b.example\u3002evil",
            "=?utf-8?q?a=40b?=",
            'a@b.example, "c" d@b.example, "e',
            '"a\\"\\"@b.example\\',
        ):
            with self.assertRaises(AddressError, msg=value):
                found(value)

    def test_quote_in_a_comment(self) -> None:
        """Whoever comes behind an inch mark in a comment would get nothing."""
        value = 'a@x.example (5" tape), b@x.example (5\\) "), "c (d" <c@x.example>'
        self.assertEqual(
            [str(each) for each in addresses(value)], ["a@x.example", "b@x.example", "c@x.example"]
        )

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet='ab@.<>,:;()"\\[] \t\u00e9', max_size=30))
    def test_nothing_else_is_raised(self, value: str) -> None:
        """A strange header would end ``mailframe send`` in a traceback."""
        try:
            for address in addresses(value):
                self.assertEqual(Address.parse(str(address)), address)
        except AddressError as error:
            self.assertTrue(str(error).isascii())


class Sections(SynchronousTestCase):
    """Where a header section ends, and what its fields are."""

    def test_fields(self) -> None:
        """A folded field would be cut."""
        octets = b"Subject: a\r\n b\r\nTO : x@y.example\r\n\r\nBody: no\r\n"
        fields, size = split_header(octets)
        self.assertEqual([field.name for field in fields], ["subject", "to"])
        self.assertEqual(fields[0].value, "a b")
        self.assertEqual(octets[size:], b"\r\nBody: no\r\n")

    def test_no_header(self) -> None:
        """The first words of a message without a header would be lost."""
        for octets in (b"", b"\r\nTo: x\r\n", b"hello there\r\nTo: x\r\n", b" To: x\r\n"):
            self.assertEqual(split_header(octets), ((), 0))

    def test_recipients(self) -> None:
        """``send -t`` would leave somebody out, or send twice."""
        fields, _ = split_header(
            b"To: a@x.example, b@x.example\r\nCc: a@x.example\r\nBcc: c@x.example\r\n"
            b"Reply-To: d@x.example\r\n"
        )
        self.assertEqual(
            [str(each) for each in recipients(fields)],
            ["a@x.example", "b@x.example", "c@x.example"],
        )

    def test_resent(self) -> None:
        """A message sent on would go to its first recipients again."""
        fields, _ = split_header(b"To: a@x.example\r\nResent-To: b@x.example\r\n")
        self.assertEqual([str(each) for each in recipients(fields)], ["b@x.example"])

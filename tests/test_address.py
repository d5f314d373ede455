"""The one address parser: `mailframe.address`."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import (
    MAX_PATH,
    Address,
    AddressError,
    literal_address,
    normal_domain,
    quote_local_part,
)

ATEXT = "abcxyzABCXYZ0189!#$%&'*+/=?^_`{|}~-"
DOMAINS = st.sampled_from(["mindspring.com", "a.b-c.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"])


class ParseTests(SynchronousTestCase):
    def test_normal_form(self) -> None:
        """One person's addresses count as two people's, in tables and in mailboxes."""
        for text, local_part, domain in (
            ("jsmith@mindspring.com", "jsmith", "mindspring.com"),
            ("JSmith@MindSpring.COM", "JSmith", "mindspring.com"),
            ("jsmith@mindspring.com.", "jsmith", "mindspring.com"),
            ("a.b+c=d@x.example", "a.b+c=d", "x.example"),
            ('"jsmith"@mindspring.com', "jsmith", "mindspring.com"),
            ('"j\\smith"@mindspring.com', "jsmith", "mindspring.com"),
            ('"two words"@x.example', "two words", "x.example"),
            ('"a@b"@x.example', "a@b", "x.example"),
            ('"a\\"b\\\\c"@x.example', 'a"b\\c', "x.example"),
            ("x@[192.0.2.1]", "x", "[192.0.2.1]"),
            ("x@[IPV6:2001:DB8:0:0::1]", "x", "[IPv6:2001:db8::1]"),
            ("x@xn--bcher-kva.example", "x", "xn--bcher-kva.example"),
            ("x@_host.under_score.example", "x", "_host.under_score.example"),
        ):
            self.assertEqual(Address.parse(text), Address(local_part, domain), text)

    def test_refused(self) -> None:
        """What is no address is taken for one, by authorisation or on the wire."""
        for text in (
            "",
            "@",
            "jsmith",
            "jsmith@",
            "@mindspring.com",
            ".jsmith@mindspring.com",
            "jsmith.@mindspring.com",
            "j..smith@mindspring.com",
            "j smith@mindspring.com",
            "a@b@mindspring.com",
            "<jsmith@mindspring.com>",
            "John <jsmith@mindspring.com>",
            "jsmith@mindspring.com (John)",
            "jsmith@ mindspring.com",
            "jsmith @mindspring.com",
            " jsmith@mindspring.com",
            "jsmith@mindspring.com ",
            "jsmith@mindspring.com\n",
            "jsmith\r\nRCPT TO:<x@y.example>@mindspring.com",
            '"a\nb"@x.example',
            '"a\0b"@x.example',
            '""@x.example',
            '"unclosed@x.example',
            '"a"b@x.example',
            "jsmith@mind spring.com",
            "jsmith@mindspring..com",
            "jsmith@.com",
            "jsmith@-a.example",
            "jsmith@a-.example",
            "jsmith@a,b.example",
            "jsmith@[192.0.2.1",
            "jsmith@[192.0.2.999]",
            "jsmith@[192.0.2.01]",
            "jsmith@[2001:db8::1]",
            "jsmith@[IPv6:192.0.2.1]",
            "jsmith@[IPv6:fe80::1%eth0]",
            "jsmith@[IPv6:fe80::1%\r\nRCPT TO:<x@y.example>]",
            "jsmith@" + "a" * 64 + ".example",
            "jsmith@" + "a." * 127 + "toolong",
            "x" * 250 + "@a.example",
            # what looks like ASCII and isn't: fullwidth dot and @, Kelvin sign, dotless i
            "jsmith@mindspring\uff0ecom",
            "jsmith\uff20mindspring.com",
            "jsmith@\u212aelvin.example",
            "jsm\u0131th@mindspring.com",
            "jsmith@b\u00fccher.example",
        ):
            self.assertRaises(AddressError, Address.parse, text)

    def test_says_what_to_mend(self) -> None:
        """A user is told "invalid", and tries again with the same mistake."""
        for text, said in (
            ("jsmith", "no @domain"),
            ("j smith@x.example", "needs quoting"),
            ("jsmith@b\u00fccher.example", "outside ASCII"),
            ("jsmith@[192.0.2.1", "closing bracket"),
            ('"' + "x" * 260 + '"@a.example', "longer than"),
        ):
            error = self.assertRaises(AddressError, Address.parse, text)
            self.assertIn(said, str(error))
            self.assertTrue(str(error).isprintable())

    def test_no_reinterpretation(self) -> None:
        """An address that authorisation took for local is routed elsewhere: an open relay."""
        for local_part in ("victim%elsewhere.example", "elsewhere.example!victim", "a@b"):
            address = Address.parse(f"{quote_local_part(local_part)}@here.example")
            self.assertEqual((address.local_part, address.domain), (local_part, "here.example"))

    def test_long_local_part(self) -> None:
        """Mailing lists' reverse-paths (VERP) are refused, and their mail with them."""
        local_part = "list-bounce-12345-" + "x" * 100
        self.assertEqual(Address.parse(f"{local_part}@x.example").local_part, local_part)

    def test_length_of_path(self) -> None:
        """An address that no server takes is carried through the queue."""
        domain = "@a.example"
        longest = "x" * (MAX_PATH - len(domain)) + domain
        self.assertEqual(str(Address.parse(longest)), longest)
        self.assertRaises(AddressError, Address.parse, "x" + longest)


class MadeTests(SynchronousTestCase):
    def test_can_not_be_broken(self) -> None:
        """A program builds an address that breaks a line on the wire or in a log."""
        for local_part, domain in (
            ("", "x.example"),
            ("a\r\nb", "x.example"),
            ("a\0", "x.example"),
            ("\u00e9", "x.example"),
            ("a", "X.example"),
            ("a", "x.example."),
            ("a", "x.example\n"),
            ("a", ""),
            ("a", "[IPv6:2001:DB8::1]"),
        ):
            self.assertRaises(AddressError, Address, local_part, domain)

    def test_frozen(self) -> None:
        """What was judged is changed before it is used."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            Address("a", "x.example").domain = "y.example"  # type: ignore[misc]
            # Its being refused is what is tested.

    @given(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40),
        DOMAINS,
    )
    @settings(max_examples=200, deadline=None)
    def test_round_trip(self, local_part: str, domain: str) -> None:
        """An address changes between two servers, or is quoted where it need not be."""
        address = Address(local_part, domain)
        self.assertEqual(Address.parse(str(address)), address)

    @given(st.text(max_size=60) | st.text(ATEXT + '@."\\ []:', max_size=60))
    @settings(max_examples=300, deadline=None)
    def test_anything(self, text: str) -> None:
        """A client's nonsense is a fault of ours, or ends up on the wire."""
        try:
            address = Address.parse(text)
        except AddressError:
            return
        self.assertRegex(str(address), r"\A[\x20-\x7e]{3,254}\Z")
        self.assertEqual(Address.parse(str(address)), address)


class DomainTests(SynchronousTestCase):
    def test_normal_domain(self) -> None:
        """A domain of ours is taken for another's because of its case or its final dot."""
        self.assertEqual(normal_domain("Here.Example."), "here.example")
        self.assertEqual(normal_domain("[192.0.2.1]"), "[192.0.2.1]")
        for text in ("", ".", "here..example", "here.example..", "b\u00fccher.example", "a b"):
            self.assertRaises(AddressError, normal_domain, text)

    def test_length(self) -> None:
        """A name longer than DNS allows is looked up."""
        labels = ".".join(["a" * 63] * 3)
        self.assertEqual(len(normal_domain(labels + "." + "b" * 63)), 255)
        self.assertRaises(AddressError, normal_domain, labels + ".c." + "b" * 62)

    def test_literal_address(self) -> None:
        """Mail for an address literal is looked up in DNS as if it were a name."""
        self.assertEqual(literal_address("[192.0.2.1]"), "192.0.2.1")
        self.assertEqual(literal_address("[IPv6:2001:db8::1]"), "2001:db8::1")
        self.assertIsNone(literal_address("here.example"))

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
        ):
            self.assertRaises(AddressError, Address.parse, text)

    def test_says_what_to_mend(self) -> None:
        """A user is told "invalid", and tries again with the same mistake."""
        for text, said in (
            ("jsmith", "no @domain"),
            ("j smith@x.example", "needs quoting"),
            ("jsmith@\u2764.example", "no domain name may have"),
            ("jsmith\u202e@x.example", "an invisible character, U+202E"),
            ("jsmith@xn--a.example", "in an A-label"),
            ("\u00a0jsmith@x.example", "a space outside ASCII, U+00A0"),
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


class InternationalisedTests(SynchronousTestCase):
    """Addresses with Unicode in them (RFC 6531)."""

    def test_normal_form(self) -> None:
        """One person's address counts as two people's, by how a keyboard composes it."""
        for text, shown in (
            ("j\u00f6rg@b\u00fccher.example", "j\u00f6rg@xn--bcher-kva.example"),
            ("jo\u0308rg@BU\u0308CHER.example", "j\u00f6rg@xn--bcher-kva.example"),
            ("\u7528\u6237@\u4f8b\u5b50.\u5e7f\u544a", "\u7528\u6237@xn--fsqu00a.xn--4rr70v"),
            ('"j\u00f6 rg"@x.example', '"j\u00f6 rg"@x.example'),
            ('"j\u00f6rg"@x.example', "j\u00f6rg@x.example"),
            ("x@_a.b\u00fccher.example.", "x@_a.xn--bcher-kva.example"),
        ):
            address = Address.parse(text)
            self.assertEqual(str(address), shown)
            self.assertEqual(Address.parse(shown), address)
        self.assertFalse(Address.parse("j\u00f6rg@x.example").is_ascii)
        self.assertTrue(Address.parse("x@b\u00fccher.example").is_ascii)

    def test_dotless_i(self) -> None:
        """Mail for one mailbox goes to that of a similar name, or its password opens it."""
        dotless = Address.parse("jsm\u0131th@x.example")
        self.assertEqual(dotless.local_part, "jsm\u0131th")
        self.assertNotEqual(dotless.local_part.lower(), "jsmith")
        self.assertEqual(Address.parse("x@\u0131.example").domain, "xn--cfa.example")

    def test_kelvin_sign(self) -> None:
        """A sign that composing turns into a K makes one address another."""
        for text in ("\u212aelvin@x.example", "x@\u212aelvin.example"):
            error = self.assertRaises(AddressError, Address.parse, text)
            self.assertIn("imitates ASCII, U+212A", str(error))

    def test_sharp_s(self) -> None:
        """Mail for a domain with a sharp s goes to the owner of that with two (IDNA 2003)."""
        self.assertEqual(Address.parse("x@stra\u00dfe.example").domain, "xn--strae-oqa.example")
        self.assertNotEqual(Address.parse("stra\u00dfe@x.example").local_part, "strasse")

    def test_zero_width_joiner(self) -> None:
        """Scripts that need joiners have no addresses; elsewhere one hides in a domain."""
        self.assertTrue(Address.parse("\u0915\u094d\u200d\u0937@x.example"))
        self.assertTrue(Address.parse("x@\u0915\u094d\u200d\u0937.example"))
        self.assertRaises(AddressError, Address.parse, "x@pay\u200dpal.example")

    def test_right_to_left(self) -> None:
        """An address is shown as another, its letters turned around."""
        self.assertEqual(
            Address.parse("\u05d0\u05d1@\u05d0\u05d1\u05d2.example").domain, "xn--4dbcd.example"
        )
        for text in (
            "\u202egro@x.example",
            "x\u2067y@x.example",
            "x\u200f@x.example",
            "x@\u0627\u202e.example",
            "x@\u05d0a1.example",
        ):
            self.assertRaises(AddressError, Address.parse, text)

    def test_fullwidth(self) -> None:
        """What a program takes for @ or dot further on sends the mail elsewhere."""
        for text in (
            "jsmith\uff20mindspring.com",
            "jsmith\uff20evil.example@here.example",
            "jsmith\ufe6bevil.example@here.example",
            "jsmith@mindspring\uff0ecom",
            "jsmith@mindspring\u3002com",
            "jsmith@mindspring\uff61com",
            "a\uff0eb@x.example",
            "a\u3002b@x.example",
            "a\u2024b@x.example",
            "a\u2026b@x.example",
            "\uff4asmith@mindspring.com",
            "jsmith@\uff4dindspring.com",
            "a\uff05b@x.example",
            "a\u037eb@x.example",
        ):
            self.assertRaises(AddressError, Address.parse, text)

    def test_unseen(self) -> None:
        """Two addresses that nobody can tell apart are two mailboxes; or one breaks a line."""
        for (
            character
        ) in "\x80\x85\xa0\xad\u061c\u200b\u2028\u2029\u2060\ufeff\ud800\ue000\u0378\uffff":
            for text in (f"j{character}s@x.example", f"x@j{character}s.example"):
                error = self.assertRaises(AddressError, Address.parse, text)
                self.assertTrue(str(error).isprintable() and str(error).isascii())

    def test_a_labels(self) -> None:
        """A name that no registry could give is looked up, or a living one gets no mail."""
        for good in ("xn--bcher-kva", "xn--i-7iq", "xn--strae-oqa"):
            self.assertEqual(Address.parse(f"x@{good.upper()}.example").domain, f"{good}.example")
        for bad in ("xn--a", "xn--abc-", "xn--9999999999", "xn--99zzzzzzzzzz", "xn--bu\u0308cher"):
            self.assertRaises(AddressError, Address.parse, f"x@{bad}.example")
        for text in ("\u202eab", "a\u200bb", "bu\u0308cher", "\uff0e"):
            label = "xn--" + text.encode("punycode").decode("ascii")
            self.assertRaises(AddressError, Address.parse, f"x@{label}.example")

    def test_length(self) -> None:
        """The limit of a path is counted in characters, and no server takes it (RFC 6531 §3.1)."""
        self.assertTrue(Address.parse("\u00e9" * 122 + "@a.example"))
        self.assertRaises(AddressError, Address.parse, "\u00e9" * 123 + "@a.example")
        self.assertRaises(AddressError, Address.parse, "x@" + "\u00e9." * 200 + "example")

    @given(st.text(min_size=1, max_size=30), DOMAINS)
    @settings(max_examples=300, deadline=None)
    def test_round_trip(self, local_part: str, domain: str) -> None:
        """An address changes between two servers."""
        try:
            address = Address(local_part, domain)
        except AddressError:
            return
        self.assertEqual(Address.parse(str(address)), address)
        self.assertEqual(str(address).encode().decode(), str(address))


class MadeTests(SynchronousTestCase):
    def test_can_not_be_broken(self) -> None:
        """A program builds an address that breaks a line on the wire or in a log."""
        for local_part, domain in (
            ("", "x.example"),
            ("a\r\nb", "x.example"),
            ("a\0", "x.example"),
            ("e\u0301", "x.example"),
            ("\u00e9\n", "x.example"),
            ("\u00e9\x7f", "x.example"),
            ("\u00e9\x85", "x.example"),
            ("\u00e9\u2028", "x.example"),
            ("\u00e9" * 123, "x.example"),
            ("a", "b\u00fccher.example"),
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
        self.assertRegex(str(address), r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029]{3,254}\Z")
        self.assertLessEqual(len(str(address).encode()), 254)
        self.assertEqual(address.is_ascii, str(address).isascii())
        self.assertEqual(Address.parse(str(address)), address)


class DomainTests(SynchronousTestCase):
    def test_normal_domain(self) -> None:
        """A domain of ours is taken for another's because of its case or its final dot."""
        self.assertEqual(normal_domain("Here.Example."), "here.example")
        self.assertEqual(normal_domain("[192.0.2.1]"), "[192.0.2.1]")
        for text in ("", ".", "here..example", "here.example..", "\u2764.example", "a b"):
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

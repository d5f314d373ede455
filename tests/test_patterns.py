"""Tests of mailframe.patterns."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.patterns import AddressPattern, AddressPatterns

ATOMS = st.text("ab*?.A", min_size=1, max_size=6).filter(
    lambda text: not text.startswith(".") and not text.endswith(".") and ".." not in text
)
DOMAINS = st.sampled_from(["x.example", "y.example", "a.x.example", "example"])
ADDRESSES = st.builds(Address, ATOMS, DOMAINS)
PATTERNS = st.one_of(
    st.sampled_from(["*", "<>", "*@*", "*@*.x.example", "*@*.example", '"*"@x.example']),
    st.builds("{}@{}".format, ATOMS, DOMAINS),
    st.builds("*@{}".format, DOMAINS),
)


def fits(pattern: str, text: str) -> bool:
    return AddressPattern.parse(pattern).matches(Address.parse(text))


class FormsTests(SynchronousTestCase):
    def test_star(self) -> None:
        """Bounces have the null reverse-path; a rule for everything must take them too."""
        self.assertTrue(fits("*", "a@x.example"))
        self.assertTrue(AddressPattern.parse("*").matches(None))

    def test_null_path(self) -> None:
        """A rule for bounces would catch ordinary mail."""
        self.assertFalse(fits("<>", "a@x.example"))
        self.assertTrue(AddressPattern.parse("<>").matches(None))
        self.assertFalse(AddressPattern.parse("*@*").matches(None))
        self.assertTrue(fits("*@*", "a@x.example"))

    def test_whole_domain(self) -> None:
        """Another domain that ends or begins alike would count as the provider's own."""
        self.assertTrue(fits("*@Rosse.Example.", "Angelo@ROSSE.example"))
        self.assertFalse(fits("*@rosse.example", "a@mail.rosse.example"))
        self.assertFalse(fits("*@rosse.example", "a@notrosse.example"))
        self.assertFalse(fits("*@rosse.example", "a@rosse.example.org"))

    def test_subdomains(self) -> None:
        """``notrosse.example`` is not a subdomain of ``rosse.example``."""
        self.assertTrue(fits("*@*.rosse.example", "a@mail.rosse.example"))
        self.assertTrue(fits("*@*.rosse.example", "a@b.mail.rosse.example"))
        self.assertFalse(fits("*@*.rosse.example", "a@rosse.example"))
        self.assertFalse(fits("*@*.rosse.example", "a@notrosse.example"))

    def test_local_part(self) -> None:
        """One letter's case would decide who is a customer."""
        self.assertTrue(fits("Angelo@x.example", "aNGELO@x.example"))
        self.assertFalse(fits("angelo@x.example", "angelo2@x.example"))
        self.assertTrue(fits("sales-*@x.example", "sales-de@x.example"))
        self.assertTrue(fits("a?c@x.example", "abc@x.example"))
        self.assertFalse(fits("a?c@x.example", "ac@x.example"))
        self.assertFalse(fits("a?@x.example", "a@x.example"))

    def test_internationalised(self) -> None:
        """A rule for a name with an umlaut would never fit, or fit another's."""
        self.assertTrue(fits("*@b\u00fccher.example", "a@xn--bcher-kva.example"))
        self.assertTrue(fits("JO\u0308*@x.example", "j\u00f6rg@x.example"))
        self.assertFalse(fits("k*@x.example", "\u0138elvin@x.example"))

    def test_address_literal(self) -> None:
        """Mail to an address literal could not be routed by a rule."""
        self.assertTrue(fits("*@[192.0.2.1]", "a@[192.0.2.1]"))

    def test_quoted_local_part_has_no_wildcards(self) -> None:
        """A quoted star would open a rule meant for one odd mailbox."""
        self.assertTrue(fits('"a b"@x.example', '"A b"@x.example'))
        self.assertTrue(fits('"*"@x.example', '"*"@x.example'))
        self.assertFalse(fits('"*"@x.example', "a@x.example"))
        self.assertFalse(AddressPatterns(['"*"@x.example']).matches(Address.parse("a@x.example")))

    def test_str(self) -> None:
        """Log lines name the pattern as it stands in the file."""
        self.assertEqual(str(AddressPattern.parse("A*@X.example")), "A*@X.example")
        self.assertEqual(str(AddressPatterns(["*@x.example", "<>"])), "*@x.example, <>")


class RefusedTests(SynchronousTestCase):
    def test_bad_patterns(self) -> None:
        """A mistyped pattern stops start-up and says what is allowed, or it would fit nobody."""
        for text, words in [
            ("", "no @domain"),
            ("angelo", "no @domain"),
            ("rosse.example", "no @domain"),
            ("@rosse.example", "write *@rosse.example"),
            ("a b@x.example", "needs quoting"),
            ("a@b@x.example", "needs quoting"),
            ("*@", "empty"),
            ("*@x.*", "only a leading"),
            ("*@m?.example", "only a leading"),
            ("*@*.", "empty"),
            ("*@\u2764.example", "no domain name may have"),
            ("\uff4a*@x.example", "imitates ASCII"),
            ("*@x_!.example", "not a host name"),
            ('"a"b@x.example', "needs quoting"),
            ("kelv\u2028n@x.example", "a line separator"),
        ]:
            with self.subTest(text=text):
                error = self.assertRaises(ValueError, AddressPattern.parse, text)
                self.assertIn(words, str(error))
                self.assertIn('"*@*.domain"', str(error))


class SetTests(SynchronousTestCase):
    @given(st.lists(PATTERNS, max_size=5), st.one_of(st.none(), ADDRESSES))
    @settings(deadline=None, max_examples=300)
    def test_same_as_one_by_one(self, texts: list[str], address: Address | None) -> None:
        """The quick look-up would let in or keep out others than the patterns say."""
        wanted = any(AddressPattern.parse(text).matches(address) for text in texts)
        patterns = AddressPatterns(texts)
        self.assertEqual(patterns.matches(address), wanted)
        found = patterns.find(address)
        if found is not None:
            self.assertTrue(found.matches(address))
            self.assertIn(found, patterns.patterns)

    @given(st.lists(PATTERNS, max_size=5), ADDRESSES)
    @settings(deadline=None, max_examples=200)
    def test_domains(self, texts: list[str], address: Address) -> None:
        """A routing table that looks rules up by domain would skip one that fits."""
        patterns = AddressPatterns(texts)
        if patterns.domains is not None and address.domain not in patterns.domains:
            self.assertFalse(patterns.matches(address))

    def test_no_fixed_domains(self) -> None:
        """Patterns that can fit any domain must be looked at for every one."""
        for text in ("*", "<>", "*@*", "*@*.x.example"):
            self.assertIsNone(AddressPatterns(["*@y.example", text]).domains)


class WildcardTests(SynchronousTestCase):
    @given(st.text("ab*?", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=8))
    @settings(deadline=None, max_examples=500)
    def test_same_as_a_regular_expression(self, pattern: str, text: str) -> None:
        """A wildcard would stand for more or less than it says."""
        oracle = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
        self.assertEqual(
            fits(f"{pattern}@x.example", f"{text}@x.example"),
            re.fullmatch(oracle, text) is not None,
        )

    def test_worst_case_is_quick(self) -> None:
        """A hostile address against a pattern with many stars would stop the reactor."""
        pattern = AddressPattern.parse("a*" * 60 + "b@x.example")
        self.assertFalse(pattern.matches(Address("a" * 240, "x.example")))

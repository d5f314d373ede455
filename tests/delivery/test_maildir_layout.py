"""Paths and names of Maildirs."""

from __future__ import annotations

import os

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.delivery.maildir_layout import (
    Layout,
    LayoutError,
    delivery_name,
    delivery_stem,
    encode,
)

LOCAL_PARTS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("\u00e9\u7528"),
    min_size=1,
    max_size=99,
)
HOSTILE = (
    *("..", ".", "../../etc/passwd", "..%2f..%2fetc", "%2e%2e", "a/b", "/etc", ".hidden", "a:2,S"),
    *("a,S=1", "a\\b", "~root", "$(id)", "`id`", "a b", "-rf", "*", "cur", "new", "tmp", "x" * 230),
)


def path_of(local_part: str, template: str = "/srv/mail/{domain}/{mailbox}") -> str:
    layout = Layout(template, many_domains=False)
    return str(layout.path(Address(local_part, "here.example")))


class PathTests(SynchronousTestCase):
    """An address decides which folder below the configured one is used, and nothing more."""

    def test_usual(self) -> None:
        """An operator finds a mailbox where the configuration says."""
        self.assertEqual(path_of("angelo"), "/srv/mail/here.example/angelo")
        self.assertEqual(path_of("Angelo+x=y"), "/srv/mail/here.example/Angelo+x=y")
        self.assertEqual(path_of("a", "/home/{mailbox}/.maildir"), "/home/a/.maildir")
        self.assertEqual(path_of("a", "/m/{mailbox}@{domain}/x/"), "/m/a@here.example/x")
        self.assertEqual(path_of("a", "/{mailbox}"), "/a")

    def test_traversal(self) -> None:
        """An account's name leads out of the folder of all mailboxes (CVE-2021-40525)."""
        for name in HOSTILE:
            path = path_of(name)
            self.assertEqual(os.path.normpath(path), path, name)
            folder, component = os.path.split(path)
            self.assertEqual(folder, "/srv/mail/here.example", name)
            self.assertFalse(component.startswith("."), name)
            self.assertRegex(component, r"\A[A-Za-z0-9._+=@%~-]{1,200}\Z")
        self.assertEqual(len({path_of(name) for name in HOSTILE}), len(HOSTILE))

    @settings(deadline=None, max_examples=200)
    @given(LOCAL_PARTS, LOCAL_PARTS)
    @example(".", "%2E")
    @example("/", "%2F")
    @example("a%2Fb", "a/b")
    @example("\u00e90", "\u0e90")
    def test_each_its_own(self, one: str, other: str) -> None:
        """Two accounts share a mailbox."""
        self.assertEqual(encode(one) == encode(other), one == other)
        self.assertNotIn("/", encode(one))
        self.assertNotIn("\0", encode(one))

    def test_long_names(self) -> None:
        """Names that agree in their first two hundred letters are two mailboxes all the same."""
        one, other = path_of("x" * 220), path_of("x" * 219 + "y")
        self.assertNotEqual(one, other)
        self.assertLessEqual(max(len(part) for part in one.split("/")), 200)

    def test_address_literal(self) -> None:
        """A mailbox at an address literal has a folder as well."""
        layout = Layout("/m/{domain}/{mailbox}", many_domains=True)
        self.assertEqual(
            str(layout.path(Address("a", "[IPv6:2001:db8::1]"))),
            "/m/%5BIPv6%3A2001%3Adb8%3A%3A1%5D/a",
        )

    def test_templates(self) -> None:
        """A path in the configuration that would mix up mailboxes is refused, and why."""
        for template, many, words in (
            ("/m/all", False, "must hold {mailbox}"),
            ("/m/{mailbox}", True, "must hold {domain}"),
            ("/m/{user}/{mailbox}", False, "{user} stands for nothing"),
            ("/m/{mailbox!r}", False, "stands for nothing"),
            ("/m/{mailbox}{domain}", False, "ambiguous"),
            ("/m/{mailbox}/../x", False, "'..' may not follow"),
            ("/m/{mailbox}/{", False, "brace"),
            ("/m/{mailbox}}", False, "brace"),
            ("/m}/{mailbox}", False, "brace"),
            ("/m{/{mailbox}", False, "brace"),
        ):
            error = self.assertRaises(LayoutError, Layout, template, many_domains=many)
            self.assertIn(words, str(error))


class NameTests(SynchronousTestCase):
    """The names of messages."""

    stem = delivery_stem(1_700_000_000.9, "q1", Address("a", "here.example"))

    def test_same_for_a_repeat(self) -> None:
        """A repeated attempt can't find what the first one left, and delivers twice."""
        again = delivery_stem(1_700_000_000.9, "q1", Address("a", "here.example"))
        self.assertEqual(self.stem, again)
        for other in (
            delivery_stem(1_700_000_000.9, "q2", Address("a", "here.example")),
            delivery_stem(1_700_000_000.9, "q1", Address("b", "here.example")),
        ):
            self.assertNotEqual(self.stem, other)

    def test_fits(self) -> None:
        """A long host name makes a file name that no file system takes."""
        stem = delivery_stem(1e14, "z" * 32, Address("a", "here.example"))
        name = delivery_name(stem, "h" * 63 + ("." + "h" * 63) * 2, 10**14, 10**14)
        self.assertLess(len(name), 255)
        self.assertNotIn("/", delivery_name(stem, "a/b:c", 1, 1))

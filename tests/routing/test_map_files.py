"""Tests of mailframe.routing.map_files."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.address import Address, AddressError
from mailframe.interfaces import ILookup
from mailframe.patterns import AddressPattern
from mailframe.routing.map_files import FileMap, RegexMap, parse_map, parse_regexes


class MapCase(SynchronousTestCase):
    def file(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def look_up(self, kind: Any, text: str, *keys: str) -> list[str | None]:
        made = kind(self.file(text), Clock(), execute)
        verifyObject(ILookup, made)
        return [self.successResultOf(Deferred.fromCoroutine(made.find(key))) for key in keys]


class FileMapTests(MapCase):
    def test_closest_wins(self) -> None:
        """One mailbox could have no way of its own beside that of its domain."""
        text = (
            "# ways\n\n*  everybody\n*@*  addresses\r\n*@*.example any.example\n"
            "*@*.Rosse.Example  subdomains\n  *@rosse.example\t a domain \n"
            'Anna@rosse.example anna\n"two words"@rosse.example quoted\nb@rosse.example\n<> null\n'
        )
        found = self.look_up(
            FileMap,
            text,
            "anna@rosse.example",
            '"two words"@rosse.example',
            "b@rosse.example",
            "c@rosse.example",
            "c@sub.rosse.example",
            "c@deep.sub.rosse.example",
            "c@blu.example",
            "c@example",
            "c@[192.0.2.1]",
            "<>",
        )
        self.assertEqual(
            found,
            [
                *("anna", "quoted", "", "a domain", "subdomains", "subdomains"),
                *("any.example", "addresses", "addresses", "null"),
            ],
        )
        self.assertEqual(self.look_up(FileMap, "*@a.example x", "c@b.example", "<>"), [None, None])
        self.assertEqual(self.look_up(FileMap, "* x", "<>"), ["x"])

    KEYS = st.sampled_from(
        ["*", "*@*", "*@*.b.c", "*@*.c", "*@b.c", "x@b.c", "y@b.c", "*@a.b.c", "<>"]
    )

    @given(st.lists(KEYS, unique=True), st.sampled_from(["x@b.c", "z@b.c", "x@a.b.c", "x@c", "<>"]))
    @settings(deadline=None, max_examples=150)
    def test_a_key_fits_as_its_pattern(self, keys: list[str], asked: str) -> None:
        """A map would understand patterns otherwise than rules do."""
        (found,) = self.look_up(FileMap, "".join(f"{key} {key}\n" for key in keys), asked)
        address = None if asked == "<>" else Address.parse(asked)
        fitting = [key for key in keys if AddressPattern.parse(key).matches(address)]
        if found is None:
            self.assertEqual(fitting, [])
        else:
            self.assertIn(found, fitting)

    def test_mistakes(self) -> None:
        """A slip would be found out by mail that goes astray."""
        for text, words in [
            ("\nmindspring.com mx", "line 2: 'mindspring.com' is not an address pattern"),
            ("a*@x.example mx", "line 1: 'a*@x.example' has a wildcard"),
            ("*@X.example mx\n*@x.example mx", "line 2: '*@x.example' stands in line 1 already"),
            ('"a b@x.example mx', "line 1: '\"a' is not an address pattern"),
        ]:
            self.assertIn(words, self.assertRaises(ValueError, parse_map, text).args[0])

        def check(value: str) -> None:
            raise ValueError(f"{value} is bad")

        error = self.assertRaises(ValueError, parse_map, "a@x.example mx", check)
        self.assertEqual(error.args[0], "line 1: mx is bad")

    @given(st.text(max_size=60))
    @settings(deadline=None, max_examples=200)
    def test_anything(self, text: str) -> None:
        """A slip would end in a traceback."""
        with contextlib.suppress(ValueError):
            parse_map(text)

    @given(st.text(min_size=1, max_size=8))
    @settings(deadline=None, max_examples=150)
    def test_every_address_can_be_a_key(self, local_part: str) -> None:
        """Mail of somebody with an odd name could be given no way of its own."""
        try:
            address = Address(local_part, "x.example")
        except AddressError:
            return
        key = str(address)
        if not key.startswith('"') and ("*" in key or "?" in key or key.startswith("#")):
            key = f'"{local_part}"@x.example'
        entries = parse_map(f"{key}  there")
        self.assertEqual(list(entries.values()), ["there"])
        if key == str(address):
            self.assertIn(key.lower(), entries)


class RegexMapTests(MapCase):
    def test_first_match(self) -> None:
        """Expressions would fit a part of an address, or in an order nobody wrote down."""
        text = (
            "# old names\n(sales|info)-([a-z]+)@rosse\\.example  redirect:\\1+\\2@rosse.example\n"
            ".*@rosse\\.example mx\n"
        )
        found = self.look_up(
            RegexMap,
            text,
            "SALES-x@rosse.example",
            "anna@rosse.example",
            "anna@rosse.example.org",
            "anna@rosse-example",
        )
        self.assertEqual(found, ["redirect:SALES+x@rosse.example", "mx", None, None])

    def test_a_sender_does_not_choose_the_way(self) -> None:
        """Who names a recipient could have us connect to any host and port."""
        text = '"?(.+?)"?@x\\.example tcp:\\1.example:25\n.* mx\n'
        found = self.look_up(
            RegexMap, text, "a@x.example", '"evil.org:99:"@x.example', "a+b@x.example"
        )
        self.assertEqual(found, ["tcp:a.example:25", "mx", "mx"])

    def test_groups_that_match_nothing(self) -> None:
        """An optional group would end in a fault."""
        self.assertEqual(
            self.look_up(RegexMap, "a(b)?@x tcp:h\\1:25", "a@x", "ab@x"),
            ["tcp:h:25", "tcp:hb:25"],
        )

    def test_mistakes(self) -> None:
        """A slip would be found out by mail that goes astray, or by a server that stands still."""
        for text, words in [
            ("\n(a mx", "line 2: '(a' is no regular expression"),
            ("(a+)+ mx", "line 1: '(a+)+' repeats a group"),
            ("(a) tcp:\\2:25", "names a group that '(a)' has not"),
        ]:
            self.assertIn(words, self.assertRaises(ValueError, parse_regexes, text).args[0])

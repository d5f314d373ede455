"""Records and policies of MTA-STS, as domains publish them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import mta_sts_policy
from mailframe.delivery.mta_sts_policy import (
    LONGEST_AGE,
    MAX_LINES,
    MAX_PATTERNS,
    BadPolicy,
    StsPolicy,
    read_policy,
    record_id,
)

# RFC 8461 §3.2, with an exchanger of each kind
POLICY = (
    b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n"
    b"mx: backupmx.example.com\nmax_age: 604800\n"
)


class RecordTests(SynchronousTestCase):
    """The TXT record."""

    def test_good(self) -> None:
        """A domain's policy would not be noticed for how its record is written."""
        for records in (
            [b"v=STSv1; id=20160831085700Z;"],
            [b"v=STSv1;id=20160831085700Z"],
            [b"v=STSv1 ;\tid=20160831085700Z ; more=a,b:c;"],
            [b"v=spf1 -all", b"v=STSv1; id=20160831085700Z; id=2;"],
        ):
            self.assertEqual(record_id(records), "20160831085700Z", records)

    def test_bad(self) -> None:
        """Mail would wait for a policy that nobody published."""
        for records in (
            [],
            [b"v=spf1 -all"],
            [b"v=STSv1"],
            [b"v=STSv1;"],
            [b"V=stsv1; id=1;"],
            [b"v=STSv1; id=;"],
            [b"v=STSv1; id=a-b;"],
            [b"v=STSv1; id=" + b"1" * 33],
            [b"v=STSv1; id=1; nonsense;"],
            [b"v=STSv1;; id=1;"],
            [b"v=STSv1; id=1; \xc3\xa4=1"],
            [b"v=STSv1; id=1;", b"v=STSv1; id=2;"],  # RFC 8461 §3.1: then there is none
        ):
            self.assertIsNone(record_id(records), records)

    @given(st.lists(st.binary(max_size=80), max_size=3), st.binary(max_size=40))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, records: list[bytes], tail: bytes) -> None:
        """A record could stop the delivery of mail with an exception."""
        found = record_id([*records, b"v=STSv1;" + tail])
        self.assertTrue(found is None or 0 < len(found) <= 32)


class PolicyTests(SynchronousTestCase):
    """The text of a policy."""

    def test_good(self) -> None:
        """The policies of most domains would be taken for none."""
        expected = StsPolicy(
            mode="enforce",
            mx=("mail.example.com", "*.example.net", "backupmx.example.com"),
            max_age=604_800,
        )
        self.assertEqual(read_policy(POLICY), expected)
        self.assertEqual(read_policy(POLICY.replace(b"\n", b"\r\n")), expected)
        self.assertEqual(read_policy(POLICY.replace(b": ", b" :\t").rstrip()), expected)
        self.assertEqual(
            read_policy(b"x-y: \xc3\xa4\n" + POLICY + b"mode: none\nversion: 2\n\n"), expected
        )
        self.assertEqual(read_policy("\n".join(expected.lines).encode()), expected)

    def test_bounds(self) -> None:
        """A policy that was published by mistake would hold for ever."""
        policy = read_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999\n")
        self.assertEqual(policy, StsPolicy(mode="none", max_age=LONGEST_AGE))

    def test_names(self) -> None:
        """An exchanger would be known by its name only in lower case, or in ASCII."""
        policy = read_policy(POLICY.replace(b"mail.", b"MAIL.").replace(b"*.ex", b"*.EX"))
        self.assertEqual(policy.mx[:2], ("mail.example.com", "*.example.net"))

    def test_bad(self) -> None:
        """Who made a mistake in the policy could not learn which."""
        for policy, words in (
            (b"", "its version is not STSv1"),
            (POLICY.replace(b"STSv1", b"STSv2"), "its version is not STSv1"),
            (POLICY.replace(b"enforce", b"maybe"), "its mode is not"),
            (POLICY.replace(b"604800", b"week"), "its max_age is no number"),
            (POLICY.replace(b"604800", b"1" * 11), "its max_age is no number"),
            (POLICY.replace(b"mx:", b"my:"), "it names no exchanger"),
            (POLICY.replace(b"*.", b"*.*."), "is no name of a host"),
            (POLICY.replace(b"mail.example.com", b"[192.0.2.1]"), "is an address"),
            (POLICY.replace(b"mode", b"\xff"), "it is not UTF-8"),
            (b"<html>\n" + POLICY, "is no key and value"),
            (
                POLICY + b"".join(b"mx: %d.example\n" % n for n in range(MAX_PATTERNS)),
                "names more than",
            ),
        ):
            with self.assertRaises(BadPolicy) as caught:
                read_policy(policy)
            self.assertIn(words, str(caught.exception))

    def test_no_more_is_read_than_may_be(self) -> None:
        """A policy of thousands of lines would keep the server from all others' mail."""
        read: list[str] = []

        def pattern(value: str) -> str:
            read.append(value)
            return value

        self.patch(mta_sts_policy, "_pattern", pattern)
        many = b"".join(b"mx: %d.example\n" % number for number in range(MAX_PATTERNS + 500))
        for policy, words in (
            (POLICY + many, "names more than"),
            (POLICY + b"a: b\n" * MAX_LINES + many, "more than 2000 lines"),
        ):
            with self.assertRaises(BadPolicy) as caught:
                read_policy(policy)
            self.assertIn(words, str(caught.exception))
        self.assertLessEqual(len(read), MAX_PATTERNS + 1)

    @given(
        st.lists(
            st.one_of(
                st.sampled_from(POLICY.splitlines()),
                st.binary(max_size=30),
                st.builds(lambda v: b"mx: " + v, st.binary(max_size=20)),
            ),
            max_size=8,
        )
    )
    @settings(max_examples=200, deadline=None)
    def test_anything(self, lines: list[bytes]) -> None:
        """A policy could stop the delivery of mail with an exception, or hold without an end."""
        try:
            policy = read_policy(b"\n".join(lines))
        except BadPolicy as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertTrue(0 <= policy.max_age <= LONGEST_AGE)
            self.assertTrue(policy.mx or policy.mode == "none")
            self.assertEqual(read_policy("\n".join(policy.lines).encode()), policy)

    def test_matching(self) -> None:
        """Mail would be given to a server that is none of the domain's; or to none of them."""
        policy = read_policy(POLICY)
        for host, matches in (
            ("mail.example.com", True),
            ("other.example.com", False),
            ("a.example.net", True),
            ("a.b.example.net", False),  # RFC 8461 §4.1: one label alone
            ("example.net", False),
            ("net", False),
            ("*.example.net", True),
        ):
            self.assertEqual(policy.names(host), matches, host)

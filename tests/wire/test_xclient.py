"""The argument of XCLIENT: `mailframe.wire.xclient`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.grammar import GrammarError
from mailframe.wire.xclient import parse_xclient


class XclientTests(SynchronousTestCase):
    def test_attributes(self) -> None:
        """A filter before us speaks for one client, and we take it for another."""
        self.assertEqual(
            parse_xclient(
                "name=a+2Bb.example ADDR=192.0.2.7 Port=025 PROTO=esmtp HELO=x "
                "LOGIN=Angelo@Rosse.example DESTADDR=IPV6:2001:DB8:0::1 DESTPORT=25 REVERSE_NAME=b"
            ),
            {
                "NAME": "a+b.example",
                "ADDR": "192.0.2.7",
                "PORT": "25",
                "PROTO": "ESMTP",
                "HELO": "x",
                "LOGIN": "Angelo@rosse.example",
                "DESTADDR": "2001:db8::1",
                "DESTPORT": "25",
                "REVERSE_NAME": "b",
            },
        )
        self.assertEqual(
            parse_xclient(
                "ADDR=ipv6:::ffff:192.0.2.7 NAME=[unavailable] LOGIN=[TEMPUNAVAIL] HELO="
            ),
            {"ADDR": "192.0.2.7", "NAME": None, "LOGIN": None, "HELO": None},
        )

    def test_refused(self) -> None:
        """Somebody is taken for whom nobody said."""
        for argument in (
            "",
            "ADDR",
            "ADDR=192.0.2.256",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:fe80::1%eth0",
            "ADDR=192.0.2.1 addr=192.0.2.2",
            "PORT=65536",
            "PORT=-1",
            "PORT=123456",
            "PROTO=HTTP",
            "HELO=a+20b",
            "NAME=a+0Ab",
            "LOGIN=angelo",
            "LOGIN=angelo@rosse.example+0D",
            "COLOUR=red",
            "ADDR=192.0.2.1  PORT=1",
        ):
            error = self.assertRaises(GrammarError, parse_xclient, argument)
            self.assertTrue(str(error).isprintable() and str(error).isascii())

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.builds(
                "{}={}".format,
                st.sampled_from(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "X"]),
                st.text("+0123456789ABCDEF:.@[]xyz", max_size=20),
            ),
            max_size=4,
        ).map(" ".join)
    )
    def test_anything(self, argument: str) -> None:
        """Nonsense is a fault of ours."""
        try:
            attributes = parse_xclient(argument)
        except GrammarError:
            return
        for value in attributes.values():
            self.assertTrue(value is None or (value and value.isprintable()))

"""The values of the parameters of MAIL and RCPT: `mailframe.wire.smtp_parameters`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire import smtp_parameters as read
from mailframe.wire.grammar import GrammarError
from mailframe.wire.smtp_events import By
from mailframe.wire.smtp_replies import Refusal

PARSERS = (
    *(read.size, read.body, read.auth, read.smtputf8, read.require_tls, read.ret, read.envid),
    *(read.notify, read.orcpt, read.by, read.hold_for, read.hold_until),
)


class ValueTests(SynchronousTestCase):
    def refused(self, parser: object, *values: str | None) -> None:
        """None of these is a value."""
        assert callable(parser)
        for value in values:
            error = self.assertRaises(GrammarError, parser, value)
            self.assertTrue(str(error).isprintable() and str(error).isascii())

    def test_notify(self) -> None:
        """A sender is told of what it did not ask for, or not of what it did (RFC 3461 §4.1)."""
        for value, wanted in (
            ("NEVER", ("NEVER",)),
            ("never", ("NEVER",)),
            ("DELAY,success", ("SUCCESS", "DELAY")),
            ("FAILURE", ("FAILURE",)),
        ):
            self.assertEqual(read.notify(value), {"notify": wanted})
        self.refused(read.notify, None, "", "NEVER,SUCCESS", "SUCCESS,", "DELAY,DELAY", "ALWAYS")

    def test_orcpt(self) -> None:
        """Notices name another recipient than the sender wrote to (RFC 3461 §4.2, RFC 6533)."""
        for value, decoded in (
            ("rfc822;Bob+2BB@x.example", "rfc822;Bob+B@x.example"),
            ("RFC822;a+3Db@x.example", "RFC822;a=b@x.example"),
            (r"utf-8;j\x{F6}rg@x.example", "utf-8;j\u00f6rg@x.example"),
            ("utf-8;j\u00f6rg@x.example", "utf-8;j\u00f6rg@x.example"),
            ("x400;" + "x" * 495, "x400;" + "x" * 495),
        ):
            self.assertEqual(read.orcpt(value), {"orcpt": decoded})
        self.refused(
            read.orcpt,
            *(None, "", "rfc822", "rfc822;", ";a@x.example", "rfc 822;a", "rfc822;a+0Ab"),
            *("rfc822;a+b", "x400;" + "x" * 496, r"utf-8;\x{A}", r"utf-8;\x{110000}"),
            *(r"utf-8;\x{zz}", r"utf-8;a\b", "utf-8;a\u2028b", r"utf-8;\x{202E}", "rfc822;\u00f6"),
        )

    def test_envelope_wishes(self) -> None:
        """What notices are to carry gets lost, or breaks them (RFC 3461 §4.3, §4.4)."""
        self.assertEqual(read.ret("hdrs"), {"ret": "HDRS"})
        self.assertEqual(read.ret("FULL"), {"ret": "FULL"})
        self.refused(read.ret, None, "", "NONE")
        self.assertEqual(read.envid("QQ+2B314159"), {"envid": "QQ+314159"})
        self.assertEqual(read.envid("x" * 100), {"envid": "x" * 100})
        self.refused(read.envid, None, "x" * 101, "a+00", "a+0D+0A", "a+e4", "a+2", "\u00f6")

    def test_alone(self) -> None:
        """A wish that came with a value we don't know is taken for the wish alone."""
        self.assertEqual(read.smtputf8(None), {"smtputf8": True})
        self.assertEqual(read.require_tls(None), {"require_tls": True})
        self.refused(read.smtputf8, "", "no")
        self.refused(read.require_tls, "no")

    def test_body(self) -> None:
        """Binary content is taken for text (RFC 3030 §3)."""
        self.assertEqual(read.body("binarymime"), {"body": "BINARYMIME"})
        self.refused(read.body, None, "", "BINARY")

    def test_by(self) -> None:
        """A message comes back before its time, or not at all (RFC 2852 §4)."""
        for value, wanted in (
            ("120;R", By(seconds=120, returns=True)),
            ("+60;rt", By(seconds=60, returns=True, trace=True)),
            ("-120;N", By(seconds=-120, returns=False)),
            ("0;NT", By(seconds=0, returns=False, trace=True)),
            ("999999999;N", By(seconds=999_999_999, returns=False)),
        ):
            self.assertEqual(read.by(value), {"by": wanted})
        self.refused(
            read.by,
            None,
            "",
            "120",
            "120;",
            "120;X",
            "0;R",
            "-1;R",
            "1234567890;N",
            "1.5;N",
            "5;TN",
        )
        self.assertEqual(self.assertRaises(Refusal, read.by, "59;R").reply.code, 555)

    def test_hold(self) -> None:
        """A message meant for tomorrow goes out today (RFC 4865 §4)."""
        self.assertEqual(read.hold_for("3600"), {"hold_for": 3600})
        self.refused(read.hold_for, None, "", "0", "012", "-1", "1234567890", "1h")
        self.assertEqual(read.hold_until("1970-01-02T00:00:01Z"), {"hold_until": 86401.0})
        for written, second in (("00:00:01.25Z", 86401.25), ("00:00:60Z", 86460.0)):
            self.assertEqual(
                read.hold_until(f"1970-01-02t{written.lower()}"), {"hold_until": second}
            )
        self.assertEqual(read.date_time(86401.5), "1970-01-02T00:00:01Z")
        self.refused(
            read.hold_until,
            *(None, "", "1970-01-02", "1970-01-02T00:00:01+00:00", "1970-13-02T00:00:01Z"),
            *("1970-01-02T00:00:01", "1970-02-30T00:00:01Z", "\u0661970-01-02T00:00:01Z"),
            *("1970-01-02T00:00:01.Z", "1970-01-02T24:00:00Z", "1970-01-02T00:00:61Z"),
        )

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(PARSERS),
        st.none()
        | st.text(max_size=30)
        | st.from_regex(r"[a-z0-9;,+\\x{}-]{0,20}", fullmatch=True),
    )
    def test_anything(self, parser: object, value: str | None) -> None:
        """A client's nonsense is a fault of ours, or a control character gets into a notice."""
        assert callable(parser)
        try:
            fields = parser(value)
        except (GrammarError, Refusal):
            return
        for text in fields.values():
            if isinstance(text, str):
                self.assertTrue(text.replace("\u200c", "").replace("\u200d", "").isprintable())
